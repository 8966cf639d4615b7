// Requests from anybody to kms-agent's verbs: the input is read as frames, and each is answered by
// exactly one reply that parses, whatever its words and body.
#include "agent/service/requests.hpp"

#include <algorithm>
#include <cstdlib>

#include "agent/keyring/keyring_store.hpp"

#include "base/floor.hpp"

namespace {

using namespace kms;

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

void feed(wire::FrameReader& reader, ByteView input) {
    while (!input.empty()) {
        const ByteSpan space = reader.space();
        const std::size_t count = std::min(space.size(), input.size());
        copy_bytes(input.first(count), space);
        reader.commit(count);
        input = input.subspan(count);
    }
}

void require_one_reply(ByteView replies, std::uint64_t id) {
    wire::FrameReader reader;
    feed(reader, replies);
    const auto head = reader.head();
    require(head && *head != nullptr && (*head)->id == id && reader.body_complete());
    require((*head)->verb == "ok" || (*head)->verb == "error");
    reader.pop();
    require(!reader.in_frame());
}

// A key of every algorithm, named by its number.
void add_keys(agent::KeyringStore& store) {
    for (const AlgorithmInfo& info : all_algorithms()) {
        const char name = static_cast<char>('0' + static_cast<int>(info.algorithm));
        std::string key(info.key_length, name);
        for (std::size_t i = 0; i < key.size(); ++i) {
            key[i] = static_cast<char>(key[i] + i * i);
        }
        const bool wraps = info.algorithm == Algorithm::aes_192_gcm;
        require(bool(store.create(bytes_of({&name, 1}),
                                  {.algorithm = info.algorithm,
                                   .purpose = wraps ? wire::Purpose::wrap : wire::Purpose::seal,
                                   .key = bytes_of(key)})));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    agent::KeyringStore store;
    SecretBytes replies;
    const agent::OfferedVerbs offered;
    agent::Requests requests(store, offered, replies);
    wire::FrameReader reader;
    add_keys(store);
    feed(reader, bytes_of("hello 0 0 kms/1\n"));
    feed(reader, {data, size});
    for (;;) {
        const auto head = reader.head();
        if (!head || *head == nullptr || !reader.body_complete()) {
            return 0;
        }
        const auto* verb = agent::Requests::find((*head)->verb);
        require(bool(verb != nullptr ? requests.answer(*verb, **head, reader.body())
                                     : requests.refuse_verb((*head)->id)));
        require_one_reply(replies.view(), (*head)->id);
        replies.clear();
        reader.pop();
    }
}
