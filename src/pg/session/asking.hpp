// A talk with the agent about one key: both sides. `body` is the C++ side, given the session and
// the line, and answers with a Status.
#pragma once

#include "pg/session/session.hpp"

namespace kms::pg {

template <typename Body>
Failure try_ask(const KeyUse& use, Body&& body) {
    Session& session = pg::session();
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        return body(session, line);
    });
    settle(session, failure);
    return failure;
}

// The same, and raises the failure if there is one.
template <typename Body>
void ask(const KeyUse& use, Body&& body) {
    if (const Failure failure = try_ask(use, body)) {
        raise(failure);
    }
}

// Asks for a DEK with what the table has of it, until that was not outdated. Both sides.
template <typename Ask>
Failure ask_for_data_key(Session& session, KeyUse& use, const Subject& subject, Ask ask) {
    for (;;) {
        use = use_of_data_key(use);
        const Failure failure = in_session(session, subject, ask);
        settle(session, failure);
        if (!is_outdated(use, failure)) {
            return failure;
        }
    }
}

}  // namespace kms::pg
