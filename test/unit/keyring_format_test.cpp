#include "agent/keyring/keyring_format.hpp"

#include <gtest/gtest.h>

#include "base/hex.hpp"

namespace kms::agent {
namespace {

constexpr std::size_t header_length = 72;
const std::string unlock_key(32, 'K');

Keyring small_keyring() {
    Keyring keyring;
    EXPECT_TRUE(keyring.create(std::string("a\0b", 3),
                               {Algorithm::aes_128_gcm, wire::Purpose::seal, true, {}},
                               1700000000));
    EXPECT_TRUE(keyring.rotate(std::string_view("a\0b", 3), 1700000001));
    EXPECT_TRUE(
        keyring.change_state(std::string_view("a\0b", 3), 1, wire::VersionState::destroyed));
    EXPECT_TRUE(keyring.create("siv", {Algorithm::aes_256_siv, wire::Purpose::seal, false, {}}, 0));
    EXPECT_TRUE(keyring.change_state("siv", 1, wire::VersionState::disabled));
    return keyring;
}

SecretBytes sealed(const Keyring& keyring) {
    KeyringHeader header;
    header.id.fill(7);
    header.generation = 5;
    return std::move(*seal_keyring(header, keyring, bytes_of(unlock_key)));
}

std::string hex(const SecretBytes& bytes) {
    return to_hex(bytes.view());
}

Code code_of_open(ByteView file) {
    const auto opened = open_keyring(file, bytes_of(unlock_key));
    EXPECT_FALSE(opened);
    return opened.error().code;
}

TEST(KeyringFormat, EntriesHaveOneSpelling) {
    Keyring keyring;
    KeyringEntry entry;
    entry.version = 1;
    entry.algorithm = Algorithm::aes_128_gcm;
    entry.no_export = true;
    entry.created = 258;
    entry.tag = {1, 2, 3, 4, 5, 6, 7, 8};
    entry.key = SecretBytes::copy_of(bytes_of("0123456789abcdef"));
    ASSERT_TRUE(keyring.restore("ab", std::move(entry)));
    EXPECT_EQ(hex(write_entries(keyring)),
              "01"
              "00000001"
              "0002"
              "6162"
              "00000001"
              "03"
              "01"
              "01"
              "01"
              "0000000000000102"
              "0102030405060708"
              "10"
              "30313233343536373839616263646566");
    EXPECT_EQ(hex(write_entries(Keyring())), "0100000000");
}

TEST(KeyringFormat, ReadsWhatItWrites) {
    const Keyring keyring = small_keyring();
    const SecretBytes file = sealed(keyring);
    const auto header = parse_header(file.view());
    ASSERT_TRUE(header);
    EXPECT_EQ(header->generation, 5u);
    EXPECT_EQ(header->id[15], 7);
    EXPECT_EQ(header->recipe.kdf, Kdf::key_file);
    const auto opened = open_keyring(file.view(), bytes_of(unlock_key));
    ASSERT_TRUE(opened);
    EXPECT_EQ(hex(write_entries(*opened)), hex(write_entries(keyring)));
}

TEST(KeyringFormat, KeepsTheRecipeOfAPassphrase) {
    KeyringHeader header;
    header.recipe.kdf = Kdf::scrypt;
    header.recipe.cost = {15, 8, 4};
    header.recipe.salt.fill(9);
    const SecretBytes file = std::move(*seal_keyring(header, Keyring(), bytes_of(unlock_key)));
    EXPECT_EQ(parse_header(file.view())->recipe, header.recipe);
}

TEST(KeyringFormat, EveryFlippedBitIsNoticed) {
    const SecretBytes file = sealed(small_keyring());
    for (std::size_t i = 0; i < file.size() * 8; ++i) {
        SecretBytes damaged = SecretBytes::copy_of(file.view());
        damaged.span()[i / 8] ^= static_cast<Byte>(1 << i % 8);
        const Code code = code_of_open(damaged.view());
        if (i / 8 < 8) {
            EXPECT_TRUE(code == Code::malformed || code == Code::unsupported) << i;
        } else if (i / 8 > header_length && i / 8 < header_length + 9) {
            EXPECT_EQ(code, Code::wrong_key) << i;
        } else if (i / 8 >= header_length) {
            EXPECT_EQ(code, Code::corrupt) << i;
        }
    }
}

TEST(KeyringFormat, EveryTruncationIsNoticed) {
    const SecretBytes file = sealed(small_keyring());
    for (std::size_t size = 0; size < file.size(); ++size) {
        const Code code = code_of_open(file.view().first(size));
        EXPECT_EQ(code, size < header_length + 49 ? Code::malformed : Code::corrupt) << size;
    }
    SecretBytes longer = SecretBytes::copy_of(file.view());
    longer.append(bytes_of("x"));
    EXPECT_EQ(code_of_open(longer.view()), Code::corrupt);
}

TEST(KeyringFormat, TellsAnotherUnlockKeyFromDamage) {
    const SecretBytes file = sealed(small_keyring());
    const auto opened = open_keyring(file.view(), bytes_of(std::string(32, 'X')));
    EXPECT_EQ(opened.error().code, Code::wrong_key);
}

TEST(KeyringFormat, TellsWhatIsNoKeyring) {
    EXPECT_EQ(
        code_of_open(bytes_of("a text that is long enough to be one, but it is not one at all")),
        Code::malformed);
    EXPECT_EQ(code_of_open(bytes_of("kmsring2 and whatever that means")), Code::unsupported);
}

Code code_of_header(std::size_t at, Byte value, Kdf kdf) {
    KeyringHeader header;
    header.recipe.kdf = kdf;
    header.recipe.cost = {17, 8, 1};
    SecretBytes file = std::move(*seal_keyring(header, Keyring(), bytes_of(unlock_key)));
    EXPECT_TRUE(parse_header(file.view()));
    file.span()[at] = value;
    const auto parsed = parse_header(file.view());
    return parsed ? Code::failed : parsed.error().code;
}

TEST(KeyringFormat, RefusesWhatItDoesNotKnow) {
    for (const Byte kdf : {2, 3, 255}) {
        EXPECT_EQ(code_of_header(32, kdf, Kdf::key_file), Code::unsupported);
    }
    EXPECT_EQ(code_of_header(71, 1, Kdf::key_file), Code::unsupported);
    EXPECT_EQ(code_of_header(68, 255, Kdf::key_file), Code::unsupported);
    for (const Byte log2_n : {0, 14, 21, 255}) {
        EXPECT_EQ(code_of_header(33, log2_n, Kdf::scrypt), Code::unsupported);
    }
    EXPECT_EQ(code_of_header(34, 9, Kdf::scrypt), Code::unsupported);
    EXPECT_EQ(code_of_header(35, 0, Kdf::scrypt), Code::unsupported);
    EXPECT_EQ(code_of_header(35, 5, Kdf::scrypt), Code::unsupported);
}

TEST(KeyringFormat, EntriesAreReadStrictly) {
    const SecretBytes bytes = write_entries(small_keyring());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_FALSE(parse_entries(bytes.view().first(size))) << size;
    }
    SecretBytes longer = SecretBytes::copy_of(bytes.view());
    longer.append(bytes_of(std::string(1, '\0')));
    EXPECT_EQ(parse_entries(longer.view()).error().code, Code::corrupt);

    const auto refused = [&](std::size_t at, Byte value) {
        SecretBytes changed = SecretBytes::copy_of(bytes.view());
        changed.span()[at] = value;
        return !parse_entries(changed.view());
    };
    EXPECT_TRUE(refused(0, 2));    // format
    EXPECT_TRUE(refused(1, 255));  // count
    EXPECT_TRUE(refused(4, 2));    // count
    EXPECT_TRUE(refused(5, 255));  // length of the identifier
    EXPECT_TRUE(refused(13, 0));   // version
    EXPECT_TRUE(refused(14, 0));   // algorithm
    EXPECT_TRUE(refused(14, 6));
    EXPECT_TRUE(refused(15, 0));  // state
    EXPECT_TRUE(refused(15, 4));
    EXPECT_TRUE(refused(15, 1));  // enabled, without a key
    EXPECT_TRUE(refused(16, 0));  // purpose
    EXPECT_TRUE(refused(16, 3));
    EXPECT_TRUE(refused(17, 2));     // no-export
    EXPECT_TRUE(refused(18, 0x80));  // created
    EXPECT_TRUE(refused(34, 1));     // length of the key
    EXPECT_FALSE(refused(26, 0));    // the tag may be any
}

TEST(KeyringFormat, KeysComeInOrder) {
    Keyring first;
    Keyring second;
    ASSERT_TRUE(first.create("a", {}, 0));
    ASSERT_TRUE(second.create("b", {}, 0));
    const SecretBytes a = write_entries(first);
    const SecretBytes b = write_entries(second);
    SecretBytes both = SecretBytes::copy_of(b.view());
    both.span()[4] = 2;
    both.append(a.view().subspan(5));
    EXPECT_EQ(parse_entries(both.view()).error().code, Code::corrupt);
    both = SecretBytes::copy_of(a.view());
    both.span()[4] = 2;
    both.append(b.view().subspan(5));
    EXPECT_TRUE(parse_entries(both.view()));
}

}  // namespace
}  // namespace kms::agent
