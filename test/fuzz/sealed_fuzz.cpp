// Sealed values from anybody: the first byte of the input picks a key, the rest is taken once as a
// sealed value and once as a plaintext.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "crypto/sealed.hpp"

#include "base/floor.hpp"

namespace {

using namespace kms;

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

std::vector<SealingKey> make_keys() {
    std::vector<SealingKey> keys;
    for (const AlgorithmInfo& info : sealing_algorithms()) {
        const std::vector<Byte> data_key(info.key_length, 7);
        for (const auto make : {SealingKey::from_data_key, SealingKey::wrapping_from_data_key}) {
            auto key = make(info.algorithm, data_key);
            require(bool(key));
            keys.push_back(std::move(*key));
        }
    }
    return keys;
}

// An input that opens is a forgery: no sealed value is in the corpus.
void open_foreign(SealingKey& key, ByteView input) {
    const auto header = parse_sealed(input);
    std::vector<Byte> out(header ? header->plaintext_length : 0, 1);
    const Status opened = key.open(input, {}, out);
    require(!opened);
    require(header || opened.error().code == Code::malformed);
    require(std::ranges::all_of(out, [](Byte byte) { return byte == 0; }));
}

// The same input behind a header of the key's own, so that it gets as far as decryption.
void open_forged(SealingKey& key, ByteView input) {
    std::vector<Byte> forged{static_cast<Byte>(*info_of(key.algorithm()).suite)};
    forged.insert(forged.end(), key.tag().begin(), key.tag().end());
    forged.insert(forged.end(), input.begin(), input.end());
    open_foreign(key, forged);
}

void round_trip(SealingKey& key, ByteView input) {
    const ByteView context = input.first(input.size() / 3);
    const ByteView plaintext = input.subspan(context.size());
    std::vector<Byte> sealed(key.sealed_size(plaintext.size()));
    std::vector<Byte> opened(plaintext.size());
    require(bool(key.seal(plaintext, context, sealed)));
    require(bool(key.open(sealed, context, opened)));
    require(std::ranges::equal(opened, plaintext));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static std::vector<SealingKey> keys = make_keys();
    if (size == 0) {
        return 0;
    }
    SealingKey& key = keys[data[0] % keys.size()];
    const ByteView input(data + 1, size - 1);
    open_foreign(key, input);
    open_forged(key, input);
    round_trip(key, input);
    return 0;
}
