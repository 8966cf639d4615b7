// The extension's own tables. PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// In the schema kms; 42P01 where it is gone.
Oid own_table(const char* name);

// Which version of a row was read: whoever has changed it since has made another.
struct RowVersion {
    ItemPointerData place;
    TransactionId writer;
};

// A row of one, copied into the current memory context. The table may have more columns than this
// library knows: those of a newer version of the extension.
class OwnRow {
  public:
    OwnRow(Relation table, HeapTuple tuple)
        : tuple_(heap_copytuple(tuple)), shape_(RelationGetDescr(table)) {}

    bool has(AttrNumber column) const { return !heap_attisnull(tuple_, column, shape_); }

    Datum operator[](AttrNumber column) const {
        bool is_null = false;
        return heap_getattr(tuple_, column, shape_, &is_null);
    }

    RowVersion version() const {
        return {tuple_->t_self, HeapTupleHeaderGetRawXmin(tuple_->t_data)};
    }

  private:
    HeapTuple tuple_;
    TupleDesc shape_;
};

}  // namespace kms::pg
