// Messages of C2SP chunked-encryption, made and read as a whole.
#pragma once

#include <openssl/evp.h>

#include <algorithm>

#include "crypto/chunked_reader.hpp"
#include "vectors.hpp"

namespace kms::test {

using Bytes = std::vector<Byte>;

inline std::string sha512(ByteView bytes) {
    Bytes digest(64);
    EXPECT_EQ(EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha512(), nullptr),
              1);
    return to_hex(digest);
}

// Seals the whole of `plaintext` after the header that is in `message` already.
inline void seal_chunks(chunked::MessageSealer& sealer, ByteView plaintext, Bytes& message) {
    for (bool ended = false; !ended;) {
        const ByteView chunk = plaintext.first(std::min(plaintext.size(), chunked::chunk_length));
        plaintext = plaintext.subspan(chunk.size());
        ended = chunk.size() < chunked::chunk_length;
        Bytes sealed(chunk.size() + gcm_tag_length);
        ASSERT_TRUE(ended ? sealer.seal_final(chunk, sealed) : sealer.seal_chunk(chunk, sealed));
        message.insert(message.end(), sealed.begin(), sealed.end());
    }
}

inline Bytes seal_message(ByteView key, ByteView context, ByteView plaintext) {
    Bytes message(chunked::header_length);
    auto sealer = chunked::MessageSealer::start(key, context, message);
    EXPECT_TRUE(sealer);
    seal_chunks(*sealer, plaintext, message);
    return message;
}

inline Bytes seal_message(ByteView key, ByteView context, ByteView plaintext, ByteView salt) {
    Bytes message(chunked::header_length);
    auto sealer = chunked::MessageSealer::start_with_salt(key, salt, context, message);
    EXPECT_TRUE(sealer);
    seal_chunks(*sealer, plaintext, message);
    return message;
}

struct Reading {
    Status status;
    Bytes plaintext;  // what was handed out
};

// Appends what a step of a reader has put into `out`; the rest of it must not be touched.
inline bool collect(Reading& reading, const Result<std::size_t>& step, Bytes& out) {
    if (!step) {
        reading.status = step.error();
        EXPECT_TRUE(std::ranges::all_of(out, [](Byte b) { return b == 0 || b == 0xEE; }));
        return false;
    }
    EXPECT_LE(*step, chunked::chunk_length);
    reading.plaintext.insert(reading.plaintext.end(), out.begin(),
                             out.begin() + static_cast<std::ptrdiff_t>(*step));
    return true;
}

inline Bytes room() {
    return Bytes(chunked::chunk_length, 0xEE);
}

// Feeds one piece; whether the reader goes on.
inline bool feed(chunked::MessageReader& reader, Reading& reading, ByteView piece) {
    while (!piece.empty()) {
        Bytes out = room();
        if (!collect(reading, reader.read(piece, out), out)) {
            return false;
        }
    }
    return true;
}

// In pieces of `size` bytes, the last one shorter.
inline Reading read_message(ByteView key, ByteView context, ByteView message, std::size_t size) {
    Reading reading;
    auto reader = chunked::MessageReader::create(key, context);
    if (!reader) {
        reading.status = std::move(reader.error());
        return reading;
    }
    while (!message.empty()) {
        const ByteView piece = message.first(std::min(message.size(), size));
        message = message.subspan(piece.size());
        if (!feed(*reader, reading, piece)) {
            break;
        }
    }
    Bytes out = room();
    collect(reading, reader->finish(out), out);
    EXPECT_FALSE(reader->finish(out)) << "nothing works after the end or a failure";
    ByteView nothing;
    EXPECT_FALSE(reader->read(nothing, out));
    return reading;
}

inline Reading read_message(ByteView key, ByteView context, ByteView message) {
    return read_message(key, context, message, message.size());
}

// The same by way of MessageOpener: the chunks that the message's length tells, in order.
inline Reading open_message(ByteView key, ByteView context, ByteView message) {
    Reading reading;
    const ByteView header = message.first(std::min(message.size(), chunked::header_length));
    auto opener = chunked::MessageOpener::create(key, context, header);
    if (!opener) {
        reading.status = std::move(opener.error());
        return reading;
    }
    const auto length = chunked::plaintext_length(message.size());
    if (!length) {
        reading.status = Error{Code::corrupt, "no message has this length"};
        return reading;
    }
    for (std::uint64_t chunk = 0; const auto size = chunked::sealed_length_of(chunk, *length);
         ++chunk) {
        Bytes out(*size - gcm_tag_length, 0xEE);
        const ByteView sealed = message.subspan(*chunked::message_offset(chunk), *size);
        if (Status opened = opener->open(chunk, sealed, out); !opened) {
            EXPECT_TRUE(all_zero(out));
            reading.status = std::move(opened.error());
            return reading;
        }
        reading.plaintext.insert(reading.plaintext.end(), out.begin(), out.end());
    }
    return reading;
}

}  // namespace kms::test
