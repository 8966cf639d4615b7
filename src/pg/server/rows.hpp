// Rows that SQL functions return: PostgreSQL side.
#pragma once

#include <cstddef>

#include "pg/server/pg.hpp"

namespace kms::pg {

// What a set-returning function hands out may be plaintext: then no temporary file may have it.
enum class Rows { public_ones, secret };

// Rows of a set-returning function, collected in a tuplestore. Secret ones are held in memory, up
// to work_mem or 64 MiB, whichever is more: 54000 beyond.
class RowSet {
  public:
    explicit RowSet(FunctionCallInfo fcinfo, Rows rows = Rows::public_ones);
    void add(Datum* values, bool* nulls);

  private:
    Tuplestorestate* store_;
    TupleDesc shape_;
    std::size_t left_;
};

// The one row of a function with OUT parameters. In FROM the executor holds it up to work_mem: a
// secret one is 54000 beyond.
Datum row_datum(FunctionCallInfo fcinfo, Datum* values, bool* nulls, Rows rows = Rows::public_ones);

}  // namespace kms::pg
