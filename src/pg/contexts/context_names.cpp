#include "pg/contexts/context_names.hpp"

#include <algorithm>

#include "pg/server/collected.hpp"

namespace kms::pg {
namespace {

bool is_star(const Node* node) {
    return IsA(node, ColumnRef) &&
           IsA(llast(reinterpret_cast<const ColumnRef*>(node)->fields), A_Star);
}

bool is_one_expression(const SelectStmt* query) {
    const bool plain = query->distinctClause == NIL && query->intoClause == nullptr &&
                       query->fromClause == NIL && query->whereClause == nullptr &&
                       query->groupClause == NIL && query->havingClause == nullptr &&
                       query->windowClause == NIL && query->sortClause == NIL &&
                       query->limitOffset == nullptr && query->limitCount == nullptr &&
                       query->lockingClause == NIL && list_length(query->targetList) == 1;
    if (!plain) {
        return false;
    }
    const auto* target = static_cast<const ResTarget*>(linitial(query->targetList));
    return target->name == nullptr && !is_star(target->val);
}

// --- columns

// Into a List of ColumnRef.
bool collect_columns(Node* node, void* found) {
    if (node == nullptr) {
        return false;
    }
    if (IsA(node, ColumnRef)) {
        auto** references = static_cast<List**>(found);
        *references = is_star(node) ? *references : lappend(*references, node);
        return false;
    }
    return walk_raw(node, collect_columns, found);
}

int by_location(const ListCell* left, const ListCell* right) {
    return static_cast<const ColumnRef*>(lfirst(left))->location -
           static_cast<const ColumnRef*>(lfirst(right))->location;
}

List* columns_of(Node* tree) {
    List* references = NIL;
    (void)collect_columns(tree, &references);
    list_sort(references, by_location);
    return references;
}

const char* column_name(const ColumnRef* reference) {
    return strVal(llast(reference->fields));
}

const char* new_name_of(const ColumnRef* reference, std::span<const RenamedColumn> columns) {
    for (const RenamedColumn& column : columns) {
        if (strcmp(column.old_name, column_name(reference)) == 0) {
            return column.new_name;
        }
    }
    return nullptr;
}

// --- places of names in the text

[[noreturn]] void raise_not_found(const char* name) {
    ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
                    errmsg("the name \"%s\" was not found where it should stand", name)));
    pg_unreachable();
}

bool is_of_name(char c) {
    return IS_HIGHBIT_SET(c) || isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$';
}

const char* end_of_quoted(const char* at) {
    while (at[0] != '\0' && (at[0] != '"' || at[1] == '"')) {
        at += at[0] == '"' ? 2 : 1;
    }
    return at[0] == '"' ? at + 1 : at;
}

const char* end_of_name(const char* at) {
    if (*at == '"') {
        return end_of_quoted(at + 1);
    }
    while (is_of_name(*at)) {
        ++at;
    }
    return at;
}

// Of the last of its names, which dots join: the form in which PostgreSQL writes them.
const char* place_of_column(const char* text, const ColumnRef* reference) {
    const char* at = text + reference->location;
    for (int i = 1; i < list_length(reference->fields); ++i) {
        at = end_of_name(at);
        if (*at++ != '.') {
            raise_not_found(column_name(reference));
        }
    }
    return at;
}

// --- what else is named

enum class Kind { none, schema, function, type, collation, op, attribute };

struct OtherName {
    Kind kind;
    List* name;  // strings: with its schema, or an attribute alone
};

struct OtherNames {
    Collected<OtherName> names;

    void add(Kind kind, List* name) {
        if (list_length(name) >= 2 || kind == Kind::attribute) {
            names.add({kind, name});
        }
    }
};

void add_attributes(OtherNames& names, const List* indirection) {
    for (int i = 0; i < list_length(indirection); ++i) {
        auto* step = static_cast<Node*>(list_nth(indirection, i));
        if (IsA(step, String)) {
            names.add(Kind::attribute, list_make1(step));
        }
    }
}

bool collect_others(Node* node, void* found) {
    auto& names = *static_cast<OtherNames*>(found);
    if (node == nullptr) {
        return false;
    }
    switch (nodeTag(node)) {
        case T_FuncCall:
            names.add(Kind::function, reinterpret_cast<FuncCall*>(node)->funcname);
            break;
        case T_TypeName:
            names.add(Kind::type, reinterpret_cast<TypeName*>(node)->names);
            break;
        case T_CollateClause:
            names.add(Kind::collation, reinterpret_cast<CollateClause*>(node)->collname);
            break;
        case T_A_Expr:
            names.add(Kind::op, reinterpret_cast<A_Expr*>(node)->name);
            break;
        case T_A_Indirection:
            add_attributes(names, reinterpret_cast<A_Indirection*>(node)->indirection);
            break;
        default:
            break;
    }
    return walk_raw(node, collect_others, found);
}

// --- what a command has renamed

// By its name of before.
struct Renamed {
    Kind kind;
    const char* schema;  // nullptr where nobody says it
    const char* name;    // nullptr: the schema itself
};

// A table has a type of its name.
Kind kind_of(ObjectType type) {
    switch (type) {
        case OBJECT_SCHEMA:
            return Kind::schema;
        case OBJECT_FUNCTION:
        case OBJECT_ROUTINE:
            return Kind::function;
        case OBJECT_TYPE:
        case OBJECT_DOMAIN:
        case OBJECT_TABLE:
        case OBJECT_VIEW:
        case OBJECT_MATVIEW:
        case OBJECT_FOREIGN_TABLE:
        case OBJECT_INDEX:
        case OBJECT_SEQUENCE:
            return Kind::type;
        case OBJECT_COLLATION:
            return Kind::collation;
        case OBJECT_OPERATOR:
            return Kind::op;
        case OBJECT_ATTRIBUTE:
        case OBJECT_COLUMN:
            return Kind::attribute;
        default:
            return Kind::none;
    }
}

Renamed named_by_list(Kind kind, const List* name) {
    const int length = list_length(name);
    return {kind, length > 1 ? strVal(list_nth(name, length - 2)) : nullptr, strVal(llast(name))};
}

Renamed object_of(Kind kind, const RangeVar* relation, Node* object) {
    if (relation != nullptr) {
        return {kind, relation->schemaname, relation->relname};
    }
    if (object != nullptr && IsA(object, ObjectWithArgs)) {
        object = reinterpret_cast<Node*>(reinterpret_cast<ObjectWithArgs*>(object)->objname);
    }
    return object != nullptr && IsA(object, List)
               ? named_by_list(kind, reinterpret_cast<const List*>(object))
               : Renamed{};
}

const char* schema_of(const ObjectAddress& object) {
    return OidIsValid(object.objectId) ? get_namespace_name(get_object_namespace(&object))
                                       : nullptr;
}

// A rename leaves a thing in its schema.
Renamed in_schema_of(Renamed renamed, const ObjectAddress& object) {
    if (renamed.kind != Kind::none && renamed.schema == nullptr) {
        renamed.schema = schema_of(object);
    }
    return renamed;
}

Renamed renamed_by(const RenameStmt* rename, const ObjectAddress& object) {
    const Kind kind = kind_of(rename->renameType);
    switch (kind) {
        case Kind::none:
            return {};
        case Kind::schema:
            return {kind, rename->subname, nullptr};
        case Kind::attribute:
            return {kind, nullptr, rename->subname};
        default:
            return in_schema_of(object_of(kind, rename->relation, rename->object), object);
    }
}

Renamed renamed_by(const Node* command, const ObjectAddress& object) {
    if (IsA(command, AlterObjectSchemaStmt)) {
        const auto* move = reinterpret_cast<const AlterObjectSchemaStmt*>(command);
        const Kind kind = kind_of(move->objectType);
        return kind != Kind::none ? object_of(kind, move->relation, move->object) : Renamed{};
    }
    if (is_rename_of_label(command)) {
        const auto* type = reinterpret_cast<const AlterEnumStmt*>(command)->typeName;
        return in_schema_of(named_by_list(Kind::type, type), object);
    }
    return IsA(command, RenameStmt)
               ? renamed_by(reinterpret_cast<const RenameStmt*>(command), object)
               : Renamed{};
}

bool is_renamed(const OtherName& other, const Renamed& renamed) {
    const bool has_name =
        renamed.name == nullptr || strcmp(strVal(llast(other.name)), renamed.name) == 0;
    if (other.kind == Kind::attribute || renamed.kind == Kind::attribute) {
        return other.kind == renamed.kind && has_name;
    }
    const char* schema = strVal(list_nth(other.name, list_length(other.name) - 2));
    return has_name && (renamed.kind == Kind::schema || renamed.kind == other.kind) &&
           (renamed.schema == nullptr ? strcmp(schema, "pg_catalog") != 0
                                      : strcmp(schema, renamed.schema) == 0);
}

}  // namespace

// PL/pgSQL's grammar of an expression takes whatever may follow SELECT.
Node* raw_context(const char* text) {
    const List* statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
    const auto* query = reinterpret_cast<const SelectStmt*>(
        static_cast<const RawStmt*>(linitial(statements))->stmt);
    if (!is_one_expression(query)) {
        ereport(ERROR,
                (errcode(ERRCODE_SYNTAX_ERROR),
                 errmsg("a registered expression is one expression over the table's columns")));
    }
    return static_cast<const ResTarget*>(linitial(query->targetList))->val;
}

List* names_of_columns(const char* text) {
    const List* references = columns_of(raw_context(text));
    List* names = NIL;
    for (int i = 0; i < list_length(references); ++i) {
        const auto* reference = static_cast<const ColumnRef*>(list_nth(references, i));
        names = lappend(names, const_cast<char*>(column_name(reference)));
    }
    return names;
}

bool has_name(const List* names, const char* name) {
    for (int i = 0; i < list_length(names); ++i) {
        if (strcmp(static_cast<const char*>(list_nth(names, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

const char* renamed_context(const char* text, std::span<const RenamedColumn> columns) {
    Node* tree = raw_context(text);
    const List* references = columns_of(tree);
    StringInfoData renamed;
    initStringInfo(&renamed);
    const char* rest = text;
    for (int i = 0; i < list_length(references); ++i) {
        auto* reference = static_cast<ColumnRef*>(list_nth(references, i));
        if (const char* name = new_name_of(reference, columns)) {
            const char* place = place_of_column(text, reference);
            if (place < rest) {
                raise_not_found(column_name(reference));
            }
            appendBinaryStringInfo(&renamed, rest, static_cast<int>(place - rest));
            appendStringInfoString(&renamed, quote_identifier(name));
            rest = end_of_name(place);
            llast(reference->fields) = makeString(pstrdup(name));
        }
    }
    appendStringInfoString(&renamed, rest);
    if (!equal(raw_context(renamed.data), tree)) {
        ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
                        errmsg("the expression \"%s\" would become another one", text)));
    }
    return renamed.data;
}

bool is_rename_of_label(const Node* command) {
    return IsA(command, AlterEnumStmt) &&
           reinterpret_cast<const AlterEnumStmt*>(command)->oldVal != nullptr;
}

bool names_renamed(const char* text, const Node* command, const ObjectAddress& object) {
    const Renamed renamed = renamed_by(command, object);
    if (renamed.kind == Kind::none) {
        return false;
    }
    OtherNames others = {};
    (void)collect_others(raw_context(text), &others);
    return std::ranges::any_of(others.names.all(),
                               [&](const OtherName& other) { return is_renamed(other, renamed); });
}

}  // namespace kms::pg
