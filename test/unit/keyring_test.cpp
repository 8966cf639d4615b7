#include "agent/keyring/keyring.hpp"

#include <gtest/gtest.h>

namespace kms::agent {
namespace {

using wire::VersionState;

constexpr std::int64_t when = 1700000000;
constexpr std::string_view imported_key = "0123456789abcdefghijklmnopqrstuv";

Code code_of(const Result<const KeyringEntry*>& result) {
    return result.error().code;
}

TEST(Keyring, CreatesAKeyOfEachAlgorithm) {
    Keyring keyring;
    for (const AlgorithmInfo& info : all_algorithms()) {
        const auto entry =
            keyring.create(info.name, {info.algorithm, wire::Purpose::seal, false, {}}, when);
        ASSERT_TRUE(entry);
        EXPECT_EQ((*entry)->version, 1u);
        EXPECT_EQ((*entry)->key.size(), info.key_length);
        EXPECT_EQ((*entry)->tag, *compute_key_tag(info.algorithm, (*entry)->key.view()));
    }
}

TEST(Keyring, RefusesAnIdentifierThatExists) {
    Keyring keyring;
    ASSERT_TRUE(keyring.create("a", {}, when));
    EXPECT_EQ(code_of(keyring.create("a", {}, when)), Code::invalid);
}

TEST(Keyring, TakesIdentifiersOfAnyBytes) {
    Keyring keyring;
    const std::string longest(max_identifier, '\xff');
    for (const std::string& key : {std::string("\0", 1), std::string("\n%=,"), longest}) {
        EXPECT_TRUE(keyring.create(key, {}, when));
        EXPECT_TRUE(keyring.current(key));
    }
    EXPECT_EQ(code_of(keyring.create("", {}, when)), Code::invalid);
    EXPECT_EQ(code_of(keyring.create(longest + "x", {}, when)), Code::invalid);
}

TEST(Keyring, ImportsOnlyAKeyOfTheRightLength) {
    Keyring keyring;
    const std::string twice = std::string(imported_key) + "!" + std::string(imported_key);
    const ByteView bytes = bytes_of(twice);
    for (std::size_t length = 1; length <= 65; ++length) {
        const auto entry = keyring.create(
            "k" + std::to_string(length),
            {default_algorithm, wire::Purpose::seal, false, bytes.first(length)}, when);
        EXPECT_EQ(static_cast<bool>(entry), length == 32) << length;
    }
    EXPECT_EQ(keyring.keys().size(), 1u);
}

TEST(Keyring, ImportsNoWeakKey) {
    Keyring keyring;
    const std::string counted = "\x01\x03\x05\x07\x09\x0b\x0d\x0f\x11\x13\x15\x17\x19\x1b\x1d\x1f";
    for (const std::string& key :
         {std::string(16, '\0'), std::string(16, 'k'), counted, std::string("0123abcd0123abcd"),
          std::string("aaaaaaabbbbbbccd")}) {
        const auto entry = keyring.create(
            "a", {Algorithm::aes_128_gcm, wire::Purpose::seal, false, bytes_of(key)}, when);
        EXPECT_EQ(code_of(entry), Code::invalid) << key;
    }
    EXPECT_TRUE(keyring.keys().empty());
}

TEST(Keyring, NeverHoldsAKeyTwice) {
    Keyring keyring;
    const NewKey import{default_algorithm, wire::Purpose::seal, false, bytes_of(imported_key)};
    ASSERT_TRUE(keyring.create("a", import, when));
    EXPECT_EQ(code_of(keyring.create("b", import, when)), Code::invalid);
    ASSERT_TRUE(keyring.change_state("a", 1, VersionState::destroyed));
    EXPECT_EQ(code_of(keyring.create("b", import, when)), Code::invalid);
    EXPECT_EQ(keyring.keys().size(), 1u);
}

TEST(Keyring, NumbersCarryOnFromAnyThatIsKnown) {
    Keyring keyring;
    ASSERT_TRUE(keyring.create("a", {}, when));
    EXPECT_EQ((*keyring.rotate("a", when, 4))->version, 5u);
    EXPECT_EQ((*keyring.rotate("a", when, 4))->version, 6u);
    EXPECT_EQ((*keyring.create("b", {.after = 8}, when))->version, 9u);
    for (const std::uint32_t version : {2u, 4u, 7u}) {
        EXPECT_EQ(code_of(keyring.change_state("a", version, VersionState::disabled)),
                  Code::not_found);
    }
    const auto fifth = keyring.change_state("a", 5, VersionState::destroyed);
    ASSERT_TRUE(fifth);
    EXPECT_EQ((*keyring.with_tag("a", (*fifth)->tag))->version, 5u);
    EXPECT_EQ(code_of(keyring.rotate("a", when, wire::max_version)), Code::failed);
    EXPECT_EQ(code_of(keyring.create("c", {.after = wire::max_version}, when)), Code::failed);
}

TEST(Keyring, ContinuesOnlyWhatItHasAllOf) {
    Keyring keyring;
    ASSERT_TRUE(keyring.create("a", {}, when));
    const Keyring before = keyring.record();
    ASSERT_TRUE(keyring.rotate("a", when));
    const Keyring after = keyring.record();
    EXPECT_TRUE(keyring.continues(Keyring()));
    EXPECT_TRUE(keyring.continues(before));
    EXPECT_TRUE(keyring.continues(after));
    EXPECT_FALSE(before.continues(after));
    ASSERT_TRUE(keyring.change_state("a", 1, VersionState::destroyed));
    EXPECT_TRUE(keyring.continues(after));
    EXPECT_FALSE(after.continues(keyring));
}

TEST(Keyring, AKeyThatWrapsNeverLeaves) {
    Keyring keyring;
    const auto entry = keyring.create("w", {.purpose = wire::Purpose::wrap}, when);
    ASSERT_TRUE(entry);
    EXPECT_TRUE((*entry)->no_export);
    EXPECT_EQ((*keyring.rotate("w", when))->purpose, wire::Purpose::wrap);
}

TEST(Keyring, RotationKeepsAlgorithmAndNoExport) {
    Keyring keyring;
    ASSERT_TRUE(keyring.create("a", {Algorithm::aes_256_siv, wire::Purpose::seal, true, {}}, when));
    ASSERT_TRUE(keyring.change_state("a", 1, VersionState::disabled));
    const auto entry = keyring.rotate("a", when + 1);
    ASSERT_TRUE(entry);
    EXPECT_EQ((*entry)->version, 2u);
    EXPECT_EQ((*entry)->algorithm, Algorithm::aes_256_siv);
    EXPECT_TRUE((*entry)->no_export);
    EXPECT_EQ((*entry)->created, when + 1);
    EXPECT_EQ(code_of(keyring.rotate("b", when)), Code::not_found);
}

TEST(Keyring, TheNewestVersionIsCurrentWhateverItsState) {
    Keyring keyring;
    ASSERT_TRUE(keyring.create("a", {}, when));
    ASSERT_TRUE(keyring.rotate("a", when));
    for (const auto state :
         {VersionState::disabled, VersionState::enabled, VersionState::destroyed}) {
        ASSERT_TRUE(keyring.change_state("a", 2, state));
        EXPECT_EQ((*keyring.current("a"))->version, 2u);
    }
}

TEST(Keyring, ADestroyedVersionKeepsItsRecordAndNothingElse) {
    Keyring keyring;
    const KeyTag tag = (*keyring.create("a", {}, when))->tag;
    ASSERT_TRUE(keyring.change_state("a", 1, VersionState::destroyed));
    const auto entry = keyring.with_tag("a", tag);
    ASSERT_TRUE(entry);
    EXPECT_TRUE((*entry)->key.empty());
    EXPECT_EQ(check_enabled(**entry).error().code, Code::disabled);
    EXPECT_EQ(code_of(keyring.change_state("a", 1, VersionState::enabled)), Code::disabled);
    EXPECT_EQ(code_of(keyring.change_state("a", 1, VersionState::disabled)), Code::disabled);
    EXPECT_TRUE(keyring.change_state("a", 1, VersionState::destroyed));
    EXPECT_EQ((*keyring.rotate("a", when))->version, 2u);
}

TEST(Keyring, KnowsNoVersionThatIsNotThere) {
    Keyring keyring;
    ASSERT_TRUE(keyring.create("a", {}, when));
    for (const std::uint32_t version : {0u, 2u, 4294967295u}) {
        EXPECT_EQ(code_of(keyring.change_state("a", version, VersionState::disabled)),
                  Code::not_found);
    }
    EXPECT_EQ(code_of(keyring.change_state("b", 1, VersionState::disabled)), Code::not_found);
    EXPECT_EQ(code_of(keyring.current("b")), Code::not_found);
}

TEST(Keyring, FindsAVersionByTagUnderItsOwnKeyOnly) {
    Keyring keyring;
    const KeyTag first = (*keyring.create("a", {}, when))->tag;
    const KeyTag second = (*keyring.rotate("a", when))->tag;
    const KeyTag other = (*keyring.create("b", {}, when))->tag;
    EXPECT_EQ((*keyring.with_tag("a", first))->version, 1u);
    EXPECT_EQ((*keyring.with_tag("a", second))->version, 2u);
    EXPECT_EQ(code_of(keyring.with_tag("a", other)), Code::wrong_key);
    EXPECT_EQ(code_of(keyring.with_tag("b", second)), Code::wrong_key);
    EXPECT_EQ(code_of(keyring.with_tag("a", KeyTag{})), Code::wrong_key);
    EXPECT_EQ(code_of(keyring.with_tag("c", first)), Code::not_found);
}

TEST(Keyring, ListsByPrefix) {
    Keyring keyring;
    for (const char* key : {"a", "ab", "abc", "ac", "b"}) {
        ASSERT_TRUE(keyring.create(key, {}, when));
    }
    const auto count = [&](std::string_view prefix) {
        const auto [first, last] = keyring.with_prefix(prefix);
        return std::distance(first, last);
    };
    EXPECT_EQ(count(""), 5);
    EXPECT_EQ(count("ab"), 2);
    EXPECT_EQ(count("b"), 1);
    EXPECT_EQ(count("c"), 0);
}

KeyringEntry stored(std::uint32_t version, Byte tag) {
    KeyringEntry entry;
    entry.version = version;
    entry.tag[0] = tag;
    entry.key = SecretBytes::copy_of(bytes_of(std::string(32, 'k')));
    return entry;
}

TEST(Keyring, RestoresOnlyWhatItsRulesAllow) {
    Keyring keyring;
    ASSERT_TRUE(keyring.restore("a", stored(1, 1)));
    EXPECT_EQ(keyring.restore("", stored(1, 2)).error().code, Code::corrupt);
    EXPECT_EQ(keyring.restore("a", stored(0, 2)).error().code, Code::corrupt);
    EXPECT_EQ(keyring.restore("a", stored(1, 2)).error().code, Code::corrupt);
    EXPECT_EQ(keyring.restore("b", stored(2147483648, 2)).error().code, Code::corrupt);
    EXPECT_EQ(keyring.restore("c", stored(1, 1)).error().code, Code::corrupt);
    KeyringEntry other = stored(2, 2);
    other.no_export = true;
    EXPECT_EQ(keyring.restore("a", std::move(other)).error().code, Code::corrupt);
    other = stored(2, 2);
    other.purpose = wire::Purpose::wrap;
    EXPECT_EQ(keyring.restore("w", std::move(other)).error().code, Code::corrupt);
    other = stored(2, 2);
    other.purpose = wire::Purpose::wrap;
    other.no_export = true;
    EXPECT_EQ(keyring.restore("a", std::move(other)).error().code, Code::corrupt);
    other = stored(2, 2);
    other.algorithm = Algorithm::aes_256_gcm;
    EXPECT_EQ(keyring.restore("a", std::move(other)).error().code, Code::corrupt);
    other = stored(2, 2);
    other.state = VersionState::destroyed;
    EXPECT_EQ(keyring.restore("a", std::move(other)).error().code, Code::corrupt);
    other = stored(2, 2);
    other.created = -1;
    EXPECT_EQ(keyring.restore("a", std::move(other)).error().code, Code::corrupt);
    EXPECT_TRUE(keyring.restore("a", stored(2, 2)));
    EXPECT_TRUE(keyring.restore("a", stored(7, 7)));
    EXPECT_EQ((*keyring.current("a"))->version, 7u);
}

TEST(Keyring, RefusesToRotateBeyondTheLastNumber) {
    Keyring keyring;
    ASSERT_TRUE(keyring.create("a", {}, when));
    auto* newest = const_cast<KeyringEntry*>(*keyring.current("a"));
    newest->version = wire::max_version;
    EXPECT_EQ(code_of(keyring.rotate("a", when)), Code::failed);
}

}  // namespace
}  // namespace kms::agent
