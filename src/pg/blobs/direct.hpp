// Blobs without a key of their own: each chunk, and the manifest, is a value of the bound key, so
// that in remote mode no key enters PostgreSQL. Both sides.
#pragma once

#include "pg/blobs/layout.hpp"
#include "pg/blobs/open_blob.hpp"

namespace kms::pg {

// What a value of this beginning has beside its plaintext.
BlobOverhead direct_overhead(ByteView sealed);

// The chunks of a row, sealed. Raises 40001 where the key has been rotated since the blob's first
// value was sealed: all of a blob is under one version.
varlena* seal_chunks_directly(OpenBlob& blob, std::uint64_t segment, const BlobRowPlace& row,
                              ByteView plaintext);

// Chunks from `first` on, whose sealed bytes are `sealed`. Calls `take(chunk, plaintext)` for each.
struct DirectChunks {
    std::uint64_t segment;
    std::uint64_t first;
    std::uint64_t end;
    const BlobLayout& layout;
    ByteView sealed;
};

class ChunkTaker {
  public:
    virtual void take(std::uint64_t chunk, ByteView plaintext) = 0;

  protected:
    ~ChunkTaker() = default;
};

void open_chunks_directly(OpenBlob& blob, const DirectChunks& chunks, ChunkTaker& taker);

// blob.piece has the manifest's bytes.
ByteView seal_manifest_directly(OpenBlob& blob);

}  // namespace kms::pg
