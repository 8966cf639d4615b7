// wrap and unwrap: secrets of the user's own, by a KEK that stays with the agent.
#include "crypto/wrap_context.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/session/key_use.hpp"
#include "pg/session/session.hpp"

namespace kms::pg {
namespace {

using Transform = Result<WrappedSecret> (*)(Line line, ByteView kek, ByteView context,
                                            ByteView data);

Result<WrappedSecret> unwrap(Line line, ByteView kek, ByteView context, ByteView wrapped) {
    return unwrap_key(line, kek, context, wrapped, wrapped.size());
}

Status transform(const KeyUse& use, Transform with, ByteView context, ByteView data,
                 varlena*& result) {
    KMS_ASSIGN(Line line, session_if_any->line(use));
    const std::string bound = secret_context(context);
    KMS_ASSIGN(const WrappedSecret made, with(line, use.identifier, bytes_of(bound), data));
    KMS_ASSIGN(result, try_allocate_value(made.bytes.size()));
    copy_bytes(made.bytes.view(), bytes_in(result));
    return {};
}

// (kek, data, context), where only the data may be NULL.
Datum call(FunctionCallInfo fcinfo, const char* action, Transform with) {
    const KeyUse use = use_of_identifier(action, required_identifier(fcinfo, 0, "kek"));
    const ByteView context = required_context(fcinfo, 2);
    if (PG_ARGISNULL(1)) {
        PG_RETURN_NULL();
    }
    const ByteView data = bytes_argument(fcinfo, 1);
    Session& session = pg::session();
    varlena* result = nullptr;
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        return transform(use, with, context, data, result);
    });
    finish(session, failure);
    PG_RETURN_POINTER(result);
}

}  // namespace

KMS_FUNCTION(kms_wrap) {
    return call(fcinfo, "wrap with key", wrap_key);
}

KMS_FUNCTION(kms_unwrap) {
    return call(fcinfo, "unwrap with key", unwrap);
}

}  // namespace kms::pg
