#include "pg/contexts/context_columns.hpp"

#include "pg/contexts/context_names.hpp"
#include "pg/contexts/context_type.hpp"
#include "pg/server/collected.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/type_parts.hpp"

namespace kms::pg {
namespace {

struct ColumnToday {
    const char* name;
    bool is_dropped;
    bool has_other_type;
};

// `bound`: nullptr where its type does not matter any more.
ColumnToday today_of(Oid relation, const ContextColumn& column, TypeBound* bound) {
    HeapTuple tuple =
        SearchSysCache2(ATTNUM, ObjectIdGetDatum(relation), Int16GetDatum(column.attribute));
    if (!HeapTupleIsValid(tuple)) {
        return {psprintf("%d", column.attribute), true, false};
    }
    const auto* found = reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple));
    const ColumnToday today = {
        pstrdup(NameStr(found->attname)), found->attisdropped,
        !found->attisdropped && bound != nullptr &&
            strcmp(context_type(found->atttypid, found->atttypmod, found->attcollation, *bound),
                   column.type) != 0};
    ReleaseSysCache(tuple);
    return today;
}

// --- why they do not hold any more

List* names_or_none(const char* expression) {
    return expression != nullptr ? names_of_columns(expression) : NIL;
}

// Of the columns that are dropped, or have another type. What values that are gone were sealed
// under does not matter.
const char* names_in_use(const Contexts& contexts, Oid relation,
                         std::span<const ContextColumn> columns, bool ColumnToday::*fault) {
    const List* used = list_concat_copy(names_or_none(contexts.now), names_or_none(contexts.key));
    StringInfoData names;
    initStringInfo(&names);
    TypeBound bound;
    for (const ContextColumn& column : columns) {
        const ColumnToday today = today_of(relation, column, &bound);
        if (today.*fault && (contexts.is_moving || has_name(used, column.name))) {
            appendStringInfo(&names, "%s%s", names.len == 0 ? "" : ", ",
                             quote_identifier(today.is_dropped ? column.name : today.name));
        }
    }
    return names.len != 0 ? names.data : nullptr;
}

const char* fault_of(const Contexts& contexts, Oid relation,
                     std::span<const ContextColumn> columns) {
    if (const char* names = names_in_use(contexts, relation, columns, &ColumnToday::is_dropped)) {
        return psprintf("it used %s, which was dropped", names);
    }
    const char* names = names_in_use(contexts, relation, columns, &ColumnToday::has_other_type);
    return names != nullptr
               ? psprintf("it uses %s, whose type or collation is not the same any more", names)
               : nullptr;
}

// --- with other names

struct NamesToday {
    std::span<const char* const> names;
    std::span<const RenamedColumn> renames;
    bool has_renamed;  // or dropped
    bool has_other_types;
};

NamesToday read_names(Oid relation, std::span<const ContextColumn> columns, TypeBound* types) {
    Collected<const char*> names;
    Collected<RenamedColumn> renames;
    NamesToday result = {};
    for (const ContextColumn& column : columns) {
        const ColumnToday today = today_of(relation, column, types);
        const bool is_renamed = strcmp(today.name, column.name) != 0;
        if (is_renamed && !today.is_dropped) {
            renames.add({column.name, today.name});
        }
        names.add(today.name);
        result.has_renamed = result.has_renamed || is_renamed;
        result.has_other_types = result.has_other_types || today.has_other_type;
    }
    result.names = names.all();
    result.renames = renames.all();
    return result;
}

bool are_distinct(std::span<const char* const> names) {
    for (std::size_t i = 0; i < names.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (strcmp(names[i], names[j]) == 0) {
                return false;
            }
        }
    }
    return true;
}

// Where columns change names that very moment, two may be read under one, and could not be told
// apart any more.
NamesToday names_today(Oid relation, std::span<const ContextColumn> columns, bool with_types) {
    for (;;) {
        TypeBound types;
        const NamesToday today = read_names(relation, columns, with_types ? &types : nullptr);
        if (are_distinct(today.names)) {
            return today;
        }
        CHECK_FOR_INTERRUPTS();
        AcceptInvalidationMessages();
    }
}

const char* renamed_or_empty(const char* context, std::span<const RenamedColumn> columns) {
    return context != nullptr ? renamed_context(context, columns) : nullptr;
}

Contexts renamed(Contexts contexts, Oid relation, std::span<const ContextColumn> columns,
                 std::span<const RenamedColumn> renames) {
    if (contexts.broken == nullptr) {
        contexts.broken = fault_of(contexts, relation, columns);
    }
    contexts.now = renamed_or_empty(contexts.now, renames);
    contexts.was = renamed_or_empty(contexts.was, renames);
    contexts.key = renamed_or_empty(contexts.key, renames);
    return contexts;
}

// An expression that cannot be read must not keep out the others. To read takes nothing that an
// error would have to give back.
Contexts renamed_or_broken(const Contexts& contexts, Oid relation,
                           std::span<const ContextColumn> columns,
                           std::span<const RenamedColumn> renames) {
    MemoryContext caller = CurrentMemoryContext;
    Contexts result = {};
    PG_TRY();
    { result = renamed(contexts, relation, columns, renames); }
    PG_CATCH();
    {
        if (geterrcode() != ERRCODE_SYNTAX_ERROR) {
            PG_RE_THROW();
        }
        MemoryContextSwitchTo(caller);
        const ErrorData* error = CopyErrorData();
        FlushErrorState();
        result = contexts;
        if (result.broken == nullptr) {
            result.broken = psprintf("it could not follow a rename: %s", error->message);
        }
    }
    PG_END_TRY();
    return result;
}

}  // namespace

ContextsToday contexts_today(const Contexts& contexts, Oid relation,
                             std::span<const ContextColumn> columns) {
    const NamesToday today = names_today(relation, columns, contexts.broken == nullptr);
    if (!today.has_renamed && !today.has_other_types) {
        return {contexts, today.names, false};
    }
    const int level = NewGUCNestLevel();
    set_meanwhile("standard_conforming_strings", "on");
    set_meanwhile("quote_all_identifiers", "off");
    const Contexts renamed = renamed_or_broken(contexts, relation, columns, today.renames);
    AtEOXact_GUC(false, level);
    return {renamed, today.names, today.has_renamed || renamed.broken != contexts.broken};
}

}  // namespace kms::pg
