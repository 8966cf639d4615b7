// What hangs on a column of a table, or on the whole row that it is part of: PostgreSQL side. In an
// SPI connection.
#pragma once

#include <span>

#include "pg/server/pg.hpp"

namespace kms::pg {

struct Dependent {
    bool blocks;       // it is to be gone, or made anew, before the column is dropped
    const char* what;  // as messages show it
};

// `keeps_sequence`: one that the column owns goes on with its DEFAULT.
std::span<const Dependent> dependents_of(Oid table, AttrNumber column, bool keeps_sequence);

// Columns that store rows of one of the tables as values.
std::span<const Dependent> holders_of_rows(const List* tables);

}  // namespace kms::pg
