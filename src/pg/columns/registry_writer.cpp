#include "pg/columns/registry_writer.hpp"

#include "pg/tables/owner.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

[[noreturn]] void raise_changed(const char* name) {
    ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                    errmsg("the registration of %s has changed meanwhile", name),
                    errhint("Call it again.")));
    pg_unreachable();
}

constexpr const char* is_as_read = "id = $1 AND ctid = $2 AND xmin = $3";

// Of a statement, in order.
struct Parameters {
    static constexpr int most = 9;

    int count;
    Oid types[most];
    Datum values[most];
    char nulls[most + 1];

    void add(Oid type, Datum value, bool is_null = false) {
        types[count] = type;
        values[count] = value;
        nulls[count++] = is_null ? 'n' : ' ';
    }

    void add_name(const char* name) { add(NAMEOID, name_datum(name)); }

    void add_text(const char* text) {
        add(TEXTOID, text != nullptr ? text_datum(text) : Datum{0}, text == nullptr);
    }

    void add_identifier(ByteView identifier) {
        add(BYTEAOID, bytes_datum(identifier), identifier.empty());
    }

    // As `is_as_read` has them.
    void add_version(const RegisteredColumn& column) {
        add(UUIDOID, UUIDPGetDatum(&column.id));
        add(TIDOID, PointerGetDatum(&column.version.place));
        add(XIDOID, TransactionIdGetDatum(column.version.writer));
    }
};

// The number of rows.
std::uint64_t change(const char* statement, Parameters& parameters) {
    return change_as_owner({.table = registered_column_table(),
                            .statement = statement,
                            .parameters = parameters.count,
                            .types = parameters.types,
                            .values = parameters.values,
                            .nulls = parameters.nulls});
}

void change_one(const RegisteredColumn& column, const char* statement, Parameters& parameters) {
    if (change(statement, parameters) != 1) {
        raise_changed(full_name(column));
    }
}

// Its expressions are stored with the names of today, of columns that are then noted by them.
void require_unchanged(const RegisteredColumn& column) {
    LockRelationOid(column.relation, AccessShareLock);
    const RegisteredColumn* again = find_registration(column.relation, column.attribute);
    if (again == nullptr || !is_same(*again, column)) {
        raise_changed(full_name(column));
    }
}

}  // namespace

void add_registration(Relation table, AttrNumber attribute, const SealedAs& sealed_as) {
    const Oid relation = RelationGetRelid(table);
    const char* name = get_attname(relation, attribute, false);
    Parameters parameters = {};
    parameters.add_name(schema_name(table));
    parameters.add_name(RelationGetRelationName(table));
    parameters.add_name(name);
    parameters.add_identifier(sealed_as.key_identifier);
    parameters.add_text(sealed_as.key_expression);
    parameters.add_text(sealed_as.context_expression);
    (void)change(
        "INSERT INTO kms.registered_column (relation_schema, relation_name, column_name,"
        " key_identifier, key_expression, context_expression) VALUES ($1, $2, $3, $4, $5, $6)",
        parameters);
    const RegisteredColumn* column = find_registration(relation, attribute);
    if (column == nullptr || column->place != relation ||
        !TransactionIdIsCurrentTransactionId(column->version.writer)) {
        raise_changed(quote_identifier(name));
    }
}

void change_registration(const RegisteredColumn& column, const SealedAs& now, const SealedAs& was,
                         bool is_moving) {
    require_unchanged(column);
    Parameters parameters = {};
    parameters.add_version(column);
    parameters.add_identifier(now.key_identifier);
    parameters.add_text(now.context_expression);
    parameters.add_identifier(was.key_identifier);
    parameters.add_text(was.context_expression);
    parameters.add(BOOLOID, BoolGetDatum(is_moving));
    change_one(column,
               psprintf("UPDATE kms.registered_column SET key_identifier = $4,"
                        " context_expression = $5, was_key_identifier = $6,"
                        " was_context_expression = $7, is_moving = $8 WHERE %s",
                        is_as_read),
               parameters);
}

void remove_registration(const RegisteredColumn& column) {
    Parameters parameters = {};
    parameters.add_version(column);
    change_one(column, psprintf("DELETE FROM kms.registered_column WHERE %s", is_as_read),
               parameters);
}

}  // namespace kms::pg
