#include "crypto/sealed.hpp"

#include <set>

#include "forked.hpp"
#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using Bytes = std::vector<Byte>;

SealingKey key_for(Algorithm algorithm, unsigned start = 1) {
    auto key =
        SealingKey::from_data_key(algorithm, test::pattern(info_of(algorithm).key_length, start));
    EXPECT_TRUE(key);
    return std::move(*key);
}

Bytes sealed_by(SealingKey& key, ByteView plaintext, ByteView context) {
    Bytes sealed(key.sealed_size(plaintext.size()));
    EXPECT_TRUE(key.seal(plaintext, context, sealed));
    return sealed;
}

// The code that opening gives; nullopt where it succeeds. Nothing may be left in the output then.
std::optional<Code> refusal(SealingKey& key, ByteView sealed, ByteView context) {
    const auto header = parse_sealed(sealed);
    Bytes out(header ? header->plaintext_length : 3, 0xEE);
    const Status opened = key.open(sealed, context, out);
    if (opened) {
        return std::nullopt;
    }
    EXPECT_TRUE(test::all_zero(out));
    return opened.error().code;
}

class Sealed : public testing::TestWithParam<Algorithm> {
  protected:
    const AlgorithmInfo& info = info_of(GetParam());
    SealingKey key = key_for(GetParam());
    const Bytes contexts[2] = {{}, test::pattern(21)};
};

INSTANTIATE_TEST_SUITE_P(Every, Sealed,
                         testing::Values(Algorithm::xaes_256_gcm, Algorithm::aes_256_siv,
                                         Algorithm::aes_128_gcm, Algorithm::aes_192_gcm,
                                         Algorithm::aes_256_gcm));

TEST_P(Sealed, AgreesWithTheVectors) {
    for (const test::Json& vector : test::carried_vectors("sealed.json")) {
        if (vector["algorithm"] != info.name) {
            continue;
        }
        auto made = SealingKey::from_data_key(GetParam(), test::unhex(vector, "key"));
        ASSERT_TRUE(made);
        const Bytes sealed = test::unhex(vector, "sealed");
        const Bytes context = test::unhex(vector, "context");
        const Bytes plaintext = test::unhex(vector, "plaintext");
        Bytes opened(plaintext.size());
        EXPECT_EQ(to_hex(made->tag()), vector["tag"]);
        ASSERT_EQ(made->sealed_size(plaintext.size()), sealed.size());
        ASSERT_TRUE(made->open(sealed, context, opened));
        EXPECT_EQ(opened, plaintext);
        EXPECT_EQ(sealed_by(*made, plaintext, context) == sealed, info.suite == Suite::aes_siv);
    }
}

TEST_P(Sealed, SizesComeBack) {
    std::vector<std::size_t> sizes{255, 4096, 65537, 3'000'001};
    for (std::size_t size = 0; size <= 100; ++size) {
        sizes.push_back(size);
    }
    for (const std::size_t size : sizes) {
        const Bytes plaintext = test::pattern(size);
        const Bytes sealed = sealed_by(key, plaintext, contexts[1]);
        Bytes opened(size);
        ASSERT_TRUE(key.open(sealed, contexts[1], opened)) << size;
        EXPECT_EQ(opened, plaintext);
    }
}

TEST_P(Sealed, HeaderSaysSuiteTagNonceAndLength) {
    const Bytes sealed = sealed_by(key, test::pattern(30), {});
    const auto header = parse_sealed(sealed);
    ASSERT_TRUE(header);
    EXPECT_EQ(header->suite, info.suite);
    EXPECT_EQ(header->tag, key.tag());
    EXPECT_EQ(header->plaintext_length, 30u);
    EXPECT_EQ(header->nonce.size(), info.nonce_length);
    EXPECT_EQ(sealed.size(), 30 + 25 + info.nonce_length);
    EXPECT_EQ(key.algorithm(), GetParam());
}

TEST_P(Sealed, EveryTruncationIsSeen) {
    for (const Bytes& context : contexts) {
        const Bytes sealed = sealed_by(key, test::pattern(40), context);
        const std::size_t shortest = key.sealed_size(0);
        for (std::size_t size = 0; size < sealed.size(); ++size) {
            EXPECT_EQ(refusal(key, ByteView(sealed).first(size), context),
                      size < shortest ? Code::malformed : Code::corrupt)
                << size;
        }
        EXPECT_EQ(refusal(key, test::joined(sealed, {0}), context), Code::corrupt);
    }
}

// What the first byte and the tag tell apart, and nothing else does.
Code expected_for_flip(std::size_t byte, Byte suite) {
    if (byte == 0) {
        return suite >= 1 && suite <= 3 ? Code::wrong_key : Code::malformed;
    }
    return byte < 9 ? Code::wrong_key : Code::corrupt;
}

TEST_P(Sealed, EveryFlippedBitIsSeen) {
    for (const Bytes& context : contexts) {
        Bytes sealed = sealed_by(key, test::pattern(40), context);
        for (std::size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
            sealed[bit / 8] ^= static_cast<Byte>(1 << bit % 8);
            EXPECT_EQ(refusal(key, sealed, context), expected_for_flip(bit / 8, sealed[0])) << bit;
            sealed[bit / 8] ^= static_cast<Byte>(1 << bit % 8);
        }
        EXPECT_EQ(refusal(key, sealed, context), std::nullopt);
    }
}

TEST_P(Sealed, AnotherContextIsCorrupt) {
    const Bytes context = contexts[1];
    const Bytes sealed = sealed_by(key, test::pattern(10), context);
    const Bytes longer = test::joined(context, {0});
    Bytes other = context;
    other[3] ^= 4;
    for (const Bytes& wrong : {Bytes(), Bytes(context.begin(), context.end() - 1), longer, other}) {
        EXPECT_EQ(refusal(key, sealed, wrong), Code::corrupt);
    }
}

TEST_P(Sealed, AnotherKeyIsAWrongKey) {
    SealingKey other = key_for(GetParam(), 99);
    EXPECT_NE(other.tag(), key.tag());
    EXPECT_EQ(refusal(other, sealed_by(key, test::pattern(10), {}), {}), Code::wrong_key);
}

TEST_P(Sealed, AnotherKeyWithTheSameTagIsCorrupt) {
    auto other = SealingKey::from_subkey(GetParam(), test::pattern(info.key_length), key.tag());
    ASSERT_TRUE(other);
    EXPECT_EQ(refusal(*other, sealed_by(key, test::pattern(10), {}), {}), Code::corrupt);
}

TEST_P(Sealed, AKeyOfOneAlgorithmOpensNoOther) {
    const Bytes sealed = sealed_by(key, test::pattern(10), {});
    for (const AlgorithmInfo& other : sealing_algorithms()) {
        if (other.algorithm != GetParam()) {
            SealingKey others = key_for(other.algorithm);
            EXPECT_EQ(refusal(others, sealed, {}), Code::wrong_key);
        }
    }
}

TEST_P(Sealed, AFailureSpoilsNothing) {
    Bytes sealed = sealed_by(key, test::pattern(10), {});
    for (int turn = 0; turn < 3; ++turn) {
        sealed.back() ^= 1;
        EXPECT_EQ(refusal(key, sealed, {}), Code::corrupt);
        sealed.back() ^= 1;
        EXPECT_EQ(refusal(key, sealed, {}), std::nullopt);
        EXPECT_EQ(refusal(key, sealed_by(key, {}, {}), {}), std::nullopt);
    }
}

TEST_P(Sealed, NoncesNeverRepeatAcrossForks) {
    const std::size_t size = key.sealed_size(4);
    std::set<Bytes> nonces;
    const auto note = [&](const Bytes& sealed) {
        const auto header = parse_sealed(sealed);
        ASSERT_TRUE(header);
        nonces.emplace(header->nonce.begin(), header->nonce.end());
        EXPECT_EQ(refusal(key, sealed, {}), std::nullopt);
    };
    note(sealed_by(key, test::pattern(4), {}));
    for (int i = 0; i < 10; ++i) {
        note(test::in_child(
            size, [&](ByteSpan out) { return bool(key.seal(test::pattern(4), {}, out)); }));
        note(sealed_by(key, test::pattern(4), {}));
    }
    EXPECT_EQ(nonces.size(), info.suite == Suite::aes_siv ? 1u : 21u);
}

TEST_P(Sealed, RefusesOutputOfAnotherSize) {
    const Bytes sealed = sealed_by(key, test::pattern(10), {});
    Bytes out(200);
    for (const std::size_t wrong : {0, 9, 11}) {
        EXPECT_CODE(key.open(sealed, {}, ByteSpan(out).first(wrong)), Code::invalid);
    }
    EXPECT_CODE(key.seal(test::pattern(10), {}, ByteSpan(out).first(sealed.size() - 1)),
                Code::invalid);
    EXPECT_CODE(key.seal(test::pattern(10), {}, ByteSpan(out).first(sealed.size() + 1)),
                Code::invalid);
}

TEST_P(Sealed, RefusesAKeyOfAnotherLength) {
    for (const std::size_t length : {std::size_t{0}, info.key_length - 1, info.key_length + 1}) {
        EXPECT_CODE(SealingKey::from_data_key(GetParam(), test::pattern(length)), Code::invalid);
        EXPECT_CODE(SealingKey::from_subkey(GetParam(), test::pattern(length), {}), Code::invalid);
    }
}

TEST_P(Sealed, WrappingIsSuite1UnderTheTagOfTheKey) {
    auto wrapping = SealingKey::wrapping_from_data_key(GetParam(), test::pattern(info.key_length));
    ASSERT_TRUE(wrapping);
    EXPECT_EQ(wrapping->tag(), key.tag());
    const Bytes secret = test::pattern(64);
    const Bytes wrapped = sealed_by(*wrapping, secret, contexts[1]);
    EXPECT_EQ(wrapped.size(), 64u + 49u);
    EXPECT_EQ(wrapped[0], 1);
    Bytes opened(64);
    EXPECT_TRUE(wrapping->open(wrapped, contexts[1], opened));
    EXPECT_EQ(opened, secret);
    EXPECT_EQ(refusal(*wrapping, wrapped, contexts[0]), Code::corrupt);
}

TEST_P(Sealed, ValuesAndWrappedKeysDoNotOpenEachOther) {
    auto wrapping = SealingKey::wrapping_from_data_key(GetParam(), test::pattern(info.key_length));
    ASSERT_TRUE(wrapping);
    const Code told = info.suite == Suite::xaes_256_gcm ? Code::corrupt : Code::wrong_key;
    EXPECT_EQ(refusal(key, sealed_by(*wrapping, contexts[1], {}), {}), told);
    EXPECT_EQ(refusal(*wrapping, sealed_by(key, contexts[1], {}), {}), told);
    EXPECT_EQ(SealingKey::wrapping_from_data_key(GetParam(), test::pattern(7)).error().code,
              Code::invalid);
}

TEST(SealedHeader, UnknownSuitesAreMalformed) {
    Bytes sealed(100);
    for (int suite = 0; suite < 256; ++suite) {
        sealed[0] = static_cast<Byte>(suite);
        EXPECT_EQ(bool(parse_sealed(sealed)), suite >= 1 && suite <= 3) << suite;
    }
    EXPECT_CODE(parse_sealed({}), Code::malformed);
    EXPECT_EQ(least_sealed_length(Bytes(sealed_beginning, 4)), std::nullopt);
    EXPECT_EQ(least_sealed_length({}), std::nullopt);
}

TEST(SealedHeader, ShortestValueOfEverySuite) {
    const std::pair<Byte, std::size_t> shortest[] = {{1, 49}, {2, 25}, {3, 37}};
    for (const auto& [suite, size] : shortest) {
        Bytes sealed(size);
        sealed[0] = suite;
        const auto header = parse_sealed(sealed);
        ASSERT_TRUE(header);
        EXPECT_EQ(header->plaintext_length, 0u);
        EXPECT_EQ(least_sealed_length(ByteView(sealed).first(sealed_beginning)), size);
        EXPECT_EQ(least_sealed_length(ByteView(sealed).first(sealed_beginning - 1)), std::nullopt);
        sealed.pop_back();
        EXPECT_CODE(parse_sealed(sealed), Code::malformed);
    }
}

}  // namespace
}  // namespace kms
