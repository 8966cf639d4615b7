// A request, its reply, and who asks.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "wire/frame.hpp"

namespace kms {

// The words behind a request's LENGTH, raw bytes, in place: a request is made once a value.
class Words {
  public:
    static constexpr std::size_t most = 6;  // import: those of a line of `list`

    Words() = default;
    Words(std::initializer_list<ByteView> words) {
        for (const ByteView word : words) {
            push_back(word);
        }
    }

    void push_back(ByteView word) { words_.at(count_++) = word; }
    operator std::span<const ByteView>() const { return std::span(words_).first(count_); }

  private:
    std::array<ByteView, most> words_{};
    std::size_t count_ = 0;
};

struct Request {
    std::string_view verb;
    Words words{};
    std::array<ByteView, 2> body{};  // sent one after the other
    std::uint64_t reply_limit = 0;   // bytes that an ok reply's body may have

    std::uint64_t body_length() const { return body[0].size() + body[1].size(); }
};

// Views that are valid during Errand::take only.
struct Reply {
    const wire::Head& head;
    ByteView body;
};

// The requests of an exchange, all with the same verb, and who takes the replies.
class Errand {
  public:
    virtual ~Errand() = default;

    virtual std::size_t count() const = 0;

    // The same whenever it is asked for. Verb and words are copied before the next is asked for, a
    // body has to stay until its reply was taken.
    virtual Request request(std::size_t index) = 0;

    // Where the body of a long `ok` reply, `length` bytes, is to be put as it comes; empty:
    // nowhere, take() gets it from where the reader holds it. An Error ends the exchange.
    virtual Result<ByteSpan> place(std::size_t index, std::size_t length) {
        (void)index;
        (void)length;
        return ByteSpan();
    }

    // An `ok` reply, or an `error` turned into its Error (code and text of the agent), or why the
    // request was not sent. An Error that is returned ends the exchange: requests not yet answered
    // are abandoned. Code::protocol says that the reply was not one of kms/1, and costs the
    // connection.
    virtual Status take(std::size_t index, const Result<Reply>& reply) = 0;
};

}  // namespace kms
