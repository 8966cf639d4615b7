// encode_all, blind_index and blind_indexes: what a query compares a stored column with.
//
// They are STABLE, so that an index can be looked into; where none is, they are called once a row,
// mostly with the same arguments: the last answer is kept.
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/values/kept_answer.hpp"
#include "pg/values/known_versions.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

// The arguments (local_id, data, ..., context), where only data may be NULL; false where it is.
bool read_call(FunctionCallInfo fcinfo, int context_at, Call& call) {
    call.local_id = required_int(fcinfo, 0, "local_id");
    call.context = required_context(fcinfo, context_at);
    if (PG_ARGISNULL(1)) {
        return false;
    }
    call.data = bytes_argument(fcinfo, 1);
    return true;
}

Datum array_of(std::size_t count, varlena* const* values) {
    auto* elements = allocate_many<Datum>(count);
    for (std::size_t i = 0; i < count; ++i) {
        elements[i] = PointerGetDatum(values[i]);
    }
    return PointerGetDatum(
        construct_array(elements, static_cast<int>(count), BYTEAOID, -1, false, TYPALIGN_INT));
}

Datum ciphertexts(const Call& call, bool skip_disabled) {
    const auto tags = enabled_tags(use_of_call(call), skip_disabled);
    auto** values = allocate_many<varlena*>(tags.size());
    if (const Failure failure = seal_under(call, tags, values)) {
        raise(failure);
    }
    return array_of(tags.size(), values);
}

std::int32_t bits_argument(FunctionCallInfo fcinfo) {
    const std::int32_t bits = required_int(fcinfo, 2, "bits");
    if (bits < 0 || !is_term_size(static_cast<std::uint64_t>(bits))) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a blind index has 1 to %u bits, not %d", most_term_bits, bits)));
    }
    return bits;
}

varlena* cut_value(const FullTerm& term, unsigned bits, const Call& call) {
    varlena* value = allocate_value(term_length(bits), {call.action, call.local_id});
    cut_term(term, bits, bytes_in(value));
    return value;
}

Datum current_term(const Call& call, unsigned bits) {
    FullTerm term;
    if (const Failure failure = make_terms(call, bits, {}, {&term, 1})) {
        raise(failure);
    }
    return PointerGetDatum(cut_value(term, bits, call));
}

Datum all_terms(const Call& call, unsigned bits) {
    const auto tags = enabled_tags(use_of_call(call), true);
    auto* terms = allocate_many<FullTerm>(tags.size());
    if (const Failure failure = make_terms(call, bits, tags, {terms, tags.size()})) {
        raise(failure);
    }
    auto** values = allocate_many<varlena*>(tags.size());
    for (std::size_t i = 0; i < tags.size(); ++i) {
        values[i] = cut_value(terms[i], bits, call);
    }
    return array_of(tags.size(), values);
}

using MakeTerms = Datum (*)(const Call&, unsigned bits);

Datum blind_index(FunctionCallInfo fcinfo, const char* action, MakeTerms make) {
    const std::int32_t bits = bits_argument(fcinfo);
    Call call = {action, 0, {}, {}};
    if (!read_call(fcinfo, 3, call)) {
        PG_RETURN_NULL();
    }
    return kept_answer(fcinfo, {call.local_id, bits, call.data, call.context},
                       [&] { return make(call, static_cast<unsigned>(bits)); });
}

}  // namespace

KMS_FUNCTION(kms_encode_all) {
    const bool skip_disabled = required_bool(fcinfo, 3, "skip_disabled");
    Call call = {"encode under all versions", 0, {}, {}};
    if (!read_call(fcinfo, 2, call)) {
        PG_RETURN_NULL();
    }
    return kept_answer(fcinfo, {call.local_id, skip_disabled ? 1 : 0, call.data, call.context},
                       [&] { return ciphertexts(call, skip_disabled); });
}

KMS_FUNCTION(kms_blind_index) {
    return blind_index(fcinfo, "make a blind index", current_term);
}

KMS_FUNCTION(kms_blind_indexes) {
    return blind_index(fcinfo, "make blind indexes", all_terms);
}

}  // namespace kms::pg
