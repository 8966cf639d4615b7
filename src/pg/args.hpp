// Arguments and results of SQL functions: act one and act three.
#pragma once

#include "base/bytes.hpp"
#include "pg/pg.hpp"
#include "pg/session.hpp"

namespace kms::pg {

// Functions are not STRICT: a NULL context would store NULL for the plaintext, a NULL identifier
// leave the last tenant bound. Each of these raises 22004 for a NULL.
void required(FunctionCallInfo fcinfo, int index, const char* name);
std::int32_t required_int(FunctionCallInfo fcinfo, int index, const char* name);
bool required_bool(FunctionCallInfo fcinfo, int index, const char* name);
ByteView required_bytes(FunctionCallInfo fcinfo, int index, const char* name);  // detoasted

// A context that a user gives: 22023 for one that could be a context of kms itself, as those of
// blobs' chunks are, which would open them and forge them.
void check_context(ByteView context);
ByteView required_context(FunctionCallInfo fcinfo, int index);

// 1 to 1,024 bytes, or 22023.
bool is_identifier(ByteView bytes);
void check_identifier(ByteView identifier);
ByteView required_identifier(FunctionCallInfo fcinfo, int index,
                             const char* name = "key_identifier");

[[noreturn]] void raise_null(const char* name);

// Detoasted; the argument is not NULL.
ByteView bytes_argument(FunctionCallInfo fcinfo, int index);
ByteView bytes_of_datum(Datum datum);

// In the current memory context, or another.
ByteView copy_of(ByteView bytes);
ByteView copy_into(MemoryContext memory, ByteView bytes);

inline bool stands_in_its_row(const varlena* value) {
    return !VARATT_IS_EXTERNAL(value) && !VARATT_IS_COMPRESSED(value);
}

// Of a value that stands in its row, or has been fetched.
inline ByteView bytes_of_packed(const varlena* value) {
    return {reinterpret_cast<const Byte*>(VARDATA_ANY(value)), VARSIZE_ANY_EXHDR(value)};
}

// A bytea or text of `length` bytes, to be filled through bytes_in(); 54000 where PostgreSQL cannot
// hold it.
varlena* allocate_value(std::size_t length, const Subject& subject);
ByteSpan bytes_in(varlena* value);

// The same in act two, where nothing may be raised: Code::too_large, or std::bad_alloc.
Result<varlena*> try_allocate_value(std::size_t length);

Datum text_datum(std::string_view text);
Datum text_or_null(const char* text);  // 0 for nullptr
Datum name_datum(const char* name);    // a whole name: PostgreSQL copies as many bytes
Datum bytes_datum(ByteView bytes);
Datum oids_datum(const List* oids);
Datum identifier_datum(ByteView identifier);  // text in the spelling of kms.keys

// UTC.
TimestampTz timestamp_of(std::chrono::microseconds since_1970);
std::chrono::microseconds since_1970(TimestampTz time);

// A key named by its identifier, or by the local id that it is bound to (KM001 where it is not),
// for a call that asks in the name of who is the current role now.
KeyUse use_of_identifier(const char* action, ByteView identifier);
KeyUse use_of_local_id(const char* action, std::int32_t local_id);

// The same for a use of the DEK itself: reads what kms.data_key has of it, but in remote mode.
KeyUse use_of_data_key(KeyUse use);

// Whether a failure may be due to a form that is no longer in the table: who shreds a key destroys
// KEK versions as soon as every other key has another form.
bool is_outdated(const KeyUse& use, const Failure& failure);

// Asks for a DEK with what the table has of it, until that was not outdated. All three acts.
template <typename Ask>
Failure ask_for_data_key(Session& session, KeyUse& use, const Subject& subject, Ask ask) {
    for (;;) {
        use = use_of_data_key(use);
        const Failure failure = in_session(session, subject, ask);
        settle(session, failure);
        if (!is_outdated(use, failure)) {
            return failure;
        }
    }
}

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
