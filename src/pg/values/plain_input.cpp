#include "pg/values/plain_input.hpp"

#include <algorithm>

#include "base/hex.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/tables/owner.hpp"
#include "pg/values/text_settings.hpp"

namespace kms::pg {
namespace {

void require_text(ByteView bytes) {
    const std::string_view text = text_of(bytes);
    if (!pg_verify_mbstr(GetDatabaseEncoding(), text.data(), static_cast<int>(text.size()), true)) {
        ereport(ERROR, (errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
                        errmsg("an opened value is not text in the database's encoding"),
                        errhint("Take bytea, which holds any bytes.")));
    }
}

// Whatever a type's input says of a text may show it: a syntax error, a name that is not there, an
// extension's XX000. These are of the server and of whoever cancels, and show none.
bool is_of_the_server(int sqlstate) {
    return sqlstate::is_of_class(sqlstate,
                                 {ERRCODE_TRANSACTION_ROLLBACK, ERRCODE_INSUFFICIENT_RESOURCES,
                                  ERRCODE_OPERATOR_INTERVENTION, ERRCODE_SYSTEM_ERROR});
}

// Of the value, for whoever passes over such a row.
int sqlstate_of_value(int sqlstate) {
    return sqlstate::is_of_class(sqlstate,
                                 {ERRCODE_DATA_EXCEPTION, ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION})
               ? sqlstate
               : ERRCODE_INVALID_TEXT_REPRESENTATION;
}

// Warnings and notices may show the text too.
int silence() {
    const int level = NewGUCNestLevel();
    set_meanwhile("client_min_messages", "error");
    (void)set_config_option("log_min_messages", "error", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
                            true, 0, false);
    return level;
}

// 0, or the SQLSTATE with which the type has refused the text. What comes back of the value is in
// `back`, if that is asked for.
int try_input(PlainInput& input, char* text, Datum& value, ByteView* back) {
    MemoryContext caller = CurrentMemoryContext;
    const int level = input.back.depends_on == TextDependsOn::settings ? silence() : 0;
    volatile int sqlstate = 0;
    PG_TRY();
    {
        value = InputFunctionCall(&input.function, text, input.parameter, input.typmod);
        if (back != nullptr) {
            *back = bytes_of_value(input.back, value);
        }
    }
    PG_CATCH();
    {
        sqlstate = geterrcode();
        if (is_of_the_server(sqlstate)) {
            PG_RE_THROW();
        }
        MemoryContextSwitchTo(caller);
        FlushErrorState();
    }
    PG_END_TRY();
    if (level != 0) {
        AtEOXact_GUC(false, level);
    }
    return sqlstate;
}

Datum value_of_text(PlainInput& input, ByteView bytes, ByteView* back) {
    require_text(bytes);
    const std::string_view text = text_of(bytes);
    Datum value = 0;
    const int sqlstate = try_input(input, pnstrdup(text.data(), text.size()), value, back);
    if (sqlstate != 0) {
        ereport(ERROR,
                (errcode(sqlstate_of_value(sqlstate)),
                 errmsg("an opened value is no value of type %s",
                        format_type_with_typemod(input.type, input.typmod)),
                 errdetail("The type's input raised SQLSTATE %s.", unpack_sql_state(sqlstate))));
    }
    return value;
}

// As PostgreSQL writes it, with the digits that it was sealed with.
bool is_its_text(const PlainInput& input, Datum value, ByteView bytes) {
    const auto written = written_number(input.type, value);
    return written && std::ranges::equal(*written, bytes);
}

void require_all_kept(const PlainInput& input, Datum value, ByteView bytes, ByteView back) {
    if (!std::ranges::equal(back, bytes) && !is_its_text(input, value, bytes)) {
        ereport(
            ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
             errmsg("an opened value would not come back as it was from type %s",
                    format_type_with_typemod(input.type, input.typmod)),
             errhint(
                 "text and bytea keep all of it: ALTER TABLE ... ALTER COLUMN ... TYPE ... USING "
                 "converts it after the switch.")));
    }
}

// As the input of a domain over bytea reads it.
const char* hex_input_of(ByteView bytes) {
    const std::size_t length = 2 + 2 * bytes.size();
    auto* text = static_cast<char*>(palloc_extended(length + 1, MCXT_ALLOC_HUGE));
    text[0] = '\\';
    text[1] = 'x';
    write_hex(bytes, text + 2);
    text[length] = '\0';
    return text;
}

PlainInput prepare(Oid type, std::int32_t typmod) {
    PlainInput input = {
        .type = type, .typmod = typmod, .parameter = InvalidOid, .function = {}, .back = {}};
    if (input.type != BYTEAOID) {
        Oid function = InvalidOid;
        getTypeInputInfo(input.type, &function, &input.parameter);
        fmgr_info(function, &input.function);
        input.back = prepare_values(input.type, input.typmod);
    }
    return input;
}

}  // namespace

PlainInput prepare_input(Relation table, AttrNumber attribute) {
    const FormData_pg_attribute& column = *TupleDescAttr(RelationGetDescr(table), attribute - 1);
    return prepare(column.atttypid, column.atttypmod);
}

PlainInput prepare_input(Oid type) {
    return prepare(type, -1);
}

Datum value_of_bytes(PlainInput& input, ByteView bytes) {
    if (input.type == BYTEAOID) {
        return bytes_datum(bytes);
    }
    return with_lasting_text(input.back.depends_on, [&] {
        ByteView back;
        const Datum value = value_of_text(input, bytes, &back);
        require_all_kept(input, value, bytes, back);
        return value;
    });
}

Datum value_as(PlainInput& input, ByteView bytes) {
    if (input.type == BYTEAOID) {
        return bytes_datum(bytes);
    }
    if (getBaseType(input.type) == BYTEAOID) {
        return value_of_text(input, bytes_of(hex_input_of(bytes)), nullptr);
    }
    return with_lasting_text(input.back.depends_on,
                             [&] { return value_of_text(input, bytes, nullptr); });
}

}  // namespace kms::pg
