// Changes of keys at the agent. What the agent does is not undone by ROLLBACK.
#pragma once

#include "pg/session/asking.hpp"

namespace kms::pg {

// Whether nobody knows what became of a request.
constexpr bool is_no_answer(Code code) {
    return code == Code::interrupted || code == Code::protocol || code == Code::timed_out;
}

// Speaks to the agent about a key, and forgets what the session holds of it. A change that nobody
// waits for any more, after a cancel say, must not be made later, when the locks that it was asked
// for under are gone: the agent is ended before.
template <typename Body>
Failure try_administer(const KeyUse& use, Body&& body) {
    return try_ask(use, [&](Session& session, Line line) -> Status {
        session.cache.drop(use.identifier);
        ++session.changes;
        Status done = body(line);
        if (!done && is_no_answer(done.error().code)) {
            session.agent.stop_now(session.waiter);
        }
        return done;
    });
}

template <typename Body>
void administer(const KeyUse& use, Body&& body) {
    if (const Failure failure = try_administer(use, body)) {
        raise(failure);
    }
}

}  // namespace kms::pg
