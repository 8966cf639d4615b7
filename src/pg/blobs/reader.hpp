// Reads what a blob contains, from anywhere in it: no row and no slice more than a range needs.
// Both sides.
#pragma once

#include "pg/blobs/segments.hpp"

namespace kms::pg {

// By the active snapshot, between its making and end(). A failure in between needs no end().
class BlobReader final : public BlobSource {
  public:
    explicit BlobReader(OpenBlob& blob);
    void end();

    // Within the blob's length. Raises KM005 for anything that is not what was written: what is in
    // `out` then is of no use. The end of a segment is authenticated with its last byte.
    void read_into(std::uint64_t offset, ByteSpan out);

    // In memory of the blob's own, which is wiped.
    ByteView read(std::uint64_t offset, std::size_t length) override;

    // Rows that the manifest knows nothing of, too.
    std::uint64_t count_rows() const;

  private:
    struct Part;

    void find_segment(std::uint64_t offset);
    void read_part(const Part& part, ByteSpan out);
    void read_row(const Part& part, std::uint64_t row, Datum data, ByteSpan out);
    void open_chunks(const Part& part, std::uint64_t first, std::uint64_t end, ByteView sealed,
                     ByteSpan out);
    bool is_open(const Part& part) const;
    void open_segment(const Part& part, ByteView header);
    void fetch_header(const Part& part);
    Datum data_of(HeapTuple tuple) const;
    SysScanDesc scan_rows(std::uint64_t segment, std::uint64_t first, std::uint64_t last) const;

    OpenBlob& blob_;
    Relation table_;
    Relation index_;
    MemoryContext row_memory_;
    std::size_t segment_ = 0;          // the one that was read last
    std::uint64_t segment_begin_ = 0;  // in the blob
    std::uint64_t opened_ = 0;         // the number of the segment that blob.opener opens
};

}  // namespace kms::pg
