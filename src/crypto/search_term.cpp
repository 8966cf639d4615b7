#include "crypto/search_term.hpp"

#include <algorithm>

#include "crypto/hmac.hpp"
#include "crypto/kdf.hpp"
#include "crypto/ossl.hpp"

#include "base/floor.hpp"

namespace kms {

void cut_term(const FullTerm& full, unsigned bits, ByteSpan out) {
    copy_bytes(ByteView(full).first(out.size()), out);
    if (const unsigned rest = bits % 8; rest != 0) {
        out.back() &= static_cast<Byte>(0xff << (8 - rest));
    }
}

Result<TermKey> TermKey::from_data_key(Algorithm algorithm, ByteView data_key) {
    KMS_TRY(require_terms(algorithm));
    TermKey key;
    key.subkey_ = SecretBytes(full_term_length);
    KMS_TRY(
        derive_subkey(data_key, "kms/1 blind index", info_of(algorithm).name, key.subkey_.span()));
    return key;
}

Result<FullTerm> TermKey::make(unsigned bits, ByteView context, ByteView data) const {
    if (!is_term_size(bits)) {
        return Error{Code::invalid, "a blind index has 1 to 256 bits"};
    }
    std::array<Byte, 10> lengths;
    store_be(ByteSpan(lengths).first(2), bits);
    store_be(ByteSpan(lengths).subspan(2), context.size());
    Hmac hmac(sha256_digest);
    FullTerm term;
    if (!hmac.set_key(subkey_.view()) || !hmac.add(lengths) || !hmac.add(context) ||
        !hmac.add(data) || !hmac.finish(term)) {
        return ossl::failure("HMAC");
    }
    return term;
}

}  // namespace kms
