// What the expression of a context names, and what its values are given to.
#include "pg/contexts/exact_names.hpp"

#include <algorithm>

#include "pg/tables/type_parts.hpp"

namespace kms::pg {
namespace {

[[noreturn]] void refuse(const char* what, const char* detail, const char* hint) {
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("a registered expression %s", what),
             errdetail("%s", detail), hint != nullptr ? errhint("%s", hint) : 0));
    pg_unreachable();
}

// --- names that find another

bool takes_as_declared(const FuncExpr& call, const FormData_pg_proc& function) {
    bool is_exact =
        function.provariadic == InvalidOid && function.pronargs == list_length(call.args);
    for (int i = 0; is_exact && i < function.pronargs; ++i) {
        Node* argument = static_cast<Node*>(list_nth(call.args, i));
        is_exact =
            !IsA(argument, NamedArgExpr) && exprType(argument) == function.proargtypes.values[i];
    }
    return is_exact;
}

// Users' code runs while an expression is read and planned, and may drop what it names.
HeapTuple require_row(CacheNumber cache, Oid number, const char* kind) {
    HeapTuple row = SearchSysCache1(cache, ObjectIdGetDatum(number));
    if (!HeapTupleIsValid(row)) {
        ereport(
            ERROR,
            (errcode(ERRCODE_UNDEFINED_FUNCTION),
             errmsg("%s that a registered expression names was dropped while it was read", kind),
             errdetail("What runs while it is read, the CHECK of a domain or an IMMUTABLE "
                       "function, must leave alone what it names.")));
    }
    return row;
}

// A cast is stored without its function: whoever owns one of the types may make another, or the
// first, and what was text by the type's output would be text by that.
void require_built_in_cast(const FuncExpr& call) {
    if (call.funcformat != COERCE_EXPLICIT_CALL && call.funcid >= FirstNormalObjectId) {
        refuse("uses no cast that somebody has made",
               psprintf("The cast is by %s.", format_procedure(call.funcid)),
               "Call the function by its name.");
    }
}

bool is_named_exactly(const FuncExpr& call) {
    require_built_in_cast(call);
    if (call.funcformat != COERCE_EXPLICIT_CALL) {
        return true;
    }
    HeapTuple row = require_row(PROCOID, call.funcid, "a function");
    const auto& function = *reinterpret_cast<Form_pg_proc>(GETSTRUCT(row));
    const bool is_exact =
        function.pronamespace == PG_CATALOG_NAMESPACE || takes_as_declared(call, function);
    ReleaseSysCache(row);
    return is_exact;
}

bool is_named_exactly(Oid number, const List* arguments) {
    HeapTuple row = require_row(OPEROID, number, "an operator");
    const auto& op = *reinterpret_cast<Form_pg_operator>(GETSTRUCT(row));
    const bool is_exact = op.oprnamespace == PG_CATALOG_NAMESPACE ||
                          (list_length(arguments) == 2 &&
                           exprType(static_cast<Node*>(linitial(arguments))) == op.oprleft &&
                           exprType(static_cast<Node*>(lsecond(arguments))) == op.oprright);
    ReleaseSysCache(row);
    return is_exact;
}

bool is_named_exactly(Node* node) {
    if (IsA(node, FuncExpr)) {
        return is_named_exactly(*reinterpret_cast<FuncExpr*>(node));
    }
    if (IsA(node, OpExpr) || IsA(node, DistinctExpr) || IsA(node, NullIfExpr)) {
        const auto& call = *reinterpret_cast<OpExpr*>(node);
        return is_named_exactly(call.opno, call.args);
    }
    return !IsA(node, ScalarArrayOpExpr) ||
           is_named_exactly(reinterpret_cast<ScalarArrayOpExpr*>(node)->opno, NIL);
}

// --- functions that look up what a type has

// Arrays and ranges of users' types are users' own. A row may have anything in it.
bool is_users_type(Oid type) {
    const Oid base = getBaseType(type);
    return base >= FirstNormalObjectId || base == RECORDOID || base == RECORDARRAYOID;
}

bool is_given_users_type(Node* call, void* /*context*/) {
    return is_users_type(exprType(call));
}

// Any type but enums: what takes those compares them.
bool is_any_type(Oid declared) {
    return declared != ANYENUMOID && get_typtype(declared) == TYPTYPE_PSEUDO;
}

bool takes_any_type(Oid called) {
    Oid* declared = nullptr;
    int count = 0;
    (void)get_func_signature(called, &declared, &count);
    return std::any_of(declared, declared + count, is_any_type);
}

Oid called_by(Node* node) {
    if (IsA(node, FuncExpr)) {
        return reinterpret_cast<FuncExpr*>(node)->funcid;
    }
    return IsA(node, OpExpr) ? get_opcode(reinterpret_cast<OpExpr*>(node)->opno) : InvalidOid;
}

// quote_literal() and || cast to text, to_json() to json, as they run: whoever owns the type may
// make such a cast.
void require_no_lookup(Node* node) {
    const Oid called = called_by(node);
    if (called != InvalidOid && takes_any_type(called) &&
        walk_expression(node, is_given_users_type, nullptr)) {
        refuse(
            "gives no value of a user's type, or row, to what takes any type",
            "It looks up casts of the type as it runs, and whoever owns the type may make others.",
            "Cast the value to text first.");
    }
}

void require_no_sql_json(Node* node) {
    if (is_sql_json(node)) {
        refuse("has no SQL/JSON", "It looks up casts as it runs.", "Call the functions of jsonb.");
    }
}

// --- what one session has

bool is_temporary_type(Oid type) {
    HeapTuple row = require_row(TYPEOID, type, "a type");
    const Oid schema = reinterpret_cast<Form_pg_type>(GETSTRUCT(row))->typnamespace;
    ReleaseSysCache(row);
    return isAnyTempNamespace(schema);
}

void require_for_all_sessions(Node* node) {
    const Oid called = called_by(node);
    if (is_temporary_type(exprType(node)) ||
        (called != InvalidOid && isAnyTempNamespace(get_func_namespace(called)))) {
        refuse("names nothing temporary", "Other sessions do not have it, or have another.",
               nullptr);
    }
}

// --- what has a name inside of a value, which goes with the name

void require_nothing_named(Node* node) {
    if (names_something(exprType(node))) {
        refuse("has nothing of the types regclass, regtype and their like",
               "They stand for what has a name, and change with it.",
               "Write the name itself, as text, or another one that lasts.");
    }
}

bool is_named_loosely(Node* node, void* context) {
    if (node == nullptr) {
        return false;
    }
    if (IsA(node, List)) {
        return walk_expression(node, is_named_loosely, context);
    }
    require_no_sql_json(node);
    require_for_all_sessions(node);
    require_nothing_named(node);
    if (!is_named_exactly(node)) {
        return true;
    }
    require_no_lookup(node);
    return walk_expression(node, is_named_loosely, context);
}

}  // namespace

void require_exact_names(Node* node) {
    if (is_named_loosely(node, nullptr)) {
        refuse("calls functions and operators with arguments of the types that they declare",
               "Another of the same name could take the place of one that takes any type, a "
               "variable number of arguments, or some by default.",
               "Call a function that declares what it is given.");
    }
}

}  // namespace kms::pg
