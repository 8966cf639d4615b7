// Doubling in GF(2^128), as CMAC, SIV and XAES use it (SP 800-38B, 6.1; RFC 5297, 2.3).
#pragma once

#include "base/bytes.hpp"

namespace kms {

// `block`: 16 bytes, big-endian. No branch depends on them.
inline void double_block(ByteSpan block) {
    Byte carry = 0;
    for (std::size_t i = block.size(); i-- > 0;) {
        const Byte high_bit = block[i] >> 7;
        block[i] = static_cast<Byte>(block[i] << 1 | carry);
        carry = high_bit;
    }
    block[block.size() - 1] ^= static_cast<Byte>(0x87 & -carry);
}

inline void xor_into(ByteSpan target, ByteView other) {
    for (std::size_t i = 0; i < target.size(); ++i) {
        target[i] ^= other[i];
    }
}

}  // namespace kms
