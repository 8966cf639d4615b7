#include "pg/context_names.hpp"

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

// `qualified`: Lists of strings, with their schemas; what has none is PostgreSQL's own.
struct OtherNames {
    List* qualified;
    List* attributes;  // strings
};

void add_qualified(OtherNames& names, List* name) {
    if (list_length(name) >= 2) {
        names.qualified = lappend(names.qualified, name);
    }
}

void add_attributes(OtherNames& names, const List* indirection) {
    for (int i = 0; i < list_length(indirection); ++i) {
        auto* step = static_cast<Node*>(list_nth(indirection, i));
        if (IsA(step, String)) {
            names.attributes = lappend(names.attributes, step);
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
            add_qualified(names, reinterpret_cast<FuncCall*>(node)->funcname);
            break;
        case T_TypeName:
            add_qualified(names, reinterpret_cast<TypeName*>(node)->names);
            break;
        case T_CollateClause:
            add_qualified(names, reinterpret_cast<CollateClause*>(node)->collname);
            break;
        case T_A_Expr:
            add_qualified(names, reinterpret_cast<A_Expr*>(node)->name);
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

// By its name of before; `schema` is nullptr where the command did not say it.
struct RenamedObject {
    const char* schema;
    const char* name;  // nullptr: the schema itself
    bool is_attribute;
};

RenamedObject object_of(const RangeVar* relation, Node* object) {
    if (relation != nullptr) {
        return {relation->schemaname, relation->relname, false};
    }
    if (object != nullptr && IsA(object, ObjectWithArgs)) {
        object = reinterpret_cast<Node*>(reinterpret_cast<ObjectWithArgs*>(object)->objname);
    }
    if (object == nullptr || !IsA(object, List)) {
        return {};
    }
    const auto* name = reinterpret_cast<const List*>(object);
    const int length = list_length(name);
    return {length > 1 ? strVal(list_nth(name, length - 2)) : nullptr, strVal(llast(name)), false};
}

RenamedObject renamed_by(const Node* command) {
    if (IsA(command, AlterObjectSchemaStmt)) {
        const auto* move = reinterpret_cast<const AlterObjectSchemaStmt*>(command);
        return object_of(move->relation, move->object);
    }
    if (!IsA(command, RenameStmt)) {
        return {};
    }
    const auto* rename = reinterpret_cast<const RenameStmt*>(command);
    switch (rename->renameType) {
        case OBJECT_SCHEMA:
            return {rename->subname, nullptr, false};
        case OBJECT_ATTRIBUTE:
        case OBJECT_COLUMN:
            return {nullptr, rename->subname, true};
        default:
            return rename->subname == nullptr ? object_of(rename->relation, rename->object)
                                              : RenamedObject{};
    }
}

bool is_renamed(const List* name, const RenamedObject& object) {
    const char* schema = strVal(list_nth(name, list_length(name) - 2));
    return (object.schema == nullptr ? strcmp(schema, "pg_catalog") != 0
                                     : strcmp(schema, object.schema) == 0) &&
           (object.name == nullptr || strcmp(strVal(llast(name)), object.name) == 0);
}

}  // namespace

// PL/pgSQL's grammar of an expression takes whatever may follow SELECT.
Node* raw_context(const char* text) {
    const List* statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
    const auto* query = reinterpret_cast<const SelectStmt*>(
        static_cast<const RawStmt*>(linitial(statements))->stmt);
    if (!is_one_expression(query)) {
        ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
                        errmsg("a context expression is one expression over the table's columns")));
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

bool names_renamed(const char* text, const Node* command) {
    const RenamedObject object = renamed_by(command);
    if (object.schema == nullptr && object.name == nullptr) {
        return false;
    }
    OtherNames names = {NIL, NIL};
    (void)collect_others(raw_context(text), &names);
    const List* among = object.is_attribute ? names.attributes : names.qualified;
    for (int i = 0; i < list_length(among); ++i) {
        void* name = list_nth(among, i);
        if (object.is_attribute ? strcmp(strVal(name), object.name) == 0
                                : is_renamed(static_cast<const List*>(name), object)) {
            return true;
        }
    }
    return false;
}

}  // namespace kms::pg
