// Views of bytes, and big-endian numbers in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace kms {

using Byte = std::uint8_t;
using ByteView = std::span<const Byte>;
using ByteSpan = std::span<Byte>;

inline ByteView bytes_of(std::string_view text) {
    return {reinterpret_cast<const Byte*>(text.data()), text.size()};
}

inline std::string_view text_of(ByteView bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// To the beginning of `to`, which is not shorter and does not overlap. (std::copy goes byte by byte
// for spans whose length is not known when it is compiled.)
inline void copy_bytes(ByteView from, ByteSpan to) {
    if (!from.empty()) {
        std::memcpy(to.data(), from.data(), from.size());
    }
}

// Writes `value` big-endian over the whole of `out`, which is 1 to 8 bytes wide.
constexpr void store_be(ByteSpan out, std::uint64_t value) {
    for (std::size_t i = out.size(); i-- > 0; value >>= 8) {
        out[i] = static_cast<Byte>(value);
    }
}

// Reads the whole of `in`, 1 to 8 bytes, as one big-endian number.
constexpr std::uint64_t load_be(ByteView in) {
    std::uint64_t value = 0;
    for (const Byte byte : in) {
        value = value << 8 | byte;
    }
    return value;
}

}  // namespace kms
