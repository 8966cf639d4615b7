#include "pg/tables/whole_row.hpp"

namespace kms::pg {
namespace {

struct Search {
    Oid own;
    Oid table;
    List* queries;  // around the node, the innermost first
};

// Of the relation whose row a whole-row Var is. A join's may be that of any of its relations.
bool is_row_of(const Search& search, const Var& var) {
    if (static_cast<int>(var.varlevelsup) >= list_length(search.queries)) {
        return search.own == search.table;
    }
    const auto* query =
        static_cast<Query*>(list_nth(search.queries, static_cast<int>(var.varlevelsup)));
    const RangeTblEntry* entry = rt_fetch(var.varno, query->rtable);
    return entry->rtekind == RTE_JOIN ||
           (entry->rtekind == RTE_RELATION && entry->relid == search.table);
}

bool finds_whole_row(Node* node, void* context) {
    auto* search = static_cast<Search*>(context);
    if (node == nullptr) {
        return false;
    }
    if (IsA(node, Var)) {
        const auto& var = *reinterpret_cast<const Var*>(node);
        return var.varattno == InvalidAttrNumber && is_row_of(*search, var);
    }
    if (IsA(node, Query)) {
        search->queries = lcons(node, search->queries);
        const bool found = walk_query(reinterpret_cast<Query*>(node), finds_whole_row, context);
        search->queries = list_delete_first(search->queries);
        return found;
    }
    return walk_expression(node, finds_whole_row, context);
}

}  // namespace

bool is_over_whole_row(const char* tree, Oid own, Oid table) {
    Search search = {own, table, NIL};
    return finds_whole_row(static_cast<Node*>(stringToNode(tree)), &search);
}

}  // namespace kms::pg
