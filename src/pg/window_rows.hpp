// The arguments (local_id, data, context) of encode_batch and its kin, for the current row of a
// partition and for rows ahead of it. Act one.
#pragma once

#include "pg/args.hpp"

namespace kms::pg {

class WindowRows {
  public:
    explicit WindowRows(FunctionCallInfo fcinfo);

    WindowObject window() const { return window_; }

    // Reads the current row, for 0, and then those ahead of it; false behind the partition's end.
    // What the arguments' expressions allocate is in the current memory context, and only that of
    // the current row need stay.
    bool read(int ahead);

    // Of the row that was read. Only data may be NULL: require_arguments() raises 22004 for the
    // others.
    void require_arguments() const;
    bool has_arguments() const { return !nulls_[local_id_place] && !nulls_[context_place]; }
    std::int32_t local_id() const { return DatumGetInt32(values_[local_id_place]); }
    bool data_is_null() const { return nulls_[data_place]; }
    // Once each; copied into the current memory context where the row will not stay.
    ByteView context() const;
    ByteView data() const;

    // Bytes that a row ahead takes until its result is handed out: its own in the partition's
    // store, and those of its arguments.
    std::size_t size() const;

  private:
    enum Place { local_id_place, data_place, context_place, places };

    bool read_argument(Place place);
    std::size_t size_of(Place place) const;

    WindowObject window_;
    int ahead_ = 0;
    bool same_for_all_[places];  // a constant, which is not read again with each row
    Datum values_[places];
    bool nulls_[places];
    ByteView current_context_;  // of the current row
};

}  // namespace kms::pg
