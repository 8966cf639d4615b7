#include "crypto/chunked_reader.hpp"

#include "chunked.hpp"

#include "base/floor.hpp"

namespace kms::chunked {
namespace {

using test::Bytes;

const Bytes key = test::pattern(32, 9);
const Bytes context = test::pattern(20, 4);

// Sealed once: two full chunks and a short one.
const Bytes plaintext = test::pattern(2 * chunk_length + 100, 3);
const Bytes message = test::seal_message(key, context, plaintext);

Bytes part(std::size_t from, std::size_t size) {
    return Bytes(message.begin() + from, message.begin() + from + size);
}

// How many whole chunks at the beginning of `changed` are those of the message.
std::size_t authentic_beginning(const Bytes& changed) {
    const auto [left, right] = std::ranges::mismatch(message, changed);
    const auto same = static_cast<std::size_t>(left - message.begin());
    return same < header_length ? 0 : (same - header_length) / sealed_chunk_length * chunk_length;
}

// The reader fails, and hands out no more than the authentic beginning.
void expect_refused(const Bytes& changed, std::size_t piece) {
    const auto reading = test::read_message(key, context, changed, piece);
    EXPECT_CODE(reading.status, Code::corrupt);
    EXPECT_EQ(reading.plaintext.size(), authentic_beginning(changed));
    EXPECT_TRUE(std::equal(reading.plaintext.begin(), reading.plaintext.end(), plaintext.begin()));
    EXPECT_FALSE(test::open_message(key, context, changed).status);
}

TEST(ChunkedReader, PiecesOfEverySize) {
    for (const std::size_t size :
         {1, 7, 55, 56, 57, 100, 16399, 16400, 16401, 16456, 20000, 40000}) {
        const auto reading = test::read_message(key, context, message, size);
        EXPECT_TRUE(reading.status) << size;
        EXPECT_EQ(reading.plaintext, plaintext) << size;
    }
}

TEST(ChunkedReader, MessagesOfEveryKindOfLength) {
    for (const std::size_t size : {0, 1, 16383, 16384, 16385, 32768}) {
        const Bytes other = test::seal_message(key, {}, test::pattern(size));
        const auto reading = test::read_message(key, {}, other);
        EXPECT_TRUE(reading.status) << size;
        EXPECT_EQ(reading.plaintext, test::pattern(size)) << size;
    }
}

TEST(ChunkedReader, EveryTruncationOfAShortMessage) {
    const Bytes other = test::seal_message(key, context, test::pattern(50));
    for (std::size_t size = 0; size < other.size(); ++size) {
        const auto reading = test::read_message(key, context, ByteView(other).first(size));
        EXPECT_CODE(reading.status, Code::corrupt);
        EXPECT_TRUE(reading.plaintext.empty());
        EXPECT_FALSE(test::open_message(key, context, ByteView(other).first(size)).status);
    }
}

TEST(ChunkedReader, TruncationsOfALongMessage) {
    for (std::size_t size = 0; size < message.size(); size += 331) {
        expect_refused(part(0, size), 5000);
    }
    for (const std::uint64_t chunk : {0, 1, 2}) {
        const std::size_t end = *message_offset(chunk);
        for (const std::size_t size : {end - 1, end, end + 1, end + 15, end + 16, end + 17}) {
            expect_refused(part(0, size), 16400);
        }
    }
    expect_refused(part(0, message.size() - 1), 1000);
}

TEST(ChunkedReader, EveryByteCounts) {
    Bytes changed = message;
    for (std::size_t at = 0; at < message.size(); at += at < 200 ? 1 : 257) {
        changed[at] ^= static_cast<Byte>(1 << at % 8);
        expect_refused(changed, 9000);
        changed[at] = message[at];
    }
}

TEST(ChunkedReader, MissingSwappedAndDuplicatedChunks) {
    const Bytes head = part(0, header_length);
    const Bytes first = part(*message_offset(0), sealed_chunk_length);
    const Bytes second = part(*message_offset(1), sealed_chunk_length);
    const Bytes last = part(*message_offset(2), 116);
    const auto chain = [&](std::initializer_list<const Bytes*> chunks) {
        Bytes bytes = head;
        for (const Bytes* chunk : chunks) {
            bytes = test::joined(bytes, *chunk);
        }
        return bytes;
    };
    EXPECT_EQ(chain({&first, &second, &last}), message);
    for (const Bytes& changed :
         {chain({}), chain({&last}), chain({&first, &last}), chain({&second, &last}),
          chain({&second, &first, &last}), chain({&first, &first, &last}), chain({&first, &second}),
          chain({&first, &second, &second, &last}), chain({&first, &second, &last, &last}),
          chain({&last, &first, &second}), chain({&first, &second, &last, &first})}) {
        for (const std::size_t piece : {1000, 16400, 100000}) {
            expect_refused(changed, piece);
        }
    }
}

TEST(ChunkedReader, ForeignChunks) {
    const Bytes foreign = test::seal_message(key, context, plaintext);
    for (const std::uint64_t chunk : {0, 1, 2}) {
        Bytes changed = message;
        const std::size_t from = *message_offset(chunk);
        const std::size_t size = std::min(sealed_chunk_length, message.size() - from);
        std::copy_n(foreign.begin() + from, size, changed.begin() + from);
        expect_refused(changed, 10000);
    }
}

TEST(ChunkedReader, TrailingData) {
    for (const std::size_t more : {1, 15, 16, 17, 16300, 16400, 40000}) {
        expect_refused(test::joined(message, Bytes(more)), 4096);
    }
}

TEST(ChunkedReader, AnotherKeyOrContext) {
    for (const auto& reading : {test::read_message(test::pattern(32), context, message),
                                test::read_message(key, {}, message)}) {
        EXPECT_CODE(reading.status, Code::corrupt);
        EXPECT_TRUE(reading.plaintext.empty());
    }
    EXPECT_CODE(MessageReader::create(test::pattern(31), context), Code::invalid);
}

TEST(ChunkedReader, TheFirstFailureIsFinal) {
    Bytes changed = message;
    changed[header_length] ^= 1;
    auto reader = MessageReader::create(key, context);
    ASSERT_TRUE(reader);
    Bytes out(chunk_length);
    ByteView piece = changed;
    EXPECT_CODE(reader->read(piece, out), Code::corrupt);
    for (int turn = 0; turn < 3; ++turn) {
        ByteView good = message;
        EXPECT_CODE(reader->read(good, out), Code::corrupt);
        EXPECT_EQ(good.size(), message.size());
        EXPECT_CODE(reader->finish(out), Code::corrupt);
        EXPECT_TRUE(test::all_zero(out));
    }
}

TEST(ChunkedReader, TooLittleRoomIsNoFailure) {
    auto reader = MessageReader::create(key, context);
    ASSERT_TRUE(reader);
    Bytes out(chunk_length);
    ByteView piece = message;
    EXPECT_CODE(reader->read(piece, ByteSpan(out).first(chunk_length - 1)), Code::invalid);
    EXPECT_EQ(piece.size(), message.size());
    test::Reading reading;
    EXPECT_TRUE(test::feed(*reader, reading, piece));
    EXPECT_CODE(reader->finish(ByteSpan(out).first(99)), Code::invalid);
    const auto length = reader->finish(ByteSpan(out).first(100));
    ASSERT_TRUE(length);
    EXPECT_EQ(*length, 100U);
    EXPECT_CODE(reader->finish(out), Code::invalid);
    EXPECT_CODE(reader->read(piece, out), Code::invalid);
}

}  // namespace
}  // namespace kms::chunked
