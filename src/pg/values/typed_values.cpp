// encode of any type, and decode_as: a value is sealed as its text, the same in every session.
#include "pg/tables/type_parts.hpp"
#include "pg/values/plain_input.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

// --- what has a text that lasts

// Money is written as the server's locale has it, a cursor is a name, and a row has anything in it.
bool has_lasting_text(Oid type) {
    return !names_something(type) && !is_made_of(type, MONEYOID) &&
           !is_made_of(type, REFCURSOROID) && !holds_row(type) &&
           get_typtype(getBaseType(type)) != TYPTYPE_PSEUDO;
}

void require_lasting_text(Oid type) {
    if (!has_lasting_text(type)) {
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("values of type %s have no text that is the same everywhere",
                               format_type_be(type)),
                        errhint("Cast the value to text or bytea, which is sealed as it is.")));
    }
}

// Prepared once for all calls of a query, in its memory.
template <typename Prepared, typename Prepare>
Prepared& prepared_in(FunctionCallInfo fcinfo, Prepare&& prepare) {
    FmgrInfo& function = *fcinfo->flinfo;
    if (function.fn_extra == nullptr) {
        MemoryContext caller = MemoryContextSwitchTo(function.fn_mcxt);
        function.fn_extra = new (palloc(sizeof(Prepared))) Prepared(prepare());
        MemoryContextSwitchTo(caller);
    }
    return *static_cast<Prepared*>(function.fn_extra);
}

Oid type_of_argument(FunctionCallInfo fcinfo, int index) {
    const Oid type = get_fn_expr_argtype(fcinfo->flinfo, index);
    if (!OidIsValid(type)) {
        ereport(ERROR, (errcode(ERRCODE_INDETERMINATE_DATATYPE),
                        errmsg("could not determine the type of the argument")));
    }
    require_lasting_text(type);
    return type;
}

}  // namespace

KMS_FUNCTION(kms_encode_value) {
    Call call = {"encode", required_int(fcinfo, 0, "local_id"), {}, required_context(fcinfo, 2)};
    const ValueBytes& values = prepared_in<ValueBytes>(
        fcinfo, [&] { return prepare_values(type_of_argument(fcinfo, 1), -1); });
    if (PG_ARGISNULL(1)) {
        PG_RETURN_NULL();
    }
    call.data = lasting_bytes_of_value(values, PG_GETARG_DATUM(1));
    varlena* result = nullptr;
    if (const Failure failure = seal(call, &result)) {
        raise(failure);
    }
    PG_RETURN_POINTER(result);
}

KMS_FUNCTION(kms_decode_as) {
    Call call = {"decode", required_int(fcinfo, 0, "local_id"), {}, required_context(fcinfo, 3)};
    PlainInput& input =
        prepared_in<PlainInput>(fcinfo, [&] { return prepare_input(type_of_argument(fcinfo, 2)); });
    if (PG_ARGISNULL(1)) {
        PG_RETURN_NULL();
    }
    call.data = bytes_argument(fcinfo, 1);
    varlena* plaintext = nullptr;
    if (const Failure failure = open(call, &plaintext)) {
        raise(failure);
    }
    return value_as(input, bytes_in(plaintext));
}

}  // namespace kms::pg
