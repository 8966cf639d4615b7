#include "crypto/chunked_encryption.hpp"

#include "chunked.hpp"
#include "forked.hpp"

#include "base/floor.hpp"

namespace kms::chunked {
namespace {

using test::Bytes;

const Bytes key = test::pattern(32, 9);
const Bytes context = test::pattern(20, 4);
const Bytes salt = test::pattern(24, 77);

Bytes plaintext_of(std::size_t size) {
    return test::pattern(size, 3);
}

ByteView chunk_of(const Bytes& message, std::uint64_t number) {
    const std::uint64_t from = *message_offset(number);
    return ByteView(message).subspan(from, std::min(sealed_chunk_length, message.size() - from));
}

TEST(ChunkedEncryption, RoundTripsOfEveryKindOfLength) {
    for (const std::size_t size :
         {0, 1, 15, 16, 17, 1000, 16383, 16384, 16385, 32767, 32768, 32769, 49152, 100000}) {
        const Bytes message = test::seal_message(key, context, plaintext_of(size));
        EXPECT_EQ(message.size(), message_length(size));
        const auto reading = test::open_message(key, context, message);
        EXPECT_TRUE(reading.status);
        EXPECT_EQ(reading.plaintext, plaintext_of(size));
    }
}

TEST(ChunkedEncryption, EveryMessageHasItsOwnSalt) {
    const Bytes left = test::seal_message(key, context, plaintext_of(100));
    const Bytes right = test::seal_message(key, context, plaintext_of(100));
    for (std::size_t at = 0; at + 8 <= left.size(); at += 8) {
        EXPECT_FALSE(std::equal(left.begin() + at, left.begin() + at + 8, right.begin() + at));
    }
    EXPECT_EQ(test::seal_message(key, context, plaintext_of(100), salt),
              test::seal_message(key, context, plaintext_of(100), salt));
}

TEST(ChunkedEncryption, ChunksOpenInAnyOrder) {
    const Bytes plaintext = plaintext_of(50000);
    const Bytes message = test::seal_message(key, context, plaintext);
    auto opener = MessageOpener::create(key, context, ByteView(message).first(header_length));
    ASSERT_TRUE(opener);
    for (const std::uint64_t number : {3, 1, 2, 0, 1}) {
        const ByteView sealed = chunk_of(message, number);
        Bytes out(sealed.size() - gcm_tag_length);
        ASSERT_TRUE(opener->open(number, sealed, out));
        EXPECT_EQ(is_final(sealed.size()), number == 3);
        EXPECT_TRUE(
            std::equal(out.begin(), out.end(), plaintext.begin() + *plaintext_offset(number)));
    }
}

TEST(ChunkedEncryption, AChunkStandsNowhereElse) {
    const Bytes message = test::seal_message(key, context, Bytes(40000));
    const Bytes foreign = test::seal_message(key, context, Bytes(40000));
    auto opener = MessageOpener::create(key, context, ByteView(message).first(header_length));
    ASSERT_TRUE(opener);
    for (const std::uint64_t number : {0, 1, 2}) {
        const ByteView sealed = chunk_of(message, number);
        Bytes out(sealed.size() - gcm_tag_length, 0xEE);
        for (const std::uint64_t other : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2},
                                          std::uint64_t{256} + number, max_chunks - 1}) {
            EXPECT_EQ(bool(opener->open(other, sealed, out)), other == number);
            EXPECT_EQ(test::all_zero(out), true);
        }
        EXPECT_CODE(opener->open(number, chunk_of(foreign, number), out), Code::corrupt);
    }
}

// A full chunk is never taken for the final one, nor a part of it.
TEST(ChunkedEncryption, AShortenedChunkIsNoFinalChunk) {
    const Bytes message = test::seal_message(key, context, plaintext_of(20000));
    auto opener = MessageOpener::create(key, context, ByteView(message).first(header_length));
    ASSERT_TRUE(opener);
    for (const std::uint64_t number : {0, 1}) {
        const ByteView sealed = chunk_of(message, number);
        for (std::size_t size = gcm_tag_length; size < sealed.size(); size += 97) {
            Bytes out(size - gcm_tag_length, 0xEE);
            EXPECT_CODE(opener->open(number, sealed.first(size), out), Code::corrupt);
            EXPECT_TRUE(test::all_zero(out));
        }
    }
}

TEST(ChunkedEncryption, EveryBitCounts) {
    Bytes message = test::seal_message(key, context, plaintext_of(33));
    for (std::size_t bit = 0; bit < 8 * message.size(); ++bit) {
        message[bit / 8] ^= static_cast<Byte>(1 << bit % 8);
        const auto reading = test::open_message(key, context, message);
        EXPECT_CODE(reading.status, Code::corrupt);
        EXPECT_TRUE(reading.plaintext.empty());
        message[bit / 8] ^= static_cast<Byte>(1 << bit % 8);
    }
    EXPECT_TRUE(test::open_message(key, context, message).status);
}

TEST(ChunkedEncryption, TheHeaderCommitsToKeyAndContext) {
    const Bytes message = test::seal_message(key, context, plaintext_of(10));
    const ByteView header = ByteView(message).first(header_length);
    EXPECT_TRUE(MessageOpener::create(key, context, header));
    EXPECT_CODE(MessageOpener::create(test::pattern(32, 8), context, header), Code::corrupt);
    EXPECT_CODE(MessageOpener::create(key, {}, header), Code::corrupt);
    EXPECT_CODE(MessageOpener::create(key, ByteView(context).first(19), header), Code::corrupt);
    for (std::size_t size = 0; size < header_length; ++size) {
        EXPECT_CODE(MessageOpener::create(key, context, header.first(size)), Code::corrupt);
    }
    EXPECT_CODE(MessageOpener::create(key, context, ByteView(message).first(57)), Code::corrupt);
}

TEST(ChunkedEncryption, KeysHave32Bytes) {
    Bytes header(header_length);
    for (const std::size_t size : {0, 16, 24, 31, 33, 64}) {
        EXPECT_CODE(MessageSealer::start(test::pattern(size), context, header), Code::invalid);
        EXPECT_CODE(MessageOpener::create(test::pattern(size), context, header), Code::invalid);
        EXPECT_CODE(ChunkKey::create(GcmKey::Direction::seal, test::pattern(size), Bytes(12)),
                    Code::invalid);
    }
    EXPECT_CODE(ChunkKey::create(GcmKey::Direction::seal, key, Bytes(13)), Code::invalid);
    EXPECT_CODE(MessageSealer::start_with_salt(key, Bytes(23), context, header), Code::invalid);
    EXPECT_CODE(MessageSealer::start(key, context, ByteSpan(header).first(55)), Code::invalid);
    EXPECT_TRUE(test::all_zero(header));
}

TEST(ChunkedEncryption, OnlyTheFinalChunkIsShort) {
    Bytes header(header_length);
    auto sealer = MessageSealer::start(key, context, header);
    ASSERT_TRUE(sealer);
    Bytes out(sealed_chunk_length + 1);
    const auto room = [&](std::size_t size) { return ByteSpan(out).first(size); };
    for (const std::size_t size : {0, 1, 16383, 16385}) {
        EXPECT_CODE(sealer->seal_chunk(Bytes(size), room(size + 16)), Code::invalid);
    }
    EXPECT_CODE(sealer->seal_final(Bytes(16384), room(16400)), Code::invalid);
    EXPECT_CODE(sealer->seal_chunk(Bytes(16384), room(16399)), Code::invalid);
    EXPECT_CODE(sealer->seal_final(Bytes(5), room(20)), Code::invalid);
    EXPECT_TRUE(test::all_zero(out));
    EXPECT_TRUE(sealer->seal_chunk(Bytes(16384), room(16400)));
    EXPECT_TRUE(sealer->seal_final({}, room(16)));
}

TEST(ChunkedEncryption, NothingFollowsTheFinalChunk) {
    Bytes message(header_length);
    auto sealer = MessageSealer::start(key, context, message);
    ASSERT_TRUE(sealer);
    test::seal_chunks(*sealer, plaintext_of(3), message);
    Bytes out(sealed_chunk_length);
    EXPECT_CODE(sealer->seal_final({}, ByteSpan(out).first(16)), Code::invalid);
    EXPECT_CODE(sealer->seal_chunk(Bytes(16384), out), Code::invalid);
    EXPECT_TRUE(test::all_zero(out));
}

// Parent and child would seal two different chunks under one nonce.
TEST(ChunkedEncryption, AForkedChildDoesNotGoOn) {
    Bytes header(header_length);
    auto sealer = MessageSealer::start(key, context, header);
    ASSERT_TRUE(sealer);
    const auto reported =
        test::in_child(16, [&](ByteSpan out) { return !sealer->seal_final({}, out); });
    EXPECT_TRUE(test::all_zero(reported));
    Bytes out(16);
    EXPECT_TRUE(sealer->seal_final({}, out));
}

TEST(ChunkedEncryption, NumbersGoTo38Bits) {
    auto sealing = ChunkKey::create(GcmKey::Direction::seal, key, test::pattern(12, 250));
    auto opening = ChunkKey::create(GcmKey::Direction::open, key, test::pattern(12, 250));
    ASSERT_TRUE(sealing && opening);
    Bytes sealed(21);
    Bytes out(5);
    for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{255}, std::uint64_t{256},
                                       std::uint64_t{1} << 32, max_chunks - 1}) {
        ASSERT_TRUE(sealing->seal(number, plaintext_of(5), sealed));
        ASSERT_TRUE(opening->open(number, sealed, out));
        EXPECT_EQ(out, plaintext_of(5));
        EXPECT_CODE(opening->open(number ^ 1, sealed, out), Code::corrupt);
    }
    for (const std::uint64_t number : {max_chunks, max_chunks + 1, ~std::uint64_t{0}}) {
        EXPECT_CODE(sealing->seal(number, plaintext_of(5), sealed), Code::too_large);
        EXPECT_CODE(opening->open(number, sealed, out), Code::too_large);
    }
}

// The nonce is the base nonce, with the number in its last bytes.
TEST(ChunkedEncryption, NoncesAsTheDocumentSays) {
    const Bytes base = test::pattern(12, 250);
    auto sealing = ChunkKey::create(GcmKey::Direction::seal, key, base);
    auto raw = GcmKey::create(GcmKey::Direction::open, key);
    ASSERT_TRUE(sealing && raw);
    Bytes sealed(21);
    Bytes out(5);
    ASSERT_TRUE(sealing->seal(0x0102030405, plaintext_of(5), sealed));
    Bytes nonce = base;
    for (std::size_t i = 0; i < 5; ++i) {
        nonce[7 + i] ^= static_cast<Byte>(i + 1);
    }
    ASSERT_TRUE(raw->open(nonce, {}, sealed, out));
    EXPECT_EQ(out, plaintext_of(5));
}

TEST(ChunkedEncryption, RefusesChunksOfOtherSizes) {
    auto opening = ChunkKey::create(GcmKey::Direction::open, key, Bytes(12));
    ASSERT_TRUE(opening);
    Bytes out(16500);
    for (const std::size_t size : {0, 1, 15, 16401, 16484}) {
        EXPECT_CODE(opening->open(0, Bytes(size), ByteSpan(out).first(size < 16 ? 0 : size - 16)),
                    Code::invalid);
    }
    EXPECT_CODE(opening->open(0, Bytes(20), ByteSpan(out).first(5)), Code::invalid);
    EXPECT_CODE(opening->seal(0, Bytes(4), ByteSpan(out).first(20)), Code::invalid);
}

}  // namespace
}  // namespace kms::chunked
