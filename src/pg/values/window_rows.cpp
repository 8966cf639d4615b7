#include "pg/values/window_rows.hpp"

#include "crypto/wrap_context.hpp"

namespace kms::pg {
namespace {

ByteView bytes_of_value(const varlena* value) {
    return {reinterpret_cast<const Byte*>(VARDATA_ANY(value)), VARSIZE_ANY_EXHDR(value)};
}

// Detoasted; a copy in any case.
ByteView copy_of(Datum datum) {
    auto* original = reinterpret_cast<varlena*>(DatumGetPointer(datum));
    varlena* value = pg_detoast_datum_packed(original);
    if (value == original) {
        const Size size = VARSIZE_ANY(original);
        value = static_cast<varlena*>(palloc(size));
        memcpy(value, original, size);
    }
    return bytes_of_value(value);
}

}  // namespace

WindowRows::WindowRows(FunctionCallInfo fcinfo)
    : window_(PG_WINDOW_OBJECT()), function_(fcinfo->flinfo) {
    Assert(WindowObjectIsValid(window_));
    refuse_null_treatment(fcinfo);
}

void WindowRows::read_current() {
    for (int place = 0; place < places; ++place) {
        values_[place] = WinGetFuncArgCurrent(window_, place, &nulls_[place]);
    }
    has_constant_context_ =
        !nulls_[context_place] && get_fn_expr_arg_stable(function_, context_place);
    if (has_constant_context_) {
        constant_context_ = bytes_of_datum(values_[context_place]);
    }
}

// Rows ahead of the current one share a slot, which the next read fills anew.
bool WindowRows::read_ahead(int rows) {
    bool behind_end = false;
    values_[data_place] = WinGetFuncArgInPartition(window_, data_place, rows, WINDOW_SEEK_CURRENT,
                                                   false, &nulls_[data_place], &behind_end);
    if (behind_end) {
        return false;
    }
    for (const Place place : {local_id_place, context_place}) {
        values_[place] = argument_of_same_row(window_, place, &nulls_[place]);
    }
    return true;
}

void WindowRows::require_arguments() const {
    if (nulls_[local_id_place]) {
        raise_null("local_id");
    }
    if (nulls_[context_place]) {
        raise_null("context");
    }
    check_context(beginning_of_context());
}

bool WindowRows::has_arguments() const {
    return !nulls_[local_id_place] && !nulls_[context_place] &&
           !begins_as_own_context(beginning_of_context());
}

// What tells whose it is.
ByteView WindowRows::beginning_of_context() const {
    if (has_constant_context_) {
        return constant_context_;
    }
    const auto* value = reinterpret_cast<const varlena*>(DatumGetPointer(values_[context_place]));
    if (stands_in_its_row(value)) {
        return bytes_of_value(value);
    }
    return bytes_of_value(reinterpret_cast<const varlena*>(PG_DETOAST_DATUM_SLICE(
        values_[context_place], 0, static_cast<std::int32_t>(own_context_prefix.size()))));
}

ByteView WindowRows::data() const {
    return bytes_of_datum(values_[data_place]);
}

ByteView WindowRows::context() const {
    return has_constant_context_ ? constant_context_ : bytes_of_datum(values_[context_place]);
}

ByteView WindowRows::copied_data() const {
    return copy_of(values_[data_place]);
}

ByteView WindowRows::copied_context() const {
    return has_constant_context_ ? constant_context_ : copy_of(values_[context_place]);
}

std::size_t WindowRows::size_of(Place place) const {
    return nulls_[place] ? 0 : toast_raw_datum_size(values_[place]);
}

std::size_t WindowRows::size() const {
    const std::size_t arguments =
        size_of(data_place) + (has_constant_context_ ? 0 : size_of(context_place));
    return row_width(window_) + arguments;
}

}  // namespace kms::pg
