#include "pg/window_rows.hpp"

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

WindowRows::WindowRows(FunctionCallInfo fcinfo) : window_(PG_WINDOW_OBJECT()) {
    Assert(WindowObjectIsValid(window_));
    refuse_null_treatment(fcinfo);
    for (int place = 0; place < places; ++place) {
        same_for_all_[place] = get_fn_expr_arg_stable(fcinfo->flinfo, place);
    }
    same_for_all_[data_place] = false;  // by which the partition's end is seen
}

bool WindowRows::read(int ahead) {
    ahead_ = ahead;
    if (!read_argument(local_id_place) || !read_argument(context_place) ||
        !read_argument(data_place)) {
        return false;
    }
    if (ahead_ == 0 && !nulls_[context_place]) {
        current_context_ = bytes_of_datum(values_[context_place]);
    }
    return true;
}

// Rows ahead of the current one share a slot, which the next read fills anew.
bool WindowRows::read_argument(Place place) {
    if (ahead_ == 0) {
        values_[place] = WinGetFuncArgCurrent(window_, place, &nulls_[place]);
        return true;
    }
    if (same_for_all_[place]) {
        return true;
    }
    bool behind_end = false;
    values_[place] = WinGetFuncArgInPartition(window_, place, ahead_, WINDOW_SEEK_CURRENT, false,
                                              &nulls_[place], &behind_end);
    return !behind_end;
}

void WindowRows::require_arguments() const {
    if (nulls_[local_id_place]) {
        raise_null("local_id");
    }
    if (nulls_[context_place]) {
        raise_null("context");
    }
}

ByteView WindowRows::context() const {
    return ahead_ == 0 || same_for_all_[context_place] ? current_context_
                                                       : copy_of(values_[context_place]);
}

ByteView WindowRows::data() const {
    return ahead_ == 0 ? bytes_of_datum(values_[data_place]) : copy_of(values_[data_place]);
}

std::size_t WindowRows::size_of(Place place) const {
    return nulls_[place] || same_for_all_[place] ? 0 : toast_raw_datum_size(values_[place]);
}

std::size_t WindowRows::size() const {
    return row_width(window_) + size_of(context_place) + size_of(data_place);
}

}  // namespace kms::pg
