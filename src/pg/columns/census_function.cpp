// census(): what the values of a column are sealed under, by the names of the keys.
#include "pg/columns/census.hpp"
#include "pg/columns/registry.hpp"
#include "pg/server/rows.hpp"
#include "pg/session/listed_versions.hpp"
#include "pg/stored/data_keys.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

Relation open_table(FunctionCallInfo fcinfo) {
    required(fcinfo, 0, "relation");
    const Relation table = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
    if (table == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("relation with OID %u does not exist", PG_GETARG_OID(0))));
    }
    return table;
}

void require_counted_kind(Relation table) {
    const char kind = table->rd_rel->relkind;
    if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_MATVIEW) {
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" is not a table", RelationGetRelationName(table))));
    }
}

// As a SELECT of the column with row_security = off would.
void require_readable(Relation table, AttrNumber attribute) {
    const Oid relation = RelationGetRelid(table);
    if (pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
        pg_attribute_aclcheck(relation, attribute, GetUserId(), ACL_SELECT) != ACLCHECK_OK) {
        aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(table));
    }
    if (check_enable_rls(relation, InvalidOid, true) == RLS_ENABLED) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("rows of \"%s\" may be hidden by its row-level security policies",
                               RelationGetRelationName(table)),
                        errhint("A census is for who sees all of them.")));
    }
}

struct Name {
    ByteView identifier;  // empty: not known
    std::uint32_t version;
};

// Of the keys that the agent holds, it is asked after the one that the column is registered with,
// and the one that it is moved from, or after all where each row names its key: once, and where it
// is needed.
class Names {
  public:
    explicit Names(const RegisteredColumn* column) {
        if (column != nullptr) {
            keys_[0].identifier = column->key_identifier;
            keys_[1].identifier = column->was.key_identifier;
            is_of_each_row_ = column->key_expression != nullptr;
        }
    }

    Name of(const KeyTag& tag) {
        if (const DataKeyRow* row = find_data_key(tag)) {
            return {row->name, row->key.version};
        }
        ask_once();
        for (const Key& key : keys_) {
            if (const auto* version = listed_version(key.listed, tag)) {
                return {key.identifier, version->version};
            }
        }
        const auto* version = listed_version(all_, tag);
        return version != nullptr ? Name{version->key, version->version} : Name{};
    }

  private:
    struct Key {
        ByteView identifier;  // empty: there is none
        ListedVersions listed;
    };

    void ask_once() {
        MemoryContext caller = MemoryContextSwitchTo(memory_);
        for (Key& key : keys_) {
            if (!asked_ && !key.identifier.empty()) {
                key.listed = try_list_versions(key.identifier);
            }
        }
        if (!asked_ && is_of_each_row_) {
            all_ = try_list_keys();
        }
        asked_ = true;
        MemoryContextSwitchTo(caller);
    }

    Key keys_[2] = {};
    ListedVersions all_;
    bool is_of_each_row_ = false;
    MemoryContext memory_ = CurrentMemoryContext;  // outlives a row
    bool asked_ = false;
};

void add_row(RowSet& rows, const CensusEntry& entry, Name name) {
    const bool is_sealed = entry.is_sealed();
    const bool is_named = !name.identifier.empty();
    Datum values[6] = {is_named ? identifier_datum(name.identifier) : Datum{0},
                       UInt32GetDatum(name.version),
                       bytes_datum(entry.tag()),
                       Int32GetDatum(entry.under[0]),
                       Int64GetDatum(static_cast<std::int64_t>(entry.rows)),
                       Int64GetDatum(static_cast<std::int64_t>(entry.bytes))};
    bool nulls[6] = {!is_named, !is_named, !is_sealed, !is_sealed, false, false};
    rows.add(values, nulls);
}

void add_rows(FunctionCallInfo fcinfo, std::span<const CensusEntry> entries, Names names) {
    RowSet rows(fcinfo);
    MemoryContext per_row =
        AllocSetContextCreate(CurrentMemoryContext, "kms census row", ALLOCSET_SMALL_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(per_row);
    for (const CensusEntry& entry : entries) {
        add_row(rows, entry, entry.is_sealed() ? names.of(entry.tag()) : Name{});
        MemoryContextReset(per_row);
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(per_row);
}

}  // namespace

KMS_FUNCTION(kms_census) {
    const Relation table = open_table(fcinfo);
    const char* column = column_argument(fcinfo);
    require_counted_kind(table);
    const AttrNumber attribute = attribute_named(table, column);
    require_readable(table, attribute);
    require_bytea(table, attribute);
    const Oid relation = RelationGetRelid(table);
    relation_close(table, NoLock);
    const std::span<const CensusEntry> entries = take_census(relation, attribute);
    add_rows(fcinfo, entries, Names(find_registration(relation, attribute)));
    PG_RETURN_NULL();
}

}  // namespace kms::pg
