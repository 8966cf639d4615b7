// Writes what a blob contains: segments of at most 64 MiB, each one message of chunked encryption.
// All three acts.
#pragma once

#include "pg/open_blob.hpp"

namespace kms::pg {

// Where plaintext comes from. Views hold until the next is asked for.
class BlobSource {
  public:
    virtual ByteView read(std::uint64_t offset, std::size_t length) = 0;

  protected:
    ~BlobSource() = default;
};

class BytesSource final : public BlobSource {
  public:
    explicit BytesSource(ByteView bytes) : bytes_(bytes) {}
    ByteView read(std::uint64_t offset, std::size_t length) override {
        return bytes_.subspan(offset, length);
    }

  private:
    ByteView bytes_;
};

// Adds `length` bytes to the blob, under segment numbers of its version, which serve for nothing
// else ever. Raises 54000 where it would have too many segments.
void write_segments(BlobWriter& writer, OpenBlob& blob, BlobSource& source, std::uint64_t length);

// The least number that a segment of this version has.
std::uint64_t first_segment(const OpenBlob& blob);

// Lets go of all segments.
void forget_segments(OpenBlob& blob);

}  // namespace kms::pg
