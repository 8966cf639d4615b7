// encode, decode, decode_text, try_decode, recode.
#include "pg/values.hpp"

namespace kms::pg {
namespace {

// The arguments (local_id, data, context), where only data may be NULL; false where it is.
[[gnu::hot]] bool read_call(FunctionCallInfo fcinfo, Call& call) {
    call.local_id = required_int(fcinfo, 0, "local_id");
    call.context = required_bytes(fcinfo, 2, "context");
    if (PG_ARGISNULL(1)) {
        return false;
    }
    call.data = bytes_argument(fcinfo, 1);
    return true;
}

[[gnu::hot]] varlena* open_or_raise(const Call& call) {
    varlena* result = nullptr;
    if (const Failure failure = open(call, &result)) {
        raise(failure);
    }
    return result;
}

// What says that the ciphertext is not one of this key and context, and not that something is wrong
// with the key or its agent.
bool is_about_the_ciphertext(const Failure& failure) {
    return failure.cause.code == Code::malformed || failure.cause.code == Code::wrong_key ||
           failure.cause.code == Code::corrupt;
}

}  // namespace

KMS_FUNCTION(kms_encode) {
    Call call = {"encode", 0, {}, {}};
    if (!read_call(fcinfo, call)) {
        PG_RETURN_NULL();
    }
    varlena* result = nullptr;
    if (const Failure failure = seal(call, &result)) {
        raise(failure);
    }
    PG_RETURN_POINTER(result);
}

KMS_FUNCTION(kms_decode) {
    Call call = {"decode", 0, {}, {}};
    if (!read_call(fcinfo, call)) {
        PG_RETURN_NULL();
    }
    PG_RETURN_POINTER(open_or_raise(call));
}

KMS_FUNCTION(kms_decode_text) {
    Call call = {"decode", 0, {}, {}};
    if (!read_call(fcinfo, call)) {
        PG_RETURN_NULL();
    }
    varlena* result = open_or_raise(call);
    require_text(call, result);
    PG_RETURN_POINTER(result);
}

KMS_FUNCTION(kms_try_decode) {
    Call call = {"decode", 0, {}, {}};
    if (!read_call(fcinfo, call)) {
        PG_RETURN_NULL();
    }
    varlena* result = nullptr;
    const Failure failure = open(call, &result);
    if (failure && is_about_the_ciphertext(failure)) {
        PG_RETURN_NULL();
    }
    if (failure) {
        raise(failure);
    }
    PG_RETURN_POINTER(result);
}

KMS_FUNCTION(kms_recode) {
    const std::int32_t from_id = required_int(fcinfo, 0, "from_id");
    const std::int32_t to_id = required_int(fcinfo, 1, "to_id");
    const ByteView context = required_bytes(fcinfo, 3, "context");
    if (PG_ARGISNULL(2)) {
        PG_RETURN_NULL();
    }
    const Call call = {"recode", from_id, bytes_argument(fcinfo, 2), context};
    varlena* result = nullptr;
    if (const Failure failure = reseal(call, to_id, &result)) {
        raise(failure);
    }
    PG_RETURN_POINTER(result);
}

}  // namespace kms::pg
