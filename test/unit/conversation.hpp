// Whole conversations with serve(): requests in, replies out, through files in memory.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <string>
#include <vector>

#include "agent/keyring/keyring_store.hpp"
#include "agent/keyring/private_file.hpp"
#include "agent/service/serve.hpp"
#include "base/unique_fd.hpp"
#include "wire/frame.hpp"

namespace kms::agent {

struct Conversation {
    Status status;
    std::string output;
};

inline Conversation converse(KeyStore& store, std::string_view input,
                             const OfferedVerbs& offered = {}) {
    const UniqueFd in(memfd_create("in", MFD_CLOEXEC));
    const UniqueFd out(memfd_create("out", MFD_CLOEXEC));
    EXPECT_EQ(write(in.get(), input.data(), input.size()), static_cast<ssize_t>(input.size()));
    lseek(in.get(), 0, SEEK_SET);
    Status status = serve(in.get(), out.get(), store, offered);
    lseek(out.get(), 0, SEEK_SET);
    const auto output = read_all(out.get(), 1 << 30, "output");
    return {std::move(status), std::string(text_of(output->view()))};
}

constexpr std::string_view imported_key = "0123456789abcdefghijklmnopqrstuv";

constexpr std::string_view hello = "hello 0 0 kms/1\n";

// The replies to `requests`, without the handshake's; the session must end well.
inline std::string replies(KeyStore& store, std::string_view requests) {
    const std::string greeting = converse(store, hello).output;
    const Conversation talk = converse(store, std::string(hello) + std::string(requests));
    EXPECT_TRUE(talk.status);
    EXPECT_TRUE(talk.output.starts_with(greeting));
    return talk.output.substr(greeting.size());
}

struct Answer {
    std::string verb;  // or the code of an error
    std::uint64_t id;
    std::vector<std::string> words;
    std::string body;
};

inline std::vector<Answer> parse(std::string_view text) {
    wire::FrameReader reader;
    std::vector<Answer> answers;
    while (true) {
        const auto head = reader.head();
        EXPECT_TRUE(head);
        if (*head != nullptr && reader.body_complete()) {
            Answer answer{
                std::string((*head)->verb), (*head)->id, {}, std::string(text_of(reader.body()))};
            for (const auto word : (*head)->words) {
                answer.words.emplace_back(word);
            }
            if (answer.verb == "error") {
                answer.verb = answer.words.at(0);
            }
            answers.push_back(std::move(answer));
            reader.pop();
        } else if (text.empty()) {
            return answers;
        } else {
            const ByteSpan space = reader.space();
            const std::size_t count = std::min(space.size(), text.size());
            std::copy_n(text.begin(), count, space.begin());
            reader.commit(count);
            text.remove_prefix(count);
        }
    }
}

inline std::string request(std::string_view verb, std::uint64_t id, std::string_view words,
                           std::string_view body = "") {
    return std::string(verb) + ' ' + std::to_string(id) + ' ' + std::to_string(body.size()) +
           (words.empty() ? "" : " ") + std::string(words) + '\n' + std::string(body);
}

inline Answer ask(KeyStore& store, std::string_view verb, std::string_view words,
                  std::string_view body = "") {
    const auto answers = parse(replies(store, request(verb, 1, words, body)));
    EXPECT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers.at(0).id, 1u);
    return answers.at(0);
}

}  // namespace kms::agent
