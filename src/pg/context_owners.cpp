#include "pg/context_owners.hpp"

#include "pg/context_type.hpp"

namespace kms::pg {
namespace {

// `author` could run anything as `owner` without it.
void require_owned(Oid author, Oid owner, const char* what, const char* kind) {
    if (has_privs_of_role(author, owner)) {
        return;
    }
    ereport(ERROR,
            (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
             errmsg("a context expression uses %s, which is not its table's owner's", what),
             errdetail("It belongs to \"%s\", who could make it run anything in the name of "
                       "\"%s\".",
                       GetUserNameFromId(author, true), GetUserNameFromId(owner, true)),
             errhint("Give it to the table's owner, or to a superuser, by ALTER %s ... OWNER TO.",
                     kind)));
}

void require_owned_operator(Oid number, Oid owner) {
    HeapTuple row = SearchSysCache1(OPEROID, ObjectIdGetDatum(number));
    if (!HeapTupleIsValid(row)) {
        return;  // dropped meanwhile: what calls it says so
    }
    const Oid author = reinterpret_cast<Form_pg_operator>(GETSTRUCT(row))->oprowner;
    ReleaseSysCache(row);
    require_owned(author, owner, psprintf("the operator %s", format_operator(number)), "OPERATOR");
}

void require_owned_collation(Oid number, Oid owner) {
    HeapTuple row = SearchSysCache1(COLLOID, ObjectIdGetDatum(number));
    if (!HeapTupleIsValid(row)) {
        return;
    }
    const auto& form = *reinterpret_cast<Form_pg_collation>(GETSTRUCT(row));
    const Oid author = form.collowner;
    const char* name = pstrdup(NameStr(form.collname));
    ReleaseSysCache(row);
    require_owned(author, owner, psprintf("the collation %s", quote_identifier(name)), "COLLATION");
}

void require_owned_function(Oid number, Oid owner) {
    HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(number));
    if (!HeapTupleIsValid(row)) {
        return;
    }
    const Oid author = reinterpret_cast<Form_pg_proc>(GETSTRUCT(row))->proowner;
    ReleaseSysCache(row);
    require_owned(author, owner, psprintf("the function %s", format_procedure(number)), "FUNCTION");
}

// With all that values of the type are made of: each of it may be a domain that checks.
void require_owned_type(Oid type, Oid owner) {
    if (type < FirstNormalObjectId) {
        return;
    }
    TypeBound bound;
    if (has_too_many_parts(type, bound)) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("a context expression uses the type %s, which is made of more than "
                               "is looked at",
                               format_type_be(type))));
    }
    const List* parts = types_in(type);
    for (int i = 0; i < list_length(parts); ++i) {
        const Oid part = list_nth_oid(parts, i);
        HeapTuple row = SearchSysCache1(TYPEOID, ObjectIdGetDatum(part));
        if (!HeapTupleIsValid(row)) {
            continue;
        }
        const auto& form = *reinterpret_cast<Form_pg_type>(GETSTRUCT(row));
        const Oid author =
            IsTrueArrayType(&form) ? owner : form.typowner;  // its element is one too
        ReleaseSysCache(row);
        require_owned(author, owner, psprintf("the type %s", format_type_be(part)), "TYPE");
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
    HeapTuple row = LookupTypeName(nullptr, makeTypeNameFromNameList(called), nullptr, true);
    if (HeapTupleIsValid(row)) {
        const Oid type = reinterpret_cast<Form_pg_type>(GETSTRUCT(row))->oid;
        ReleaseSysCache(row);
        require_owned_type(type, owner);
    }
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
    require_owned_function(function, *static_cast<Oid*>(owner));
    return false;
}

void require_owned_names(Node* node, Oid owner) {
    if (IsA(node, OpExpr) || IsA(node, DistinctExpr) || IsA(node, NullIfExpr)) {
        require_owned_operator(reinterpret_cast<OpExpr*>(node)->opno, owner);
    } else if (IsA(node, ScalarArrayOpExpr)) {
        require_owned_operator(reinterpret_cast<ScalarArrayOpExpr*>(node)->opno, owner);
    } else if (IsA(node, RowCompareExpr)) {
        const List* operators = reinterpret_cast<RowCompareExpr*>(node)->opnos;
        for (int i = 0; i < list_length(operators); ++i) {
            require_owned_operator(list_nth_oid(operators, i), owner);
        }
    } else if (IsA(node, CollateExpr)) {
        require_owned_collation(reinterpret_cast<CollateExpr*>(node)->collOid, owner);
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
