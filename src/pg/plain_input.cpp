#include "pg/plain_input.hpp"

#include "pg/text_settings.hpp"

namespace kms::pg {
namespace {

void require_text(ByteView bytes) {
    const std::string_view text = text_of(bytes);
    if (!pg_verify_mbstr(GetDatabaseEncoding(), text.data(), static_cast<int>(text.size()), true)) {
        ereport(ERROR, (errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
                        errmsg("an opened value is not text in the database's encoding"),
                        errhint("Take bytea for the new column's type.")));
    }
}

bool is_about_the_value(int sqlstate) {
    const int category = ERRCODE_TO_CATEGORY(sqlstate);
    return category == ERRCODE_DATA_EXCEPTION || category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION;
}

// 0, or the SQLSTATE with which the input has refused the text.
int try_input(PlainInput& input, char* text, Datum& value) {
    MemoryContext caller = CurrentMemoryContext;
    volatile int sqlstate = 0;
    PG_TRY()
        ;
        { value = InputFunctionCall(&input.function, text, input.parameter, input.typmod); }
        PG_CATCH();
        {
            sqlstate = geterrcode();
            if (!is_about_the_value(sqlstate)) {
                PG_RE_THROW();
            }
            MemoryContextSwitchTo(caller);
            FlushErrorState();
        }
    PG_END_TRY();
    return sqlstate;
}

Datum value_of_text(PlainInput& input, ByteView bytes) {
    require_text(bytes);
    const std::string_view text = text_of(bytes);
    Datum value = 0;
    const int sqlstate = try_input(input, pnstrdup(text.data(), text.size()), value);
    if (sqlstate != 0) {
        ereport(ERROR,
                (errcode(sqlstate), errmsg("an opened value is no value of type %s",
                                           format_type_with_typemod(input.type, input.typmod))));
    }
    return value;
}

}  // namespace

PlainInput prepare_input(Relation table, AttrNumber attribute) {
    const FormData_pg_attribute& column = *TupleDescAttr(RelationGetDescr(table), attribute - 1);
    PlainInput input = {.type = column.atttypid,
                        .typmod = column.atttypmod,
                        .parameter = InvalidOid,
                        .text_depends = false,
                        .function = {}};
    if (input.type != BYTEAOID) {
        Oid function = InvalidOid;
        getTypeInputInfo(input.type, &function, &input.parameter);
        fmgr_info(function, &input.function);
        input.text_depends = func_volatile(function) != PROVOLATILE_IMMUTABLE;
    }
    return input;
}

Datum value_of_bytes(PlainInput& input, ByteView bytes) {
    if (input.type == BYTEAOID) {
        return bytes_datum(bytes);
    }
    if (!input.text_depends) {
        return value_of_text(input, bytes);
    }
    const int level = fix_text_settings();
    const Datum value = value_of_text(input, bytes);
    AtEOXact_GUC(false, level);
    return value;
}

}  // namespace kms::pg
