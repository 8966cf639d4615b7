// Blobs from anybody: the input as a segment's message and as a manifest, sealed and not, and as a
// plaintext whose message is then cut, changed and read in pieces.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "crypto/blob_manifest.hpp"
#include "crypto/chunked_reader.hpp"

#include "base/floor.hpp"

namespace {

using namespace kms;
using Bytes = std::vector<Byte>;

const Bytes key(32, 7);
constexpr BlobId id{1, 2, 3};

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

struct Reading {
    bool whole;
    Bytes plaintext;
};

Reading read_message(ByteView message, std::size_t piece_size) {
    auto reader = chunked::MessageReader::create(key, {});
    require(bool(reader));
    Bytes out(chunked::chunk_length);
    Bytes plaintext;
    bool good = true;
    while (good && !message.empty()) {
        ByteView piece = message.first(std::min(message.size(), piece_size));
        message = message.subspan(piece.size());
        while (good && !piece.empty()) {
            const auto length = reader->read(piece, out);
            good = bool(length);
            plaintext.insert(plaintext.end(), out.begin(), out.begin() + (good ? *length : 0));
        }
    }
    const auto length = reader->finish(out);
    require(good || !length);
    plaintext.insert(plaintext.end(), out.begin(), out.begin() + (length ? *length : 0));
    return {bool(length), plaintext};
}

Bytes seal_message(ByteView plaintext) {
    Bytes message(*chunked::message_length(plaintext.size()));
    ByteSpan rest(message);
    auto sealer = chunked::MessageSealer::start(key, {}, rest.first(chunked::header_length));
    require(bool(sealer));
    rest = rest.subspan(chunked::header_length);
    for (; plaintext.size() >= chunked::chunk_length;
         plaintext = plaintext.subspan(chunked::chunk_length)) {
        require(bool(sealer->seal_chunk(plaintext.first(chunked::chunk_length),
                                        rest.first(chunked::sealed_chunk_length))));
        rest = rest.subspan(chunked::sealed_chunk_length);
    }
    require(bool(sealer->seal_final(plaintext, rest)));
    return message;
}

// The input as the chunks behind a header of the key's own. What it holds is a forgery.
void read_forged(ByteView input, std::size_t piece) {
    Bytes message = seal_message({});
    message.resize(chunked::header_length);
    message.insert(message.end(), input.begin(), input.end());
    for (const ByteView forged : {ByteView(message), input}) {
        const Reading reading = read_message(forged, piece);
        require(!reading.whole && reading.plaintext.empty());
    }
}

void read_own(ByteView input, std::size_t piece, std::size_t place) {
    const Bytes repeated = [&] {
        Bytes bytes;
        for (int turn = 0; turn < 9; ++turn) {
            bytes.insert(bytes.end(), input.begin(), input.end());
        }
        return bytes;
    }();
    Bytes message = seal_message(repeated);
    const Reading reading = read_message(message, piece);
    require(reading.whole && reading.plaintext == repeated);
    place %= message.size();
    require(!read_message(ByteView(message).first(place), piece).whole);
    message[place] ^= static_cast<Byte>(1 << piece % 8);
    const Reading changed = read_message(message, piece);
    require(!changed.whole && changed.plaintext.size() <= place &&
            std::equal(changed.plaintext.begin(), changed.plaintext.end(), repeated.begin()));
}

void take_as_manifest(ByteView input) {
    static auto keys = BlobKeys::derive(key);
    require(bool(keys));
    require(!open_manifest(keys->manifest, id, 1, input));
    const auto parsed = parse_manifest(input);
    if (!parsed) {
        return;
    }
    const auto again = write_manifest(*parsed);
    require(again && std::ranges::equal(again->view(), input));
    const auto sealed = seal_manifest(keys->manifest, id, 1, *parsed);
    require(bool(sealed));
    require(bool(open_manifest(keys->manifest, id, 1, sealed->view())));
    require(!open_manifest(keys->manifest, id, 2, sealed->view()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteView input(data, size);
    take_as_manifest(input);
    if (size < 4) {
        return 0;
    }
    const std::size_t piece = load_be(input.first(2)) + 1;
    read_forged(input.subspan(4), piece);
    read_own(input.subspan(4), piece, load_be(input.first(4)));
    return 0;
}
