// Commands that change a user's table: by its name, since event triggers are to see them, but the
// table that is meant. PostgreSQL side.
#pragma once

#include "pg/tables/owner.hpp"

namespace kms::pg {

// Its name of now, quoted.
const char* quoted_name(Oid table);

// The command is `before`, the table's name and `after`. It runs as the table's owner: whoever
// changes a table simplifies what its owner has written, a partition key say. In an SPI connection.
struct TableChange {
    Oid table;
    const char* before;
    const char* after;
};

void run_table_change(const TableChange& change);

// 55000. `table` may be gone.
[[noreturn]] void raise_changed(Oid table);

// PostgreSQL looks the name up once more, and whoever renames a schema needs no lock on the tables
// in it: another table may have the name by then. `is_done()` says by number whether it was this
// one that has changed; where it was not, 55000, and the caller's transaction undoes what was done.
template <typename IsDone>
void change_table(const TableChange& change, IsDone&& is_done) {
    run_table_change(change);
    if (!is_done()) {
        raise_changed(change.table);
    }
}

}  // namespace kms::pg
