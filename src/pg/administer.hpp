// Changes of keys at the agent. What the agent does is not undone by ROLLBACK.
#pragma once

#include "pg/session.hpp"

namespace kms::pg {

// Whether nobody knows what became of a request.
constexpr bool is_no_answer(Code code) {
    return code == Code::interrupted || code == Code::protocol || code == Code::timed_out;
}

// Speaks to the agent about a key, and forgets what the session holds of it. A change that nobody
// waits for any more, after a cancel say, must not be made later, when the locks that it was asked
// for under are gone: the agent is ended before.
template <typename Body>
void administer(const KeyUse& use, Body&& body) {
    Session& session = pg::session();
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        session.cache.drop(use.identifier);
        ++session.changes;
        Status done = body(line);
        if (!done && is_no_answer(done.error().code)) {
            session.agent.stop_now(session.waiter);
        }
        return done;
    });
    finish(session, failure);
}

}  // namespace kms::pg
