#include "pg/args.hpp"

#include <algorithm>

#include "base/escape.hpp"
#include "base/key_list.hpp"
#include "crypto/wrap_context.hpp"
#include "pg/settings.hpp"
#include "pg/sqlstates.hpp"

namespace kms::pg {
namespace {

KeyUse use_of(const char* action, std::int32_t local_id, ByteView identifier) {
    require_settings();
    return {action,      local_id,           identifier, identity_texts(),
            deadlines(), pstrdup(command()), GetUserId()};
}

constexpr std::chrono::days epochs_apart(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE);

constexpr std::size_t most_value = MaxAllocSize - VARHDRSZ;

// A tuplestore of so many kilobytes is never written to a file.
constexpr int never_spilled = MAX_KILOBYTES;
constexpr std::size_t least_secret_bytes = std::size_t{64} << 20;

// Of a tuplestore, and of each tuple that it has.
constexpr std::size_t tuplestore_overhead = std::size_t{32} << 10;
constexpr std::size_t row_overhead = 64;

std::size_t most_secret_bytes() {
    return std::max(least_secret_bytes, static_cast<std::size_t>(work_mem) * 1024);
}

bool can_materialize(FunctionCallInfo fcinfo) {
    const auto* result = reinterpret_cast<const ReturnSetInfo*>(fcinfo->resultinfo);
    return result != nullptr && IsA(result, ReturnSetInfo) &&
           (result->allowedModes & SFRM_Materialize) != 0;
}

Error too_large(std::size_t length) {
    return {Code::too_large, "The result would have " + std::to_string(length) +
                                 " bytes; a value has at most " + std::to_string(most_value) + "."};
}

// Where the table has another row by now, a form that it had may not open any more.
bool may_be_of_older_row(Code failure) {
    return failure == Code::not_found || failure == Code::disabled || failure == Code::wrong_key ||
           failure == Code::damaged_key;
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

KeyUse use_of_identifier(const char* action, ByteView identifier) {
    return use_of(action, 0, identifier);
}

KeyUse use_of_local_id(const char* action, std::int32_t local_id) {
    const KeyList& keys = key_list();
    const Binding* binding = keys.find(local_id);
    if (binding == nullptr) {
        ereport(ERROR, (errcode(sqlstate::not_bound),
                        errmsg("could not %s: no key is bound to local id %d", action, local_id),
                        errhint("Bind one with kms.set_key(%d, 'key-identifier'), or with SET "
                                "kms.keys = '%d=key-identifier'.",
                                local_id, local_id)));
    }
    return use_of(action, local_id, copy_of(keys.identifier(*binding)));
}

KeyUse use_of_data_key(KeyUse use) {
    use.circumstances = key_circumstances();
    if (mode() == Mode::remote || (mode() == Mode::local && !has_data_keys())) {
        return use;
    }
    auto* stored = static_cast<DataKey*>(palloc(sizeof(DataKey)));
    *stored = read_data_key(use.identifier);
    use.circumstances = key_circumstances_as_of(stored->as_of);
    if (mode() == Mode::envelope || stored->newest() != nullptr) {
        use.stored = stored;
    }
    return use;
}

bool is_outdated(const KeyUse& use, const Failure& failure) {
    if (!failure || use.stored == nullptr || !may_be_of_older_row(failure.cause.code)) {
        return false;
    }
    AcceptInvalidationMessages();
    return use.circumstances != key_circumstances();
}

RowSet::RowSet(FunctionCallInfo fcinfo, Rows rows)
    : left_(rows == Rows::secret ? most_secret_bytes() : SIZE_MAX) {
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    if (!can_materialize(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("a set of rows cannot be returned here")));
    }
    MemoryContext caller = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
    if (get_call_result_type(fcinfo, nullptr, &shape_) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "return type must be a row type");
    }
    store_ = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0, false,
                                   rows == Rows::secret ? never_spilled : work_mem);
    result->returnMode = SFRM_Materialize;
    result->setResult = store_;
    result->setDesc = shape_;
    MemoryContextSwitchTo(caller);
}

void RowSet::add(Datum* values, bool* nulls) {
    const std::size_t size = heap_compute_data_size(shape_, values, nulls) + row_overhead;
    if (size > left_) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("the result has more rows than are held in memory"),
                        errdetail("They are secret, and are not written to a temporary file."),
                        errhint("Ask for fewer of them, or raise work_mem above 64 MB.")));
    }
    left_ -= left_ == SIZE_MAX ? 0 : size;
    tuplestore_putvalues(store_, shape_, values, nulls);
}

Datum row_datum(FunctionCallInfo fcinfo, Datum* values, bool* nulls, Rows rows) {
    TupleDesc shape = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &shape) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "return type must be a row type");
    }
    if (rows == Rows::secret && can_materialize(fcinfo) &&
        heap_compute_data_size(shape, values, nulls) + tuplestore_overhead >
            static_cast<std::size_t>(work_mem) * 1024) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("the row is larger than what is held in memory"),
                        errdetail("It is secret, and is not written to a temporary file."),
                        errhint("Call the function among what is selected instead of in FROM, or "
                                "raise work_mem.")));
    }
    return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls));
}

}  // namespace kms::pg
