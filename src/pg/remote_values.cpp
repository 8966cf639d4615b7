// Remote mode: the key agent seals and opens, and no DEK enters PostgreSQL.
#include "pg/values.hpp"

namespace kms::pg {
namespace {

// The agent's reply, from where act two left it into a value of PostgreSQL's.
void take_reply(Session& session, const Subject& subject, varlena** result) {
    *result = copy_value(session.reply.view(), subject);
    session.reply.release();
}

using Operation = Result<SecretBytes> (*)(Line, ByteView key, ByteView context, ByteView body);

Failure run(Operation operation, const Call& call, varlena** result) {
    Session& session = pg::session();
    const KeyUse use = use_of_local_id(call.action, call.local_id);
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        KMS_ASSIGN(session.reply, operation(line, use.identifier, call.context, call.data));
        return {};
    });
    settle(session, failure);
    if (!failure) {
        take_reply(session, use.subject(), result);
    }
    return failure;
}

}  // namespace

Failure seal_remotely(const Call& call, varlena** result) {
    return run(encrypt, call, result);
}

Failure open_remotely(const Call& call, varlena** result) {
    return run(decrypt, call, result);
}

Failure reseal_remotely(const Call& call, std::int32_t to_id, varlena** result) {
    Session& session = pg::session();
    const KeyUse from = use_of_local_id(call.action, call.local_id);
    const KeyUse to = use_of_local_id(call.action, to_id);
    const Failure not_opened = in_session(session, from.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(from));
        KMS_ASSIGN(session.reply, decrypt(line, from.identifier, call.context, call.data));
        return {};
    });
    settle(session, not_opened);
    if (not_opened) {
        return not_opened;
    }
    const Failure not_sealed = in_session(session, to.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(to));
        const SecretBytes plaintext = std::move(session.reply);
        KMS_ASSIGN(session.reply, encrypt(line, to.identifier, call.context, plaintext.view()));
        return {};
    });
    settle(session, not_sealed);
    if (!not_sealed) {
        take_reply(session, to.subject(), result);
    }
    return not_sealed;
}

}  // namespace kms::pg
