// How the message of a segment stands in rows of kms.blob_chunk: one after another the rows' bytes
// are the message. Each has the same number of chunks but the last, and the first begins with the
// message's header. An empty final chunk has no row of its own.
#pragma once

#include <algorithm>
#include <cstdint>

#include "crypto/chunked_index.hpp"

namespace kms::pg {

// Measured: see doc/blobs.md, "Rows".
constexpr std::uint64_t chunks_in_row = 16;
constexpr std::uint64_t plain_in_full_row = chunks_in_row * chunked::chunk_length;

// What chunks have beside their plaintext: in a message, or as values of their own.
struct BlobOverhead {
    std::uint64_t header = chunked::header_length;  // before all chunks
    std::uint64_t chunk = gcm_tag_length;           // of each
};

struct BlobRowPlace {
    std::uint64_t first_chunk;
    std::uint64_t chunks;
    std::uint64_t header;  // bytes before the first chunk
    std::uint64_t length;  // of all bytes
};

// Of a segment with `length` bytes of plaintext.
class BlobLayout {
  public:
    explicit constexpr BlobLayout(std::uint64_t length, BlobOverhead overhead = {})
        : length_(length), overhead_(overhead) {}

    constexpr std::uint64_t chunks() const { return length_ / chunked::chunk_length + 1; }
    constexpr std::uint64_t rows() const {
        return std::max<std::uint64_t>(1, (length_ + plain_in_full_row - 1) / plain_in_full_row);
    }
    constexpr std::uint64_t row_of_chunk(std::uint64_t chunk) const {
        return std::min(chunk / chunks_in_row, rows() - 1);
    }

    constexpr BlobRowPlace row(std::uint64_t row) const {
        const std::uint64_t first = row * chunks_in_row;
        const std::uint64_t end = row + 1 == rows() ? chunks() : first + chunks_in_row;
        const std::uint64_t header = row == 0 ? overhead_.header : 0;
        return {first, end - first, header, header + sealed_before(end) - sealed_before(first)};
    }

    constexpr std::uint64_t plain_in_row(const BlobRowPlace& row) const {
        return std::min(length_ - row.first_chunk * chunked::chunk_length,
                        row.chunks * chunked::chunk_length);
    }

    // Of a sealed chunk's first byte in its row.
    constexpr std::uint64_t offset_in_row(const BlobRowPlace& row, std::uint64_t chunk) const {
        return row.header + sealed_before(chunk) - sealed_before(row.first_chunk);
    }

    constexpr std::uint64_t plain_in_chunk(std::uint64_t chunk) const {
        return std::min<std::uint64_t>(chunked::chunk_length,
                                       length_ - chunk * chunked::chunk_length);
    }

  private:
    // Bytes of sealed chunks before this one.
    constexpr std::uint64_t sealed_before(std::uint64_t chunk) const {
        return std::min(chunk * chunked::chunk_length, length_) + chunk * overhead_.chunk;
    }

    std::uint64_t length_;
    BlobOverhead overhead_;
};

}  // namespace kms::pg
