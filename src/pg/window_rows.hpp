// The arguments (local_id, data, context) of encode_batch and its kin, for the current row of a
// partition and for rows ahead of it. Act one.
#pragma once

#include "pg/args.hpp"

namespace kms::pg {

class WindowRows {
  public:
    explicit WindowRows(FunctionCallInfo fcinfo);

    WindowObject window() const { return window_; }

    // Reads the current row, or after it one that is `rows` ahead; false behind the partition's
    // end. What the arguments' expressions allocate is in the current memory context, and only that
    // of the current row need stay.
    void read_current();
    bool read_ahead(int rows);

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

    bool has_current_context() const;
    std::size_t size_of(Place place) const;

    WindowObject window_;
    bool is_current_ = true;
    Datum values_[places];
    bool nulls_[places];
    Datum current_context_;
    ByteView current_context_bytes_;
};

}  // namespace kms::pg
