// Where things stand in a message of C2SP chunked-encryption: lengths and offsets in bytes, chunks
// counted from zero. Whatever lies beyond the longest message (2^38 chunks) is nullopt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "crypto/gcm.hpp"

namespace kms::chunked {

constexpr std::size_t salt_length = 24;
constexpr std::size_t commitment_length = 32;
constexpr std::size_t header_length = salt_length + commitment_length;

// Of every chunk but the final one, which is shorter and may be empty.
constexpr std::size_t chunk_length = std::size_t{16} << 10;
constexpr std::size_t sealed_chunk_length = chunk_length + gcm_tag_length;

constexpr std::uint64_t max_chunks = std::uint64_t{1} << 38;
constexpr std::uint64_t max_plaintext_length = max_chunks * chunk_length - 1;
constexpr std::uint64_t max_message_length = header_length + max_chunks * sealed_chunk_length - 1;

constexpr std::optional<std::uint64_t> message_length(std::uint64_t plaintext_length) {
    if (plaintext_length > max_plaintext_length) {
        return std::nullopt;
    }
    const std::uint64_t chunks = plaintext_length / chunk_length + 1;
    return header_length + plaintext_length + chunks * gcm_tag_length;
}

// nullopt: no message has this length.
constexpr std::optional<std::uint64_t> plaintext_length(std::uint64_t message_length) {
    if (message_length < header_length || message_length > max_message_length) {
        return std::nullopt;
    }
    const std::uint64_t full_chunks = (message_length - header_length) / sealed_chunk_length;
    const std::uint64_t final_chunk = (message_length - header_length) % sealed_chunk_length;
    if (final_chunk < gcm_tag_length) {
        return std::nullopt;
    }
    return full_chunks * chunk_length + final_chunk - gcm_tag_length;
}

struct Position {
    std::uint64_t chunk;
    std::size_t offset;  // in the chunk's plaintext

    bool operator==(const Position&) const = default;
};

constexpr std::optional<Position> position_of(std::uint64_t plaintext_offset) {
    if (plaintext_offset > max_plaintext_length) {
        return std::nullopt;
    }
    return Position{plaintext_offset / chunk_length,
                    static_cast<std::size_t>(plaintext_offset % chunk_length)};
}

// Of a chunk's first byte in the plaintext.
constexpr std::optional<std::uint64_t> plaintext_offset(std::uint64_t chunk) {
    if (chunk >= max_chunks) {
        return std::nullopt;
    }
    return chunk * chunk_length;
}

// Of a sealed chunk's first byte in the message.
constexpr std::optional<std::uint64_t> message_offset(std::uint64_t chunk) {
    if (chunk >= max_chunks) {
        return std::nullopt;
    }
    return header_length + chunk * sealed_chunk_length;
}

// The length of a sealed chunk in a message with so much plaintext; nullopt: it has no such chunk.
constexpr std::optional<std::size_t> sealed_length_of(std::uint64_t chunk,
                                                      std::uint64_t plaintext_length) {
    const auto last = position_of(plaintext_length);
    if (!last || chunk > last->chunk) {
        return std::nullopt;
    }
    return chunk < last->chunk ? sealed_chunk_length : last->offset + gcm_tag_length;
}

// A chunk's length tells that it is the final one.
constexpr bool is_final(std::size_t sealed_length) {
    return sealed_length < sealed_chunk_length;
}

}  // namespace kms::chunked
