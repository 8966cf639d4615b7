// Project Wycheproof's vectors of Cobblestone-256, through every way to read and write a message.
#include <zlib.h>

#include "chunked.hpp"

#include "base/floor.hpp"

namespace kms::chunked {
namespace {

using test::Bytes;

// More than any of them unpacks to.
constexpr std::size_t most = std::size_t{8} << 20;

Bytes unpack(const Bytes& packed) {
    Bytes bytes(most);
    uLongf size = bytes.size();
    EXPECT_EQ(uncompress(bytes.data(), &size, packed.data(), packed.size()), Z_OK);
    EXPECT_LT(size, most);
    bytes.resize(size);
    return bytes;
}

bool has_flag(const test::Json& vector, const char* flag) {
    return std::ranges::find(vector["flags"], flag) != vector["flags"].end();
}

// What is handed out before the failure is the longest valid beginning, nothing more.
void check_reading(const test::Json& vector, const test::Reading& reading) {
    EXPECT_EQ(bool(reading.status), vector["result"] == "valid");
    EXPECT_EQ(reading.plaintext.size(), vector.value("msgLength", 0U));
    if (vector.contains("msgSha512")) {
        EXPECT_EQ(test::sha512(reading.plaintext), vector["msgSha512"]);
    }
}

// By way of MessageOpener a message of an impossible length gives nothing at all.
void check_opening(const test::Json& vector, const Bytes& message, const test::Reading& reading) {
    if (plaintext_length(message.size())) {
        check_reading(vector, reading);
    } else {
        EXPECT_FALSE(reading.status);
        EXPECT_TRUE(reading.plaintext.empty());
    }
}

// Whether the final chunk, where the message's length says that it begins, is authentic.
bool authenticates_length(const Bytes& key, const Bytes& context, const Bytes& message) {
    const auto length = plaintext_length(message.size());
    if (!length) {
        return false;
    }
    auto opener = MessageOpener::create(key, context, ByteView(message).first(header_length));
    const std::uint64_t last = position_of(*length)->chunk;
    Bytes out(*sealed_length_of(last, *length) - gcm_tag_length);
    return opener && opener->open(last, ByteView(message).subspan(*message_offset(last)), out);
}

// The document's raw mode: key and base nonce are given, and there is no header.
void check_raw(const test::Json& vector, const Bytes& message) {
    const auto key = test::unhex(vector, "aeadKey");
    auto opening = ChunkKey::create(GcmKey::Direction::open, key, test::unhex(vector, "baseNonce"));
    auto sealing = ChunkKey::create(GcmKey::Direction::seal, key, test::unhex(vector, "baseNonce"));
    ASSERT_TRUE(opening && sealing);
    ByteView rest = ByteView(message).subspan(header_length);
    test::Reading reading;
    for (std::uint64_t number = 0;; ++number) {
        const ByteView sealed = rest.first(std::min(rest.size(), sealed_chunk_length));
        rest = rest.subspan(sealed.size());
        Bytes out(sealed.size() < gcm_tag_length ? 0 : sealed.size() - gcm_tag_length);
        reading.status = opening->open(number, sealed, out);
        if (!reading.status) {
            break;
        }
        reading.plaintext.insert(reading.plaintext.end(), out.begin(), out.end());
        Bytes again(sealed.size());
        EXPECT_TRUE(sealing->seal(number, out, again));
        EXPECT_TRUE(std::ranges::equal(again, sealed));
        if (is_final(sealed.size())) {
            break;
        }
    }
    check_reading(vector, reading);
}

void check_derivation(const test::Json& vector, ByteView key, ByteView context,
                      const Bytes& message) {
    MessageKeys keys;
    ASSERT_TRUE(derive_message_keys(key, ByteView(message).first(salt_length), context, keys));
    EXPECT_EQ(to_hex(keys.key.view()), vector["aeadKey"]);
    EXPECT_EQ(to_hex(keys.base_nonce.view()), vector["baseNonce"]);
    EXPECT_TRUE(
        std::equal(keys.commitment.begin(), keys.commitment.end(), message.begin() + salt_length));
}

void check_vector(const test::Json& vector) {
    const auto key = test::unhex(vector, "key");
    const auto context = test::unhex(vector, "ctx");
    const Bytes message = unpack(test::unhex(vector, "ct"));
    const auto reading = test::read_message(key, context, message);
    check_reading(vector, reading);
    check_reading(vector, test::read_message(key, context, message, 1000));
    check_opening(vector, message, test::open_message(key, context, message));
    const bool valid = vector["result"] == "valid";
    EXPECT_EQ(authenticates_length(key, context, message),
              valid || has_flag(vector, "ValidFinalChunk"));
    EXPECT_EQ(vector.contains("aeadKey"), !has_flag(vector, "HeaderFailure"));
    if (vector.contains("aeadKey")) {
        check_derivation(vector, key, context, message);
        check_raw(vector, message);
    }
    if (valid) {
        const ByteView salt = ByteView(message).first(salt_length);
        EXPECT_EQ(test::seal_message(key, context, reading.plaintext, salt), message);
    }
}

TEST(ChunkedEncryption, Wycheproof) {
    const auto path = test::public_vectors("c2sp_chunked_encryption_aes_256_gcm_test.json");
    if (!path) {
        GTEST_SKIP() << "KMS_VECTORS is not set";
    }
    std::size_t checked = 0;
    test::for_each_wycheproof(*path, [&](const test::Json&, const test::Json& vector) {
        check_vector(vector);
        ++checked;
    });
    EXPECT_EQ(checked, test::read_json(*path)["numberOfTests"]);
}

}  // namespace
}  // namespace kms::chunked
