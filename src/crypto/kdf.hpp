// Key derivation: HKDF (RFC 5869) and scrypt (RFC 7914).
#pragma once

#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace kms {

// Empty salt. Fills the whole of `out`, at most 255 * 32 bytes.
Status hkdf_sha256(ByteView key, ByteView info, ByteSpan out);

// The general form, for vectors with a salt.
Status hkdf_sha256(ByteView key, ByteView salt, ByteView info, ByteSpan out);

// The second half of HKDF with SHA-512, for a key that is uniformly random already. At most 255 *
// 64 bytes.
Status hkdf_expand_sha512(ByteView key, ByteView info, ByteSpan out);

// Fills `out` with the subkey `label` of a data key: info = label, one space, algorithm's name.
Status derive_subkey(ByteView key, std::string_view label, std::string_view algorithm,
                     ByteSpan out);

struct ScryptCost {
    unsigned log2_n = 17;
    unsigned r = 8;
    unsigned p = 1;
};

// Whether a cost read from a file is taken: N 2^15 to 2^20, r = 8, p 1 to 4.
bool acceptable(const ScryptCost& cost);

// About 0.4 s and 128 * r * N bytes at the default cost.
Status scrypt(ByteView passphrase, ByteView salt, const ScryptCost& cost, ByteSpan out);

}  // namespace kms
