// Which rows would be lost with a key version: a census of every registered column, and of blobs,
// in the name of the extension's owner, since whoever retires a key may not be allowed to read the
// tables. Shown are names and numbers only. PostgreSQL side.
#pragma once

#include <span>

#include "crypto/algorithm.hpp"
#include "pg/columns/registry.hpp"

namespace kms::pg {

struct ColumnRows {
    const char* column;  // schema, table and column, with quotes where they are needed
    const char* fault;   // why it stands in the way whatever its rows; nullptr: it does not
    std::uint64_t rows;
};

struct CountedPlace {
    Oid part;
    AttrNumber attribute;  // of the registered relation
    Oid file;
    friend bool operator==(const CountedPlace&, const CountedPlace&) = default;
};

// As it was before others were waited for; nobody was: nothing.
struct Past {
    Snapshot snapshot;
    std::span<const CountedPlace> places;
};

// False: there is neither a registered column nor a blob, and nobody is about to commit either.
bool may_be_needed();

// Why a column's rows cannot be counted, for people; nullptr: they can.
const char* obstacle_to_counting(const RegisteredColumn& column);

// Columns that hold rows of one of the versions, or whose registration does not hold any more;
// blobs come as kms.blob. Whatever key a column is registered with, it may hold rows of another.
std::span<const ColumnRows> count_rows(std::span<const KeyTag> tags);

// The same for who keeps others from sealing or wrapping meanwhile: no table is waited for longer
// than a second (55P03).
// `past`, of outlast_transactions(): rows count too that somebody may still see or bring back;
// 40001 where a table is changed in which they were.
std::span<const ColumnRows> count_rows_behind_lock(std::span<const KeyTag> tags,
                                                   const Past& past = {});

std::uint64_t sum_of_rows(std::span<const ColumnRows> columns);

// A line for each column, for a DETAIL; of many only the first.
const char* shown_rows(std::span<const ColumnRows> columns);

// What to do about those that cannot be counted, for a HINT: a sentence and a blank. Empty: all
// can.
const char* how_to_count(std::span<const ColumnRows> columns);

// 25001 where this transaction has sealed under the version: such a value is in no table yet, and
// may be stored when the version is gone.
void refuse_if_sealed_here(const char* action, ByteView identifier, std::uint32_t version,
                           const KeyTag& tag);

// KM012 while there is any such column; 25001 where a cursor of this session sees such rows, which
// are no more. `action` as in Subject.
void refuse_if_needed(const char* action, ByteView identifier, std::uint32_t version,
                      const KeyTag& tag);

void refuse_if_needed_behind_lock(const char* action, ByteView identifier, std::uint32_t version,
                                  const KeyTag& tag, const Past& past = {});

// Whether nothing tells where what it has made is stored.
bool makes_search_terms(std::string_view algorithm);

// KM012 for a version that does.
void refuse_if_uncountable(const char* action, ByteView identifier, std::uint32_t version,
                           std::string_view algorithm);

// Waits until every transaction of this database is over that runs or is prepared now, or has the
// snapshot of one: it may have sealed a value, or copied one, in a row that cannot be counted yet.
// What there was before; its snapshot is registered.
Past outlast_transactions();

// The same until nobody has a row of the version any more, whatever they have done to it meanwhile;
// KM012 where one is there.
Past outlast_rows(const char* action, ByteView identifier, std::uint32_t version,
                  const KeyTag& tag);

}  // namespace kms::pg
