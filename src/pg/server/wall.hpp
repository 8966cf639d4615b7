// The wall between the two error worlds: unwind first, report last.
//
// ereport() jumps over C++ destructors, and a C++ exception that reaches C ends the server. So
// every SQL function begins and ends on the PostgreSQL side (arguments and allocation; the result,
// or raise()), and what it does in between is on the C++ side, inside guarded(). This is the only
// place with a `catch`. Each header of src/pg/ says on which side it is called.
#pragma once

#include <cstdint>
#include <new>
#include <type_traits>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace kms::pg {

// What an SQL function was about when it failed; for the message.
struct Subject {
    // "encode": "could not encode with local id 1 (key "...")"; without a local id "create key":
    // "could not create key "..."".
    const char* action;
    std::int32_t local_id = 0;  // 0: none
    ByteView identifier{};      // empty: none
};

// How the C++ side ends. Plain data, so that raise() may jump away from it; its cause is written
// and copied when there is a failure only, since success is what happens once a row.
struct Failure {
    struct Cause {
        Code code;         // of the Error that made it
        bool is_of_agent;  // the detail has the key agent's words
        int sqlstate;
        char message[640];
        char detail[384];
        char hint[256];
    };

    Failure() {}
    Failure(const Failure& other) : failed(other.failed), pending(other.pending) {
        if (failed && !pending) {
            cause = other.cause;
        }
    }
    Failure& operator=(const Failure&) = delete;

    bool failed = false;
    bool pending = false;  // PostgreSQL's own error waits on its stack; there is no cause here
    Cause cause;

    explicit operator bool() const { return failed; }
};
static_assert(std::is_trivially_destructible_v<Failure>);

// The C++ side waited, and PostgreSQL raised an error meanwhile (a cancel, say), which stays on its
// stack: no PostgreSQL call until raise() throws it again, and it always is, whatever the C++ side
// returns.
void note_pending_error() noexcept;
bool has_pending_error() noexcept;

// What a Code is called in messages.
const char* reason_of(Code code);

// Whether the current role may, and so may those whom an error or a result would reach: the
// session's role outside of any function counts too, since a SECURITY DEFINER function is for
// others.
bool may_see_command();

// One ereport(ERROR), or the pending error again. The agent's words are for whoever may see
// kms.command: others get the kind of failure, and the server's log has the rest.
[[noreturn]] void raise(const Failure& failure);

// What the PostgreSQL side itself finds wrong with a call, in the words of the C++ side. `detail`
// may be empty.
[[noreturn]] void raise_error(const Subject& subject, Code code, const char* detail);

void run_guarded(Failure& failure, const Subject& subject, Status (*body)(void*),
                 void* state) noexcept;

// C++ side: runs `body`, a callable that returns a Status, and lets nothing escape.
template <typename Body>
Failure guarded(const Subject& subject, Body&& body) noexcept {
    Failure failure;
    run_guarded(
        failure, subject, [](void* state) __attribute__((hot))->Status {
            return (*static_cast<std::remove_reference_t<Body>*>(state))();
        },
        &body);
    return failure;
}

}  // namespace kms::pg
