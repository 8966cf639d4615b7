#include "pg/contexts/context_owners.hpp"

#include "pg/tables/type_parts.hpp"

namespace kms::pg {
namespace {

// What has an owner: in which catalog, and how it is called.
struct Kind {
    CacheNumber catalog;
    AttrNumber owner;
    const char* name;
    const char* in_alter;
    const char* (*shown)(Oid number);
};

// A number where it was dropped meanwhile.
const char* shown_collation(Oid number) {
    const char* name = get_collation_name(number);
    return name != nullptr ? quote_identifier(name) : psprintf("%u", number);
}

constexpr Kind function_kind = {PROCOID, Anum_pg_proc_proowner, "function", "FUNCTION",
                                [](Oid number) -> const char* { return format_procedure(number); }};
constexpr Kind operator_kind = {OPEROID, Anum_pg_operator_oprowner, "operator", "OPERATOR",
                                [](Oid number) -> const char* { return format_operator(number); }};
constexpr Kind collation_kind = {COLLOID, Anum_pg_collation_collowner, "collation", "COLLATION",
                                 shown_collation};
constexpr Kind type_kind = {TYPEOID, Anum_pg_type_typowner, "type", "TYPE",
                            [](Oid number) -> const char* { return format_type_be(number); }};

// InvalidOid where it was dropped meanwhile: what uses it says so.
Oid author_of(const Kind& kind, Oid number) {
    HeapTuple row = SearchSysCache1(kind.catalog, ObjectIdGetDatum(number));
    if (!HeapTupleIsValid(row)) {
        return InvalidOid;
    }
    bool is_null = false;
    const Oid author = DatumGetObjectId(SysCacheGetAttr(kind.catalog, row, kind.owner, &is_null));
    ReleaseSysCache(row);
    return author;
}

// Who has the privileges of `owner` could run anything as `owner` without it.
void require_owned(const Kind& kind, Oid number, Oid owner) {
    const Oid author = author_of(kind, number);
    if (!OidIsValid(author) || has_privs_of_role(author, owner)) {
        return;
    }
    ereport(ERROR,
            (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
             errmsg("a registered expression uses the %s %s, which is not its table's owner's",
                    kind.name, kind.shown(number)),
             errdetail("It belongs to \"%s\", who could make it run anything in the name of "
                       "\"%s\".",
                       GetUserNameFromId(author, true), GetUserNameFromId(owner, true)),
             errhint("Give it to the table's owner, or to a superuser, by ALTER %s ... OWNER TO.",
                     kind.in_alter)));
}

// With all that values of the type are made of: each of it may be a domain that checks. Of an array
// it is the element that has an owner.
void require_owned_type(Oid type, Oid owner) {
    if (type < FirstNormalObjectId) {
        return;
    }
    TypeBound bound;
    const List* parts = types_in(type, bound);
    if (bound.is_reached()) {
        ereport(ERROR,
                (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                 errmsg("a registered expression uses the type %s, which is made of more than "
                        "is looked at",
                        format_type_be(type))));
    }
    for (int i = 0; i < list_length(parts); ++i) {
        const Oid part = list_nth_oid(parts, i);
        if (!OidIsValid(get_element_type(part))) {
            require_owned(type_kind, part, owner);
        }
    }
}

// --- as it is written

// 42704 where there is none.
void require_owned_name(TypeName* name, Oid owner) {
    const Oid type = typenameTypeId(nullptr, name);
    require_owned_type(type, owner);
    name->names = NIL;
    name->typeOid = type;
}

// A cast may be written as a call. What is one, and what only has the name of a type, is seen when
// it is read.
void require_owned_if_type(List* called, Oid owner) {
    require_owned_type(LookupTypeNameOid(nullptr, makeTypeNameFromNameList(called), true), owner);
}

bool names_type_of_other(Node* node, void* owner) {
    if (node == nullptr) {
        return false;
    }
    if (IsA(node, TypeName)) {
        require_owned_name(reinterpret_cast<TypeName*>(node), *static_cast<Oid*>(owner));
    }
    if (IsA(node, FuncCall)) {
        require_owned_if_type(reinterpret_cast<FuncCall*>(node)->funcname,
                              *static_cast<Oid*>(owner));
    }
    return walk_raw(node, names_type_of_other, owner);
}

// --- as it is read

bool is_of_other(Oid function, void* owner) {
    require_owned(function_kind, function, *static_cast<Oid*>(owner));
    return false;
}

void require_owned_names(Node* node, Oid owner) {
    if (IsA(node, OpExpr) || IsA(node, DistinctExpr) || IsA(node, NullIfExpr)) {
        require_owned(operator_kind, reinterpret_cast<OpExpr*>(node)->opno, owner);
    } else if (IsA(node, ScalarArrayOpExpr)) {
        require_owned(operator_kind, reinterpret_cast<ScalarArrayOpExpr*>(node)->opno, owner);
    } else if (IsA(node, RowCompareExpr)) {
        const List* operators = reinterpret_cast<RowCompareExpr*>(node)->opnos;
        for (int i = 0; i < list_length(operators); ++i) {
            require_owned(operator_kind, list_nth_oid(operators, i), owner);
        }
    } else if (IsA(node, CollateExpr)) {
        require_owned(collation_kind, reinterpret_cast<CollateExpr*>(node)->collOid, owner);
    }
}

// The column of a table is of a type that stays.
bool runs_code_of_other(Node* node, void* owner) {
    if (node == nullptr) {
        return false;
    }
    if (!IsA(node, List)) {
        (void)check_functions_in_node(node, is_of_other, owner);
        require_owned_names(node, *static_cast<Oid*>(owner));
        if (!IsA(node, Var)) {
            require_owned_type(exprType(node), *static_cast<Oid*>(owner));
        }
    }
    return walk_expression(node, runs_code_of_other, owner);
}

}  // namespace

void require_owned_types(Node* raw, Oid owner) {
    (void)names_type_of_other(raw, &owner);
}

void require_owned_code(Node* node, Oid owner) {
    (void)runs_code_of_other(node, &owner);
}

}  // namespace kms::pg
