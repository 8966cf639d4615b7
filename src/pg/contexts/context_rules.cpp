#include "pg/contexts/context_rules.hpp"

#include "pg/server/arguments.hpp"
#include "pg/tables/type_parts.hpp"

namespace kms::pg {
namespace {

// Whether the text of all its values is free of backslashes.
bool has_plain_text(Oid type) {
    switch (getBaseType(type)) {
        case BOOLOID:
        case INT2OID:
        case INT4OID:
        case INT8OID:
        case NUMERICOID:
        case OIDOID:
        case UUIDOID:
            return true;
        default:
            return false;
    }
}

// A constant is one value; what is cast to text may be of a type that has no backslash.
bool is_plain_text(Node* node) {
    if (IsA(node, RelabelType)) {
        return is_plain_text(reinterpret_cast<Node*>(reinterpret_cast<RelabelType*>(node)->arg));
    }
    if (IsA(node, CoerceViaIO)) {
        const auto* cast = reinterpret_cast<CoerceViaIO*>(node);
        return has_plain_text(exprType(reinterpret_cast<Node*>(cast->arg)));
    }
    if (IsA(node, FuncExpr)) {
        const auto* cast = reinterpret_cast<FuncExpr*>(node);
        return cast->funcformat == COERCE_EXPLICIT_CAST &&
               has_plain_text(exprType(static_cast<Node*>(linitial(cast->args))));
    }
    return IsA(node, Const);
}

// bytea's input takes a backslash for the beginning of another byte: different texts, one context.
bool reads_escapes(Node* node, void* context) {
    if (node == nullptr) {
        return false;
    }
    if (IsA(node, CoerceViaIO)) {
        const auto* cast = reinterpret_cast<CoerceViaIO*>(node);
        if (is_made_of(cast->resulttype, BYTEAOID) &&
            !is_plain_text(reinterpret_cast<Node*>(cast->arg))) {
            return true;
        }
    }
    return walk_expression(node, reads_escapes, context);
}

// Of a key that is text, what becomes bytes: the encoding that it gets is no constant to a planner.
Node* text_of_key(Node* plan) {
    const auto* call = IsA(plan, FuncExpr) ? reinterpret_cast<FuncExpr*>(plan) : nullptr;
    return call != nullptr && call->funcid == F_CONVERT_TO
               ? static_cast<Node*>(linitial(call->args))
               : plan;
}

}  // namespace

Bitmapset* columns_in(Node* node) {
    Bitmapset* columns = nullptr;
    pull_varattnos(node, 1, &columns);
    return columns;
}

void require_other_columns(Node* node, AttrNumber attribute) {
    const Bitmapset* columns = columns_in(node);
    for (int member = bms_next_member(columns, -1); member >= 0;
         member = bms_next_member(columns, member)) {
        const int column = member + FirstLowInvalidHeapAttributeNumber;
        if (column <= 0 || column == attribute) {
            ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                            errmsg("a registered expression is over other columns than %s",
                                   column < 0    ? "the system's"
                                   : column == 0 ? "the whole row"
                                                 : "the sealed one itself")));
        }
    }
}

void require_distinct_bytes(Node* node) {
    if (reads_escapes(node, nullptr)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("a registered expression casts no text to bytea"),
                        errdetail("The cast reads a backslash as the beginning of another byte: "
                                  "different texts would give one context."),
                        errhint("%s", how_to_make_bytes)));
    }
}

void require_usable_constant(Node* plan, void (*check)(ByteView)) {
    Node* made = text_of_key(plan);
    if (!IsA(made, Const)) {
        return;
    }
    const auto* constant = reinterpret_cast<Const*>(made);
    if (constant->constisnull) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("a registered expression is NULL for no row, and this one for all"),
                        errhint("Leave out what is to be the empty context; a key has a name.")));
    }
    check(bytes_of_datum(constant->constvalue));
}

void require_short(const char* stored) {
    constexpr std::size_t most_bytes = 8192;
    if (strlen(stored) > most_bytes) {
        ereport(ERROR,
                (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                 errmsg("a registered expression has at most %zu bytes, and this one has %zu",
                        most_bytes, strlen(stored)),
                 errhint("Put what it does into a function.")));
    }
}

void require_few_columns(Node* node) {
    constexpr int most_columns = 32;
    const Bitmapset* columns = columns_in(node);
    if (bms_num_members(columns) > most_columns) {
        ereport(ERROR, (errcode(ERRCODE_TOO_MANY_COLUMNS),
                        errmsg("a registered expression uses at most %d columns, and this one %d",
                               most_columns, bms_num_members(columns))));
    }
}

// Whoever reads a row's own bytes finds NULL in the place of such a column.
void require_stored_columns(Relation table, Node* node) {
    constexpr char is_virtual = 'v';  // from PostgreSQL 18 on
    for_each_column(table, columns_in(node), [&](const FormData_pg_attribute& column) {
        if (column.attgenerated == is_virtual) {
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("a registered expression is over columns that are stored, and "
                                   "\"%s\" is a virtual generated column",
                                   NameStr(column.attname)),
                            errhint("Take the columns that it is generated from.")));
        }
    });
}

void require_small_types(Relation table, Node* node) {
    TypeBound bound;
    for_each_column(table, columns_in(node), [&](const FormData_pg_attribute& column) {
        (void)types_in(column.atttypid, bound);
        if (bound.is_reached()) {
            ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                            errmsg("the columns that a registered expression uses are made of a "
                                   "hundred types, or attributes, or more"),
                            errdetail("Column \"%s\" of type %s is the one too many.",
                                      NameStr(column.attname), format_type_be(column.atttypid)),
                            errhint("Use fewer columns, or put the parts that matter into columns "
                                    "of their own.")));
        }
    });
}

}  // namespace kms::pg
