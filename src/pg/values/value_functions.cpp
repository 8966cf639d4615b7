// encode, decode, decode_text, try_decode, recode, and the forms that name the key itself.
#include "crypto/sealed.hpp"
#include "pg/session/envelope.hpp"
#include "pg/session/listed_versions.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

enum class Naming { by_local_id, by_identifier };

constexpr const char* encode_with = "encode with key";
constexpr const char* decode_with = "decode with key";

// The arguments (local_id or key_identifier, data, context), where only data may be NULL; false
// where it is.
[[gnu::hot]] bool read_call(FunctionCallInfo fcinfo, Naming naming, Call& call) {
    if (naming == Naming::by_local_id) {
        call.local_id = required_int(fcinfo, 0, "local_id");
    } else {
        call.identifier = required_identifier(fcinfo, 0);
    }
    call.context = required_context(fcinfo, 2);
    if (PG_ARGISNULL(1)) {
        return false;
    }
    call.data = bytes_argument(fcinfo, 1);
    return true;
}

Datum datum_or_raise(const Failure& failure, const varlena* result) {
    if (failure) {
        raise(failure);
    }
    PG_RETURN_POINTER(result);
}

[[gnu::hot]] Datum encode(FunctionCallInfo fcinfo, const char* action, Naming naming) {
    Call call = {action, 0, {}, {}};
    if (!read_call(fcinfo, naming, call)) {
        PG_RETURN_NULL();
    }
    varlena* result = nullptr;
    const Failure failure = seal(call, &result);
    return datum_or_raise(failure, result);
}

enum class As { bytes, text };

[[gnu::hot]] Datum decode(FunctionCallInfo fcinfo, const char* action, Naming naming, As as) {
    Call call = {action, 0, {}, {}};
    if (!read_call(fcinfo, naming, call)) {
        PG_RETURN_NULL();
    }
    varlena* result = nullptr;
    if (const Failure failure = open(call, &result)) {
        raise(failure);
    }
    if (as == As::text) {
        require_text(call, result);
    }
    PG_RETURN_POINTER(result);
}

std::optional<wire::VersionState> state_of(const KeyUse& use, const KeyTag& tag) {
    if (use.is_stored(tag)) {
        const DataKeyVersion* version = use.stored->with_tag(tag);
        return version != nullptr ? std::optional(version->state) : std::nullopt;
    }
    const ListedVersion* version = listed_version(try_list_versions(use.identifier), tag);
    return version != nullptr ? std::optional(version->state) : std::nullopt;
}

// Whoever keeps the key says no more than that it is not to be used.
bool is_destroyed(const Call& call) {
    const auto header = read_sealed_header(call.data);
    return header && state_of(use_of_data_key(use_of_call(call)), header->tag) ==
                         wire::VersionState::destroyed;
}

// What nobody opens with this key: the value is none, or another, or its key is destroyed.
bool is_beyond_opening(const Call& call, const Failure& failure) {
    return is_about_a_value(failure.cause.code) ||
           (failure.cause.code == Code::disabled && is_destroyed(call));
}

Datum try_decode(FunctionCallInfo fcinfo, const char* action, Naming naming, As as) {
    Call call = {action, 0, {}, {}};
    if (!read_call(fcinfo, naming, call)) {
        PG_RETURN_NULL();
    }
    varlena* result = nullptr;
    const Failure failure = open(call, &result);
    if (failure && !failure.pending && is_beyond_opening(call, failure)) {
        PG_RETURN_NULL();
    }
    if (!failure && as == As::text) {
        require_text(call, result);
    }
    return datum_or_raise(failure, result);
}

}  // namespace

KMS_FUNCTION(kms_encode) {
    return encode(fcinfo, "encode", Naming::by_local_id);
}

KMS_FUNCTION(kms_encode_with) {
    return encode(fcinfo, encode_with, Naming::by_identifier);
}

KMS_FUNCTION(kms_decode) {
    return decode(fcinfo, "decode", Naming::by_local_id, As::bytes);
}

KMS_FUNCTION(kms_decode_with) {
    return decode(fcinfo, decode_with, Naming::by_identifier, As::bytes);
}

KMS_FUNCTION(kms_decode_text) {
    return decode(fcinfo, "decode", Naming::by_local_id, As::text);
}

KMS_FUNCTION(kms_decode_with_text) {
    return decode(fcinfo, decode_with, Naming::by_identifier, As::text);
}

KMS_FUNCTION(kms_try_decode) {
    return try_decode(fcinfo, "decode", Naming::by_local_id, As::bytes);
}

KMS_FUNCTION(kms_try_decode_text) {
    return try_decode(fcinfo, "decode", Naming::by_local_id, As::text);
}

KMS_FUNCTION(kms_try_decode_with) {
    return try_decode(fcinfo, decode_with, Naming::by_identifier, As::bytes);
}

KMS_FUNCTION(kms_try_decode_with_text) {
    return try_decode(fcinfo, decode_with, Naming::by_identifier, As::text);
}

// The plaintext is gone before anybody sees it.
KMS_FUNCTION(kms_is_sealed) {
    const std::int32_t local_id = required_int(fcinfo, 1, "local_id");
    const ByteView context = required_context(fcinfo, 2);
    if (PG_ARGISNULL(0)) {
        PG_RETURN_NULL();
    }
    varlena* plaintext = nullptr;
    const Failure failure =
        open({"open a value", local_id, bytes_argument(fcinfo, 0), context}, &plaintext);
    if (failure && !is_about_a_value(failure.cause.code)) {
        raise(failure);
    }
    if (plaintext != nullptr) {
        wipe(bytes_in(plaintext));
    }
    PG_RETURN_BOOL(!failure);
}

KMS_FUNCTION(kms_recode) {
    const std::int32_t from_id = required_int(fcinfo, 0, "from_id");
    const std::int32_t to_id = required_int(fcinfo, 1, "to_id");
    const ByteView context = required_context(fcinfo, 3);
    if (PG_ARGISNULL(2)) {
        PG_RETURN_NULL();
    }
    const Call call = {"recode", from_id, bytes_argument(fcinfo, 2), context};
    const Call to = {"recode", to_id, {}, context};
    varlena* result = nullptr;
    std::size_t done = 0;
    const Failure failure = reseal({&call, 1}, {&to, 1}, &result, done);
    return datum_or_raise(failure, result);
}

KMS_FUNCTION(kms_recode_with) {
    Call call = {"recode with key", 0, {}, {}};
    if (!read_call(fcinfo, Naming::by_identifier, call)) {
        PG_RETURN_NULL();
    }
    varlena* result = nullptr;
    std::size_t done = 0;
    const Failure failure = reseal({&call, 1}, {&call, 1}, &result, done);
    return datum_or_raise(failure, result);
}

}  // namespace kms::pg
