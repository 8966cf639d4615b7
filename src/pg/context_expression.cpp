#include "pg/context_expression.hpp"

#include "pg/context_names.hpp"
#include "pg/owner.hpp"

namespace kms::pg {
namespace {

// An error's position is one in the expression, not in the query that brought it.
void point_into_expression(void* argument) {
    const int position = geterrposition();
    if (position > 0) {
        errposition(0);
        internalerrposition(position);
        internalerrquery(static_cast<const char*>(argument));
    }
    errcontext("context expression \"%s\"", static_cast<const char*>(argument));
}

template <typename Act>
auto about_expression(const char* text, Act&& act) {
    ErrorContextCallback callback = {error_context_stack, point_into_expression,
                                     const_cast<char*>(text)};
    error_context_stack = &callback;
    const auto result = act();
    error_context_stack = callback.previous;
    return result;
}

void set_meanwhile(const char* setting, const char* value) {
    (void)set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
                            false);
}

// Under which expressions are stored and read: literals in them are the same for all sessions.
// Until the level that is returned is given to AtEOXact_GUC(false, level).
int fix_expression_settings() {
    constexpr const char* settings[][2] = {
        {"standard_conforming_strings", "on"}, {"DateStyle", "ISO, YMD"}, {"TimeZone", "UTC"},
        {"IntervalStyle", "postgres"},         {"lc_monetary", "C"},      {"array_nulls", "on"},
        {"extra_float_digits", "1"},           {"bytea_output", "hex"},   {"xmloption", "content"},
        {"transform_null_equals", "off"}};
    const int level = fix_search_path();
    for (const auto& [setting, value] : settings) {
        set_meanwhile(setting, value);
    }
    return level;
}

// Planning runs functions of the table's owner, whoever registers: as its owner, as CREATE INDEX
// does, and without the keys of the caller. Names in it are found by the caller's search_path.
template <typename Act>
auto as_owner_of(Relation table, Act&& act) {
    Oid caller = InvalidOid;
    int security = 0;
    GetUserIdAndSecContext(&caller, &security);
    const int level = NewGUCNestLevel();
    set_meanwhile("kms.keys", "");
    SetUserIdAndSecContext(table->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
    const auto result = act();
    SetUserIdAndSecContext(caller, security);
    AtEOXact_GUC(false, level);
    return result;
}

ParseState* state_over(Relation table, const char* text) {
    ParseState* state = make_parsestate(nullptr);
    state->p_sourcetext = text;
    ParseNamespaceItem* item =
        addRangeTableEntryForRelation(state, table, AccessShareLock, nullptr, false, true);
    addNSItemToQuery(state, item, false, true, true);
    return state;
}

void refuse_if(bool found, int sqlstate, const char* what) {
    if (found) {
        ereport(ERROR, (errcode(sqlstate), errmsg("a context expression has no %s", what)));
    }
}

Node* transform(ParseState* state, const char* text) {
    Node* node = transformExpr(state, raw_context(text), EXPR_KIND_OTHER);
    refuse_if(state->p_hasSubLinks, ERRCODE_FEATURE_NOT_SUPPORTED, "subqueries");
    refuse_if(state->p_hasAggs, ERRCODE_GROUPING_ERROR, "aggregate functions");
    refuse_if(state->p_hasWindowFuncs, ERRCODE_WINDOWING_ERROR, "window functions");
    refuse_if(expression_returns_set(node), ERRCODE_FEATURE_NOT_SUPPORTED, "functions of sets");
    Node* bytes = coerce_to_target_type(state, node, exprType(node), BYTEAOID, -1,
                                        COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
    if (bytes == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("a context expression gives bytea, and this one gives %s",
                               format_type_be(exprType(node)))));
    }
    assign_expr_collations(state, bytes);
    return bytes;
}

// With the arguments that functions have by default.
Node* planned(Node* node) {
    return reinterpret_cast<Node*>(expression_planner(static_cast<Expr*>(copyObjectImpl(node))));
}

// What a row's context is must not change by itself, nor when its value is sealed again.
void require_lasting(Node* node, AttrNumber attribute) {
    Bitmapset* columns = nullptr;
    pull_varattnos(node, 1, &columns);
    for (int member = bms_next_member(columns, -1); member >= 0;
         member = bms_next_member(columns, member)) {
        const int column = member + FirstLowInvalidHeapAttributeNumber;
        if (column <= 0 || column == attribute) {
            ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                            errmsg("a context expression is over other columns than %s",
                                   column == attribute ? "the sealed one itself"
                                   : column == 0       ? "the whole row"
                                                       : "the system's")));
        }
    }
    refuse_if(contain_volatile_functions(node) || contain_volatile_functions(planned(node)),
              ERRCODE_INVALID_OBJECT_DEFINITION, "volatile functions");
}

// After some commands of anybody's all stored expressions are read.
void require_short(const char* stored) {
    constexpr std::size_t most_bytes = 8192;
    if (strlen(stored) > most_bytes) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("a context expression has at most %zu bytes, and this one has %zu",
                               most_bytes, strlen(stored)),
                        errhint("Put what it does into a function.")));
    }
}

const char* deparse(Relation table, Node* node) {
    const int level = fix_expression_settings();
    List* names = deparse_context_for(RelationGetRelationName(table), RelationGetRelid(table));
    const char* text = deparse_expression(node, names, false, false);
    AtEOXact_GUC(false, level);
    return text;
}

}  // namespace

const char* checked_context(Relation table, AttrNumber attribute, const char* text) {
    return about_expression(text, [&] {
        return as_owner_of(table, [&] {
            Node* node = transform(state_over(table, text), text);
            require_lasting(node, attribute);
            const char* stored = deparse(table, node);
            require_short(stored);
            return stored;
        });
    });
}

Expr* stored_context(Relation table, const char* text) {
    return about_expression(text, [&] {
        const int level = fix_expression_settings();
        Node* node = planned(transform(state_over(table, text), text));
        AtEOXact_GUC(false, level);
        return reinterpret_cast<Expr*>(node);
    });
}

}  // namespace kms::pg
