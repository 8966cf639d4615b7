// How things fail below the PostgreSQL floor: a Result that cannot be ignored.
//
// Exceptions are left to std::bad_alloc. An Error's text is for people, becomes a DETAIL or a line
// on a terminal, and never holds a key or a plaintext.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <variant>

namespace kms {

// The first group are the codes of the agent protocol, under the same names (doc/protocol.md).
enum class Code {
    unsupported,  // not offered by this agent, mode or key
    invalid,    // an argument that cannot be taken: an identifier, an algorithm, a malformed value
    not_found,  // no such key
    denied,     // the agent will not do this for this identity or key
    disabled,   // the key version is disabled or destroyed
    wrong_key,  // sealed under another key or version
    corrupt,    // authentication failed: tampered with, or another context
    unavailable,  // no agent, or one that cannot work now; may be retried
    failed,       // the operation failed for a reason of the agent's own

    malformed,    // not a sealed value
    damaged_key,  // what is stored of a data key is not what was wrapped
    not_text,     // a plaintext that is not text in the database's encoding
    too_large,    // beyond a documented limit
    timed_out,    // a deadline passed
    interrupted,  // the caller's Waiter gave up; it holds the reason
    protocol,     // the peer broke kms/1
    io,           // a system call failed
    internal,     // this program's own cryptography failed, or something that cannot be
};

struct Error {
    Code code;
    std::string text;
    // The text has words of the key agent's, or of what started it: paths, commands, whatever it
    // wrote. They are for whoever may see kms.command.
    bool of_agent = false;
    // What was tried and failed is not tried again before this has passed.
    std::chrono::milliseconds left_alone{0};
};

// The Error is kept aside, so that what succeeds, as it does once a row, is small and cheap to
// pass.
template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value) : state_(std::move(value)) {}
    Result(Error error) : state_(std::make_unique<Error>(std::move(error))) {}

    explicit operator bool() const { return state_.index() == 0; }
    T& operator*() { return *std::get_if<0>(&state_); }
    const T& operator*() const { return *std::get_if<0>(&state_); }
    T* operator->() { return std::get_if<0>(&state_); }
    const T* operator->() const { return std::get_if<0>(&state_); }

    Error& error() { return **std::get_if<1>(&state_); }
    const Error& error() const { return **std::get_if<1>(&state_); }

  private:
    std::variant<T, std::unique_ptr<Error>> state_;
};

template <>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::make_unique<Error>(std::move(error))) {}

    explicit operator bool() const { return error_ == nullptr; }
    Error& error() { return *error_; }
    const Error& error() const { return *error_; }

  private:
    std::unique_ptr<Error> error_;
};

using Status = Result<void>;

}  // namespace kms

// Runs a Status or Result expression and hands its error up.
#define KMS_TRY(expression)                                  \
    do {                                                     \
        if (auto&& kms_status = (expression); !kms_status) { \
            return std::move(kms_status.error());            \
        }                                                    \
    } while (false)

// Declares `target` from a Result's value, or hands its error up.
#define KMS_ASSIGN(target, expression) \
    KMS_ASSIGN_(target, expression, KMS_JOIN_(kms_result_, __LINE__))
#define KMS_ASSIGN_(target, expression, result) \
    auto result = (expression);                 \
    if (!result) {                              \
        return std::move(result.error());       \
    }                                           \
    target = std::move(*result)
#define KMS_JOIN_(left, right) KMS_JOIN_IMPL_(left, right)
#define KMS_JOIN_IMPL_(left, right) left##right
