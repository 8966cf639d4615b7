#include "crypto/search_term.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "crypto/kdf.hpp"
#include "crypto/sealed.hpp"
#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using Bytes = std::vector<Byte>;

TermKey key_of(ByteView data_key) {
    auto key = TermKey::from_data_key(Algorithm::hmac_sha_256, data_key);
    EXPECT_TRUE(key);
    return std::move(*key);
}

Bytes term_of(const TermKey& key, unsigned bits, ByteView context, ByteView data) {
    const auto full = key.make(bits, context, data);
    EXPECT_TRUE(full);
    Bytes term(term_length(bits));
    cut_term(*full, bits, term);
    return term;
}

// That test/sealed.py has made.
TEST(SearchTerm, AgreesWithTheVectors) {
    for (const test::Json& vector : test::carried_vectors("terms.json")) {
        const Bytes data_key = test::unhex(vector, "key");
        EXPECT_EQ(to_hex(*compute_key_tag(Algorithm::hmac_sha_256, data_key)), vector["tag"]);
        const Bytes term = term_of(key_of(data_key), vector["bits"], test::unhex(vector, "context"),
                                   test::unhex(vector, "data"));
        EXPECT_EQ(to_hex(term), vector["term"]);
    }
}

TEST(SearchTerm, IsHmacUnderASubkeyOfTheLabelledMessage) {
    const Bytes data_key = test::pattern(32);
    Bytes subkey(32);
    ASSERT_TRUE(derive_subkey(data_key, "kms/1 blind index", "hmac-sha-256", subkey));
    const std::string message =
        std::string("\x01\x00", 2) + std::string("\0\0\0\0\0\0\0\x02", 8) + "ctxdata";
    FullTerm expected;
    unsigned length = expected.size();
    ASSERT_NE(HMAC(EVP_sha256(), subkey.data(), static_cast<int>(subkey.size()),
                   bytes_of(message).data(), message.size(), expected.data(), &length),
              nullptr);
    EXPECT_EQ(*key_of(data_key).make(256, bytes_of("ct"), bytes_of("xdata")), expected);
}

TEST(SearchTerm, DiffersByBitsContextDataAndKey) {
    const TermKey key = key_of(test::pattern(32));
    const FullTerm term = *key.make(64, bytes_of("c"), bytes_of("d"));
    EXPECT_EQ(*key.make(64, bytes_of("c"), bytes_of("d")), term);
    EXPECT_NE(*key.make(65, bytes_of("c"), bytes_of("d")), term);
    EXPECT_NE(*key.make(64, bytes_of("cd"), {}), term);
    EXPECT_NE(*key.make(64, {}, bytes_of("cd")), term);
    EXPECT_NE(*key_of(test::pattern(32, 2)).make(64, bytes_of("c"), bytes_of("d")), term);
}

TEST(SearchTerm, HasSoManyBitsAndZeros) {
    const TermKey key = key_of(test::pattern(32));
    for (unsigned bits = 1; bits <= most_term_bits; ++bits) {
        const FullTerm full = *key.make(bits, {}, {});
        const Bytes term = term_of(key, bits, {}, {});
        ASSERT_EQ(term.size(), (bits + 7) / 8);
        for (unsigned bit = 0; bit < 8 * term.size(); ++bit) {
            const unsigned shift = 7 - bit % 8;
            const unsigned expected = bit < bits ? full[bit / 8] >> shift & 1 : 0;
            ASSERT_EQ(term[bit / 8] >> shift & 1U, expected) << bits << ' ' << bit;
        }
    }
}

TEST(SearchTerm, RefusesOtherBitsAndOtherKeys) {
    const TermKey key = key_of(test::pattern(32));
    for (const unsigned bits : {0U, 257U, 4294967295U}) {
        EXPECT_CODE(key.make(bits, {}, {}), Code::invalid);
    }
    for (const AlgorithmInfo& info : sealing_algorithms()) {
        EXPECT_CODE(TermKey::from_data_key(info.algorithm, test::pattern(info.key_length)),
                    Code::unsupported);
    }
}

TEST(SearchTerm, KeysOfThatAlgorithmSealNothing) {
    const Bytes data_key = test::pattern(32);
    auto key = SealingKey::from_data_key(Algorithm::hmac_sha_256, data_key);
    ASSERT_TRUE(key);
    Bytes sealed(key->sealed_size(3));
    EXPECT_CODE(key->seal(bytes_of("abc"), {}, sealed), Code::unsupported);
    Bytes opened(8);
    sealed.assign(33, 0);
    EXPECT_CODE(key->open(sealed, {}, opened), Code::malformed);
    EXPECT_CODE(SealingKey::wrapping_from_data_key(Algorithm::hmac_sha_256, data_key),
                Code::unsupported);
    EXPECT_CODE(SealingKey::from_subkey(Algorithm::hmac_sha_256, data_key, {}), Code::unsupported);
}

TEST(SearchTerm, AWipedKeyIsAnother) {
    TermKey key = key_of(test::pattern(32));
    const FullTerm term = *key.make(64, {}, {});
    key.wipe();
    EXPECT_NE(*key.make(64, {}, {}), term);
}

}  // namespace
}  // namespace kms
