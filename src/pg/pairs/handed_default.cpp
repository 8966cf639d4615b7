#include "pg/pairs/handed_default.hpp"

#include <algorithm>

#include "pg/contexts/row_values.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

// Of the column or of its type, but not an identity's; nullptr: none, or NULL.
Node* default_of(Relation table, AttrNumber attribute) {
    const FormData_pg_attribute& column = *TupleDescAttr(RelationGetDescr(table), attribute - 1);
    if (column.attidentity != '\0' || column.attgenerated != '\0') {
        return nullptr;
    }
    Node* node = build_column_default(table, attribute);
    const bool is_null =
        node != nullptr && IsA(node, Const) && reinterpret_cast<const Const*>(node)->constisnull;
    return is_null ? nullptr : node;
}

Node* constant(Oid type, Datum value) {
    const Oid collation = type == TEXTOID ? DEFAULT_COLLATION_OID : InvalidOid;
    return reinterpret_cast<Node*>(makeConst(type, -1, collation, -1, value, false, false));
}

// People read it as text, where it is one in any encoding.
Node* constant_of(ByteView bytes) {
    const bool is_printable =
        std::ranges::all_of(bytes, [](Byte byte) { return byte >= ' ' && byte <= '~'; });
    return constant(is_printable ? TEXTOID : BYTEAOID, bytes_datum(bytes));
}

// A cast that nobody has written is not printed under one that is: a dump would be without it. The
// cast and its argument are found in the node's own members.
template <typename Cast>
Node* made_explicit(Cast* cast, CoercionForm Cast::*form) {
    const bool is_implicit = cast->*form == COERCE_IMPLICIT_CAST;
    cast->*form = is_implicit ? COERCE_EXPLICIT_CAST : cast->*form;
    return is_implicit ? reinterpret_cast<Node*>(cast->arg) : nullptr;
}

// False where one means something else when it is written: what is too long is cut then.
bool make_casts_explicit(Node* node) {
    while (node != nullptr) {
        if (IsA(node, FuncExpr)) {
            auto* call = reinterpret_cast<FuncExpr*>(node);
            if (call->funcformat != COERCE_IMPLICIT_CAST) {
                return true;
            }
            if (list_length(call->args) > 2) {
                return false;
            }
            call->funcformat = COERCE_EXPLICIT_CAST;
            node = static_cast<Node*>(linitial(call->args));
        } else if (IsA(node, RelabelType)) {
            node = made_explicit(reinterpret_cast<RelabelType*>(node), &RelabelType::relabelformat);
        } else if (IsA(node, CoerceViaIO)) {
            node = made_explicit(reinterpret_cast<CoerceViaIO*>(node), &CoerceViaIO::coerceformat);
        } else if (IsA(node, CoerceToDomain)) {
            node = made_explicit(reinterpret_cast<CoerceToDomain*>(node),
                                 &CoerceToDomain::coercionformat);
        } else {
            return !IsA(node, ArrayCoerceExpr) ||
                   reinterpret_cast<ArrayCoerceExpr*>(node)->coerceformat != COERCE_IMPLICIT_CAST;
        }
    }
    return true;
}

bool is_same_as_text(Relation table, AttrNumber attribute, Node* value) {
    return prepare_row_values(table, attribute, {}).value.depends_on == TextDependsOn::nothing &&
           !is_sealed_as_dumped(value) && make_casts_explicit(value);
}

// What is sealed of the value in every session, also in one that reads a dump: bytea or text;
// nullptr: there is none.
Node* canonical(Relation table, AttrNumber attribute, Node* value) {
    if (is_same_as_text(table, attribute, value)) {
        return as_bytes(value);
    }
    Node* folded = eval_const_expressions(nullptr, value);
    if (!IsA(folded, Const)) {
        return nullptr;
    }
    const auto bytes = bytes_of_row(prepare_expression(folded), nullptr);
    return bytes ? constant_of(*bytes) : nullptr;
}

Node* sealing(Node* key, Node* value) {
    const char* signature =
        psprintf("kms.encode_with(%s, %s, pg_catalog.bytea)", format_type_be(exprType(key)),
                 format_type_be(exprType(value)));
    const Oid function =
        DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(signature)));
    List* arguments = list_make3(key, value, constant(BYTEAOID, bytes_datum({})));
    return reinterpret_cast<Node*>(makeFuncExpr(function, BYTEAOID, arguments, InvalidOid,
                                                DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL));
}

}  // namespace

const char* deparsed(Node* expression) {
    const int level = fix_search_path();
    const char* text = deparse_expression(expression, NIL, false, false);
    AtEOXact_GUC(false, level);
    return text;
}

HandedDefault handed_default(const Pair& pair, Relation table, AttrNumber from) {
    Node* value = default_of(table, from);
    if (value == nullptr) {
        return {false, nullptr, nullptr};
    }
    if (pair.opens) {
        return {true, nullptr, "it is sealed"};
    }
    if (pair.sealed_as.key_expression != nullptr) {
        return {true, nullptr, "each row names its key"};
    }
    if (pair.sealed_as.context_expression != nullptr) {
        return {true, nullptr, "the context depends on the row"};
    }
    Node* bytes = nullptr;
    run_owners_code(owner_of(pair.relation), [&] { bytes = canonical(table, from, value); });
    if (bytes == nullptr) {
        return {true, nullptr, "its text depends on settings, or on the column's type"};
    }
    return {true, sealing(constant_of(pair.sealed_as.key_identifier), bytes), nullptr};
}

}  // namespace kms::pg
