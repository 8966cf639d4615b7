// The arguments (local_id, data, context) of encode_batch and its kin, for the current row of a
// partition and for rows ahead of it. PostgreSQL side.
#pragma once

#include "pg/server/arguments.hpp"

namespace kms::pg {

class WindowRows {
  public:
    explicit WindowRows(FunctionCallInfo fcinfo);

    WindowObject window() const { return window_; }

    // Reads the current row, or after it one that is `rows` ahead; false behind the partition's
    // end. What the arguments' expressions allocate is in the current memory context, and need stay
    // until they are copied, or used.
    void read_current();
    bool read_ahead(int rows);

    // Of the row that was read. Only data may be NULL: require_arguments() raises 22004 for the
    // others, and 22023 for a context that users may not give.
    void require_arguments() const;
    bool has_arguments() const;
    std::int32_t local_id() const { return DatumGetInt32(values_[local_id_place]); }
    bool data_is_null() const { return nulls_[data_place]; }
    // Once each; in the current memory context where they are copied or have to be detoasted.
    ByteView data() const;
    ByteView context() const;
    // Reading another row frees what this one's arguments lie in: its slot, or the result of a
    // subquery, also that of the current row.
    ByteView copied_data() const;
    ByteView copied_context() const;

    // Bytes that a row ahead takes until its result is handed out: its own in the partition's
    // store, and those of its arguments.
    std::size_t size() const;

  private:
    enum Place { local_id_place, data_place, context_place, places };

    std::size_t size_of(Place place) const;
    ByteView beginning_of_context() const;

    WindowObject window_;
    FmgrInfo* function_;
    Datum values_[places];
    bool nulls_[places];
    bool has_constant_context_;
    ByteView constant_context_;
};

}  // namespace kms::pg
