// Changes of keys at the agent. What the agent does is not undone by ROLLBACK.
#pragma once

#include "pg/session.hpp"

namespace kms::pg {

// Speaks to the agent about a key, and forgets what the session holds of it.
template <typename Body>
void administer(const KeyUse& use, Body&& body) {
    Session& session = pg::session();
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        session.cache.drop(use.identifier);
        ++session.changes;
        return body(line);
    });
    finish(session, failure);
}

}  // namespace kms::pg
