// Arguments of SQL functions, and the values that they return: PostgreSQL side.
#pragma once

#include <chrono>

#include "base/bytes.hpp"
#include "crypto/algorithm.hpp"
#include "pg/server/pg.hpp"
#include "pg/server/wall.hpp"

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

// Of a column whose values have that length: what somebody has made longer is cut.
KeyTag tag_of(ByteView bytes);

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

// The same on the C++ side, where nothing may be raised: Code::too_large, or std::bad_alloc.
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

}  // namespace kms::pg
