#include "crypto/sha256.hpp"

#include "base/floor.hpp"

namespace kms {

Result<Sha256> Sha256::start() {
    ossl::Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
    if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
        return ossl::failure("SHA-256");
    }
    return Sha256(std::move(context));
}

Status Sha256::add(ByteView piece) {
    if (EVP_DigestUpdate(context_.get(), piece.data(), piece.size()) != 1) {
        return ossl::failure("SHA-256");
    }
    return {};
}

Result<Sha256Digest> Sha256::finish() {
    Sha256Digest digest;
    if (EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) != 1) {
        return ossl::failure("SHA-256");
    }
    return digest;
}

}  // namespace kms
