#include "pg/server/arguments.hpp"

#include <algorithm>

#include "base/escape.hpp"
#include "base/key_list.hpp"
#include "crypto/wrap_context.hpp"

namespace kms::pg {
namespace {

constexpr std::chrono::days epochs_apart(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE);

constexpr std::size_t most_value = MaxAllocSize - VARHDRSZ;

Error too_large(std::size_t length) {
    return {Code::too_large, "The result would have " + std::to_string(length) +
                                 " bytes; a value has at most " + std::to_string(most_value) + "."};
}

}  // namespace

void raise_null(const char* name) {
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be NULL", name)));
    pg_unreachable();
}

void required(FunctionCallInfo fcinfo, int index, const char* name) {
    if (PG_ARGISNULL(index)) {
        raise_null(name);
    }
}

[[gnu::hot]] std::int32_t required_int(FunctionCallInfo fcinfo, int index, const char* name) {
    required(fcinfo, index, name);
    return PG_GETARG_INT32(index);
}

bool required_bool(FunctionCallInfo fcinfo, int index, const char* name) {
    required(fcinfo, index, name);
    return PG_GETARG_BOOL(index);
}

[[gnu::hot]] ByteView required_bytes(FunctionCallInfo fcinfo, int index, const char* name) {
    required(fcinfo, index, name);
    return bytes_argument(fcinfo, index);
}

[[gnu::hot]] ByteView bytes_argument(FunctionCallInfo fcinfo, int index) {
    return bytes_of_datum(PG_GETARG_DATUM(index));
}

ByteView bytes_of_datum(Datum datum) {
    const varlena* value = PG_DETOAST_DATUM_PACKED(datum);
    return {reinterpret_cast<const Byte*>(VARDATA_ANY(value)), VARSIZE_ANY_EXHDR(value)};
}

ByteView copy_into(MemoryContext memory, ByteView bytes) {
    auto* copy =
        static_cast<Byte*>(MemoryContextAlloc(memory, std::max<std::size_t>(bytes.size(), 1)));
    std::copy(bytes.begin(), bytes.end(), copy);
    return {copy, bytes.size()};
}

ByteView copy_of(ByteView bytes) {
    return copy_into(CurrentMemoryContext, bytes);
}

[[gnu::hot]] void check_context(ByteView context) {
    if (begins_as_own_context(context)) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a context must not begin with \"%s\"", own_context_prefix.data()),
                        errdetail("What kms itself seals has contexts that begin so."),
                        errhint("Put something of your own before it.")));
    }
}

[[gnu::hot]] ByteView required_context(FunctionCallInfo fcinfo, int index) {
    const ByteView context = required_bytes(fcinfo, index, "context");
    check_context(context);
    return context;
}

KeyTag tag_of(ByteView bytes) {
    KeyTag tag{};
    copy_bytes(bytes.first(std::min(bytes.size(), tag.size())), tag);
    return tag;
}

bool is_identifier(ByteView bytes) {
    return !bytes.empty() && bytes.size() <= max_identifier;
}

void check_identifier(ByteView identifier) {
    if (!is_identifier(identifier)) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a key identifier has 1 to %zu bytes, not %zu", max_identifier,
                               identifier.size())));
    }
}

[[gnu::hot]] ByteView required_identifier(FunctionCallInfo fcinfo, int index, const char* name) {
    const ByteView identifier = required_bytes(fcinfo, index, name);
    check_identifier(identifier);
    return identifier;
}

[[gnu::hot]] varlena* allocate_value(std::size_t length, const Subject& subject) {
    if (length > most_value) {
        raise(guarded(subject, [&]() -> Status { return too_large(length); }));
    }
    auto* value = static_cast<varlena*>(palloc(length + VARHDRSZ));
    SET_VARSIZE(value, length + VARHDRSZ);
    return value;
}

Result<varlena*> try_allocate_value(std::size_t length) {
    if (length > most_value) {
        return too_large(length);
    }
    auto* value = static_cast<varlena*>(palloc_extended(length + VARHDRSZ, MCXT_ALLOC_NO_OOM));
    if (value == nullptr) {
        throw std::bad_alloc();
    }
    SET_VARSIZE(value, length + VARHDRSZ);
    return value;
}

ByteSpan bytes_in(varlena* value) {
    return {reinterpret_cast<Byte*>(VARDATA(value)), VARSIZE(value) - VARHDRSZ};
}

Datum text_datum(std::string_view text) {
    return PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
}

Datum name_datum(const char* name) {
    auto* whole = static_cast<NameData*>(palloc0(sizeof(NameData)));
    namestrcpy(whole, name);
    return NameGetDatum(whole);
}

Datum oids_datum(const List* oids) {
    const int count = list_length(oids);
    auto* items = static_cast<Datum*>(palloc(sizeof(Datum) * count));
    for (int i = 0; i < count; ++i) {
        items[i] = ObjectIdGetDatum(list_nth_oid(oids, i));
    }
    return PointerGetDatum(construct_array(items, count, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

Datum bytes_datum(ByteView bytes) {
    return text_datum(text_of(bytes));
}

// Escaped by hand: no C++ string may be alive where PostgreSQL allocates.
Datum text_or_null(const char* text) {
    return text != nullptr ? CStringGetTextDatum(text) : Datum{0};
}

Datum identifier_datum(ByteView identifier) {
    static constexpr char digits[] = "0123456789ABCDEF";
    auto* text = static_cast<char*>(palloc(3 * identifier.size() + 1));
    char* out = text;
    for (const Byte byte : identifier) {
        if (stands_for_itself(Alphabet::identifier, byte)) {
            *out++ = static_cast<char>(byte);
        } else {
            *out++ = '%';
            *out++ = digits[byte >> 4];
            *out++ = digits[byte & 15];
        }
    }
    return text_datum({text, static_cast<std::size_t>(out - text)});
}

TimestampTz timestamp_of(std::chrono::microseconds since) {
    return (since - epochs_apart).count();
}

std::chrono::microseconds since_1970(TimestampTz time) {
    return std::chrono::microseconds(time) + epochs_apart;
}

}  // namespace kms::pg
