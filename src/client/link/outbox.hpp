// Requests on their way into a pipe: small ones gathered into one buffer and written together,
// large bodies written from where they lie.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "base/secret.hpp"
#include "client/link/request.hpp"

namespace kms {

class Outbox {
  public:
    enum class Flow { done, full, closed };  // all written; the pipe is full; nobody reads it

    // Whether another request is taken now: what is gathered has a bound.
    bool has_room() const { return buffer_.size() < most_gathered && !holds_large(); }

    // Code::invalid for words that do not fit a line; the request is then left out.
    Status add(const Request& request, std::uint64_t id);

    bool empty() const { return written_ == total(); }

    // Writes until all is written or `fd` takes no more.
    Flow write(int fd);

    // Lets go of what was not written, and says how many requests those were: nullopt where the
    // first of them was written in part.
    std::optional<std::size_t> withdraw();

    // Lets go of requests of which nothing was written, and says how many those were. One that was
    // written in part stays.
    std::size_t withdraw_unbegun();

    std::uint64_t bytes_written() const { return bytes_written_; }

  private:
    static constexpr std::size_t most_gathered = 256 * 1024;
    static constexpr std::size_t large_body = 64 * 1024;

    bool holds_large() const { return large_[0].size() + large_[1].size() != 0; }
    std::size_t total() const { return buffer_.size() + large_[0].size() + large_[1].size(); }
    void clear();

    SecretBytes buffer_;
    std::array<ByteView, 2> large_{};  // the last request's body, behind the buffer
    std::vector<std::size_t> ends_;    // of each request, counted from the buffer's start
    std::size_t written_ = 0;          // counted likewise
    std::uint64_t bytes_written_ = 0;
};

}  // namespace kms
