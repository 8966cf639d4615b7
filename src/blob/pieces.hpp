// How long the pieces are in which a blob goes through a connection.
//
// A server process holds two or three copies of a piece, this program two. So pieces are short, and
// grow only as far as 65,536 of them, which is what a blob may have, suffice for files of up to
// 950 GiB. Each is a little shorter than a power of two: with what a message has besides, it still
// fits into a buffer of that length, and buffers grow by doubling. All are whole rows of
// kms.blob_chunk.
//
// The first piece is longer than the next. The C library of the server gives memory back to the
// system when twice the longest piece so far is free, and to get it again costs as much as the
// encryption: with copies of shorter pieces that is never so. Measured, a get takes little more
// than half of the time then, a put three quarters.
#pragma once

#include <cstdint>

namespace kms::blob {

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;
constexpr std::uint64_t gibibyte = std::uint64_t{1} << 30;
constexpr std::uint64_t row_length = std::uint64_t{1} << 18;

constexpr std::uint64_t first_read_length = 4 * mebibyte - row_length;
constexpr std::uint64_t read_length = mebibyte;

// Of the piece that follows `sent` bytes.
constexpr std::uint64_t piece_length(std::uint64_t sent) {
    const std::uint64_t buffer = sent == 0              ? 8 * mebibyte
                                 : sent < 8 * gibibyte  ? 4 * mebibyte
                                 : sent < 32 * gibibyte ? 8 * mebibyte
                                                        : 16 * mebibyte;
    return buffer - row_length;
}

}  // namespace kms::blob
