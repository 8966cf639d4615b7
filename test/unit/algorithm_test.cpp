#include "crypto/algorithm.hpp"

#include <set>

#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

TEST(Algorithm, NamesFindTheirOwn) {
    for (const AlgorithmInfo& info : all_algorithms()) {
        EXPECT_EQ(algorithm_named(info.name), info.algorithm);
        EXPECT_EQ(&info_of(info.algorithm), &info);
    }
    EXPECT_EQ(all_algorithms().size(), 6u);
    EXPECT_EQ(sealing_algorithms().size(), 5u);
}

TEST(Algorithm, NothingElseHasAName) {
    for (const char* name :
         {"", "aes", "AES-256-GCM", "aes-256-gcm ", "xaes-256-gc", "aes-256-ctr"}) {
        EXPECT_FALSE(algorithm_named(name)) << name;
    }
}

TEST(Algorithm, AKeyLengthStandsForOne) {
    EXPECT_EQ(algorithm_for_key_length(16), Algorithm::aes_128_gcm);
    EXPECT_EQ(algorithm_for_key_length(24), Algorithm::aes_192_gcm);
    EXPECT_EQ(algorithm_for_key_length(32), default_algorithm);
    EXPECT_EQ(algorithm_for_key_length(64), Algorithm::aes_256_siv);
    for (const std::size_t bytes : {0, 1, 15, 17, 31, 33, 48, 63, 65}) {
        EXPECT_FALSE(algorithm_for_key_length(bytes)) << bytes;
    }
}

TEST(Algorithm, EachIsForValuesOrForSearchTerms) {
    for (const AlgorithmInfo& info : sealing_algorithms()) {
        EXPECT_TRUE(info.seals());
        EXPECT_TRUE(require_sealing(info.algorithm));
        EXPECT_CODE(require_terms(info.algorithm), Code::unsupported);
        EXPECT_EQ(info.is_deterministic(), info.algorithm == Algorithm::aes_256_siv);
    }
    EXPECT_FALSE(info_of(Algorithm::hmac_sha_256).is_deterministic());
    EXPECT_TRUE(require_terms(Algorithm::hmac_sha_256));
    EXPECT_CODE(require_sealing(Algorithm::hmac_sha_256), Code::unsupported);
}

TEST(KeyTag, IsTheOneOfTheVectors) {
    for (const test::Json& vector : test::carried_vectors("sealed.json")) {
        const auto algorithm = algorithm_named(vector["algorithm"].get<std::string>());
        ASSERT_TRUE(algorithm);
        const auto tag = compute_key_tag(*algorithm, test::unhex(vector, "key"));
        ASSERT_TRUE(tag);
        EXPECT_EQ(to_hex(*tag), vector["tag"]);
    }
}

TEST(KeyTag, RefusesAnotherLength) {
    for (const AlgorithmInfo& info : all_algorithms()) {
        for (const std::size_t bytes : {std::size_t{0}, info.key_length - 1, info.key_length + 1}) {
            EXPECT_CODE(compute_key_tag(info.algorithm, test::pattern(bytes)), Code::invalid);
        }
    }
}

TEST(KeyTag, OneKeyHasAnotherTagInEveryAlgorithm) {
    std::set<KeyTag> tags;
    for (const AlgorithmInfo& info : all_algorithms()) {
        const auto tag = compute_key_tag(info.algorithm, test::pattern(info.key_length));
        ASSERT_TRUE(tag);
        tags.insert(*tag);
    }
    EXPECT_EQ(tags.size(), all_algorithms().size());
}

}  // namespace
}  // namespace kms
