// Rewriting a column of a live table in batches with a commit each: what kms.reencrypt and
// kms.encrypt_column have in common. PostgreSQL side; the values are sealed on the C++ side.
//
// Each batch is a transaction. What outlives it is in the memory of the procedure's SPI connection;
// relations, their names and the registration are looked up anew in each.
#pragma once

#include <algorithm>

#include "pg/columns/registry.hpp"
#include "pg/rewriting/current_tags.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {

// What is done about triggers of the user's that an UPDATE of the column would fire.
enum class Triggers { refuse, fire, skip };

// A row that stays as it is: its value cannot be opened or sealed, or it raises an error.
struct BadRow {
    Oid relation;
    ItemPointerData place;
    int sqlstate;
    char reason[sizeof(Failure::Cause::message)];
};

struct BadRows {
    static constexpr std::int64_t most_shown = 5;

    std::int64_t count;
    BadRow shown[most_shown];
};

// Where the column is to go to; what is empty or nullptr stays as it is registered.
struct Move {
    ByteView key_identifier;
    const char* context;  // an expression; "": the empty context
    const char*
        was_context;  // what values are sealed with now, where that is not what is registered

    bool is_wanted() const {
        return !key_identifier.empty() || context != nullptr || was_context != nullptr;
    }
};

struct Rewriting {
    const char* procedure;  // for messages: its name,
    const char* action;     // what it does, "encrypt a value with",
    const char* has_done;   // and has done, "encrypted"
    Oid relation;
    AttrNumber source;  // what is read
    AttrNumber target;  // what is written; where it is another column, sealed or opened
    bool opens;
    Oid own_trigger;  // its function, which may fire; InvalidOid for none
    int batch;        // rows
    std::int64_t pause_ms;
    Triggers triggers;
    Move move;
    ByteView was_key;  // that the caller takes values to be sealed with; empty: not said

    CurrentTags* current_tags;  // of the keys that rows name

    // What was registered when the caller's rights were looked at, or since the run has registered
    // it: it holds to the end. nullptr: nothing was looked at yet.
    const RegisteredColumn* began_with;

    // What has become of it.
    std::int64_t total;  // rows to write, as counted at the start
    std::int64_t done;
    std::int64_t done_in_pass;
    BadRows bad_in_pass;
    std::int64_t passed_over_in_pass;
    std::int64_t left;  // by others' locks, or written by them all the time

    // While the column is being moved.
    std::int64_t hidden_in_pass;  // that do not open, though their headers are as they are to be
    bool has_hidden;
    std::int64_t open_writers;  // transactions that have begun before the last look

    // Where rows raise errors.
    int at_once;  // rows in a subtransaction
    int taken_in_batch;
    int failed_in_batch;
    std::int64_t failed_in_pass;
    bool has_given_up;

    TimestampTz began;
    TimestampTz told;       // when the last NOTICE was
    TimestampTz refreshed;  // when the key was last asked for

    bool is_between_columns() const { return source != target; }
    bool is_move() const { return !is_between_columns() && began_with->is_moving; }
    AttrNumber registered() const { return opens ? source : target; }
};

// --- arguments and transactions of a run (run.cpp)

// 25001 where one cannot commit; connects to SPI.
void require_non_atomic(FunctionCallInfo fcinfo, const char* procedure);

Oid relation_argument(FunctionCallInfo fcinfo, int index);
AttrNumber column_argument(FunctionCallInfo fcinfo, int index, Oid relation);
// Relation and column, which are the first, and from `batch_index` on batch, pause and triggers.
void read_run_arguments(FunctionCallInfo fcinfo, Rewriting& run, int batch_index);

void begin_batch();  // READ COMMITTED, a snapshot
void commit_batch();
// Commits, where the caller's transaction is none of READ COMMITTED, and begins such a one.
void begin_read_committed();
// Commits, and waits for whoever changes the table, with nothing that they may want in the end.
void begin_behind_others(Oid relation);
void sleep_for(std::int64_t milliseconds);

const char* column_label(const Rewriting& run);  // column "c" of table "t"

// --- refusals (checks.cpp): 42501, 0A000, 55000

void require_rewritable(const Rewriting& run);
void require_rewritable_table(const Rewriting& run, Relation table);

// --- the registered key (registered_key.cpp)

struct RunKey {
    const char* action;              // for messages
    ByteView identifier;             // empty where each row names its key
    ByteView tag;                    // of its current version; none then
    const char* key_expression;      // as it is registered; nullptr: none
    const char* context_expression;  // the same
    SealedAs was;                    // while the column is being moved there
    bool is_moving;
    bool is_of_each_row;  // and what is current is another version for each
    bool has_hidden;      // as the run has it

    // What is left is known from nothing but the rows themselves.
    bool must_look() const { return is_moving || is_of_each_row; }

    // A value's header says which key it is under, and nothing of the context.
    bool must_open() const {
        return is_moving && (has_hidden || std::ranges::equal(identifier, was.key_identifier));
    }
};

// 55000 where it is not registered, or not as the run began with it.
const RegisteredColumn& registration_of(const Rewriting& run);

// For messages: the key and the context.
const char* shown_sealed_as(const SealedAs& sealed_as);

// 55000 where the caller has said another was_key than the one that values are opened with.
void require_said_key(const Rewriting& run, const SealedAs& source);

// The same where it was not said, and the caller is not one of those whose registration it is.
void require_known_key(const Rewriting& run, const SealedAs& source);

// Raises what keeps a key from being used; empty: each row names its own. Asks the agent: before
// any table is locked for it.
void require_usable_key(const char* action, ByteView identifier);

// The registered one, and raises the same. Looks again now and then, or where `anew` says so.
RunKey current_key(Rewriting& run, bool anew = false);

// --- moving to another key or context (move.cpp)

// The arguments from `first` on: new_key, new_context, was_key, was_context.
void read_move_arguments(FunctionCallInfo fcinfo, Rewriting& run, int first);

void begin_move(Rewriting& run);      // 55000 in the middle of another
void end_move(const Rewriting& run);  // if all rows are there

// --- bad rows (progress.cpp)

void note_bad(BadRows& rows, Oid relation, const ItemPointerData& place, int sqlstate,
              const char* reason);
void add_bad(BadRows& rows, const BadRows& more);

// --- one batch (batch.cpp)

// Where in a table a pass stands.
struct Place {
    Oid table;
    bool begun;
    bool ended;
    BlockNumber end;  // what is behind it has been written since
    ItemPointerData next;
};

// Everything of a transaction but its commit.
void rewrite_batch(Rewriting& run, Place& place);

// In the active snapshot, without writing: rows that are to be written count as passed over.
void look_through(Rewriting& run, Oid table);

// Which rows of a table are to be written: those whose value is under another key, or that have a
// plaintext alone.
struct Unwritten {
    AttrNumber source;
    AttrNumber target;
    ByteView tag;
    bool any;  // the header alone does not tell
};

// The run's column has one name in all tables, but a number in each. 42703 where it is gone.
AttrNumber column_in(const Rewriting& run, Relation table, AttrNumber column);

Unwritten unwritten_in(const Rewriting& run, Relation table, const RunKey& key);
bool is_unwritten(const Unwritten& unwritten, TupleTableSlot* row);
bool begins_under(ByteView sealed, ByteView tag);

// --- progress (progress.cpp)

// An advisory lock for as long as the run takes; 55006 where another session has it.
void lock_run(const Rewriting& run);
void unlock_run(const Rewriting& run);
void begin_progress(const Rewriting& run);
void write_progress(const Rewriting& run, const char* phase);
void tell_progress(Rewriting& run);
void tell_end(const Rewriting& run);  // raises an error where rows are bad

// --- all of it (rewriting.cpp)

// Returns in a transaction of its own.
void rewrite_column(Rewriting& run);

}  // namespace kms::pg
