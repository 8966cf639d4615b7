// Where a segment's message stands in rows: the rows are the message, whole and in order, whatever
// its length.
#include "pg/blobs/layout.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "crypto/blob_manifest.hpp"

#include "base/floor.hpp"

namespace kms::pg {
namespace {

using chunked::chunk_length;
using chunked::header_length;
using chunked::sealed_chunk_length;

// Around every chunk and row of the first three rows, and the longest segment there is.
std::vector<std::uint64_t> lengths() {
    std::vector<std::uint64_t> all = {1, 2, 100, max_blob_segment_length - 1,
                                      max_blob_segment_length};
    for (std::uint64_t edge = chunk_length; edge <= 3 * plain_in_full_row; edge += chunk_length) {
        all.insert(all.end(), {edge - 1, edge, edge + 1});
    }
    return all;
}

TEST(BlobLayout, HasTheChunksOfTheMessage) {
    for (const std::uint64_t length : lengths()) {
        const BlobLayout layout(length);
        EXPECT_EQ(layout.chunks(), chunked::position_of(length)->chunk + 1) << length;
        std::uint64_t plain = 0;
        for (std::uint64_t chunk = 0; chunk < layout.chunks(); ++chunk) {
            EXPECT_EQ(layout.plain_in_chunk(chunk) + gcm_tag_length,
                      chunked::sealed_length_of(chunk, length))
                << length;
            plain += layout.plain_in_chunk(chunk);
        }
        EXPECT_EQ(plain, length);
    }
}

TEST(BlobLayout, RowsAreTheMessage) {
    for (const std::uint64_t length : lengths()) {
        const BlobLayout layout(length);
        std::uint64_t chunk = 0;
        std::uint64_t plain = 0;
        std::uint64_t message = 0;
        for (std::uint64_t number = 0; number < layout.rows(); ++number) {
            const BlobRowPlace row = layout.row(number);
            EXPECT_EQ(row.first_chunk, chunk) << length;
            EXPECT_EQ(row.first_chunk, number * chunks_in_row);
            EXPECT_EQ(row.header, number == 0 ? header_length : 0);
            EXPECT_GT(row.chunks, 0U) << length;
            chunk += row.chunks;
            plain += layout.plain_in_row(row);
            message += row.length;
        }
        EXPECT_EQ(chunk, layout.chunks()) << length;
        EXPECT_EQ(plain, length);
        EXPECT_EQ(message, chunked::message_length(length)) << length;
    }
}

TEST(BlobLayout, EveryRowButTheLastIsFull) {
    for (const std::uint64_t length : lengths()) {
        const BlobLayout layout(length);
        for (std::uint64_t number = 0; number + 1 < layout.rows(); ++number) {
            EXPECT_EQ(layout.row(number).chunks, chunks_in_row) << length;
            EXPECT_EQ(layout.plain_in_row(layout.row(number)), plain_in_full_row) << length;
        }
    }
}

TEST(BlobLayout, FindsEveryChunk) {
    for (const std::uint64_t length : lengths()) {
        const BlobLayout layout(length);
        std::uint64_t before = 0;
        for (std::uint64_t number = 0; number < layout.rows(); ++number) {
            const BlobRowPlace row = layout.row(number);
            for (std::uint64_t chunk = row.first_chunk; chunk < row.first_chunk + row.chunks;
                 ++chunk) {
                EXPECT_EQ(layout.row_of_chunk(chunk), number) << length;
                EXPECT_EQ(before + layout.offset_in_row(row, chunk),
                          chunked::message_offset(chunk));
            }
            EXPECT_EQ(layout.offset_in_row(row, row.first_chunk), row.header);
            EXPECT_EQ(layout.offset_in_row(row, row.first_chunk + row.chunks), row.length);
            before += row.length;
        }
    }
}

// What would be a row of a tag alone stands at the end of the row before.
TEST(BlobLayout, AnEmptyFinalChunkHasNoRow) {
    EXPECT_EQ(BlobLayout(plain_in_full_row - 1).rows(), 1U);
    EXPECT_EQ(BlobLayout(plain_in_full_row).rows(), 1U);
    EXPECT_EQ(BlobLayout(plain_in_full_row + 1).rows(), 2U);
    const BlobLayout layout(2 * plain_in_full_row);
    EXPECT_EQ(layout.rows(), 2U);
    EXPECT_EQ(layout.row(1).chunks, chunks_in_row + 1);
    EXPECT_EQ(layout.row(1).length, chunks_in_row * sealed_chunk_length + gcm_tag_length);
    EXPECT_EQ(layout.plain_in_row(layout.row(1)), plain_in_full_row);
    EXPECT_EQ(layout.row_of_chunk(2 * chunks_in_row), 1U);
    EXPECT_EQ(layout.plain_in_chunk(2 * chunks_in_row), 0U);
}

}  // namespace
}  // namespace kms::pg
