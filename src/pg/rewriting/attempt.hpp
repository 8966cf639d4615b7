// Some rows of one table: read, sealed anew and written back. PostgreSQL side; the values are
// sealed on the C++ side.
#pragma once

#include "pg/rewriting/rewriting.hpp"

namespace kms::pg {

// What a transaction works with.
struct Batch {
    Rewriting& run;
    Relation table;
    Oid owner;  // of the registered relation: who has written the context expression
    RunKey key;
    Unwritten unwritten;
    const Bitmapset* in_other_contexts;  // columns of the table
    bool only_looks;                     // rows that are to be written count as passed over
};

// What becomes of the rows of a subtransaction; if that fails, nothing but `taken` and `last`.
struct Attempt {
    int most;  // rows
    ItemPointerData next;
    int taken;
    ItemPointerData last;    // that was taken
    bool is_in_owners_code;  // or in what checks and writes a row
    bool without_before;     // in a move: no row has the context that it had before
    bool waits_briefly;      // for others' locks, by a lock_timeout that is not the caller's
    std::int64_t done;
    std::int64_t passed_over;
    std::int64_t hidden;  // of these
    BadRows bad;
};

// Takes rows from `next` on, until there are enough of them or they stand behind `end`. Works in
// the current memory, which is the caller's to empty.
void rewrite_rows(Batch& batch, ItemPointerData end, Attempt& attempt);

inline ItemPointerData place_behind(const ItemPointerData& place) {
    ItemPointerData next;
    ItemPointerSet(&next, ItemPointerGetBlockNumberNoCheck(&place),
                   OffsetNumberNext(ItemPointerGetOffsetNumberNoCheck(&place)));
    return next;
}

// What a row holds, what it breaks, how large it gets, what its triggers say about it, in codes of
// their own too. Where it is every row's all the same, the run soon gives up.
bool is_about_a_row(int sqlstate);

// What keeps the key from being used, and not a row's value from being opened.
void raise_unless_about_the_value(const Failure& failure);

}  // namespace kms::pg
