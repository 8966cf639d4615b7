// Writes what a blob contains: segments of at most 64 MiB, each one message of chunked encryption.
// Both sides.
#pragma once

#include "pg/blobs/open_blob.hpp"

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

// Whether a blob is being read, and not sealed: KM005 then says that it is damaged.
struct Reading {
    bool now = false;
};

// The chunks of a direct blob are sealed again by the key of `to`, which is the same blob.
void reseal_segments(BlobWriter& writer, OpenBlob& to, OpenBlob& from, Reading& reading);

// Brings a blob to the current version of the key that is bound to `to_id`: its own key, or where
// it has none, all of it.
void rewrap_blob(BlobWriter& writer, std::int32_t to_id, OpenBlob& blob, BlobRow& row,
                 Reading& reading);

// The least number that a segment of this version has.
std::uint64_t first_segment(const OpenBlob& blob);

// Lets go of all segments, and of the key version that they are under.
void forget_segments(OpenBlob& blob);

}  // namespace kms::pg
