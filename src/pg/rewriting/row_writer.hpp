// Writes one column of rows of a table as an UPDATE does, with its triggers, constraints and
// indexes, but never waits for a row: PostgreSQL side.
#pragma once

#include <span>

#include "pg/tables/own_table.hpp"

namespace kms::pg {

struct RowWriter;

enum class Written {
    done,
    passed_over,      // somebody has changed the row, or keeps it locked
    kept_by_trigger,  // stays as it is
};

// Whether a UNIQUE or EXCLUDE over the column may wait for what another has written and not
// committed: a duplicate perhaps.
bool may_wait_for_others(Relation table, AttrNumber column);

// From here to its end it is one statement to the table's triggers: to those alone that fire in a
// replica where `as_replica` says so. Lives in the current memory, and needs an active snapshot.
RowWriter* open_row_writer(Relation table, AttrNumber column, bool as_replica);

// Which version of its row it is. Where a snapshot does not keep what it sees, which
// old_snapshot_threshold is for, another row may take its place.
RowVersion version_of(TupleTableSlot* row);

Written write_row(RowWriter& writer, const RowVersion& version, Datum value);

// The row that write_row() has written, as BEFORE triggers have left it; nullptr where there are
// none.
TupleTableSlot* row_after_triggers(RowWriter& writer);

// Where write_row() has put the row.
ItemPointerData place_of_written(const RowWriter& writer);

// Whether the rows at these places are as they were written, after the triggers that fire behind
// the statement.
bool are_still_there(Relation table, std::span<const ItemPointerData> places);

// Whether these triggers have changed one of the columns.
bool have_triggers_changed(RowWriter& writer, const Bitmapset* columns);

void close_row_writer(RowWriter* writer);

// Whether two values of a column, none of them NULL, are the same bytes.
bool is_same_image(TupleDesc shape, int column, Datum one, Datum other);

// For a trigger: whether the row version at `place` is what write_row() is about to replace, with
// this value in its column.
bool is_being_written(Relation table, const ItemPointerData& place, Datum value);

}  // namespace kms::pg
