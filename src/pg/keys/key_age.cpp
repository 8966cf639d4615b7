// key_age(): the age of the current version of each key that is in use, and how many rows of
// registered columns are sealed under it.
#include "pg/keys/key_age.hpp"

#include <algorithm>

#include "pg/blobs/tables.hpp"
#include "pg/columns/census.hpp"
#include "pg/columns/registry.hpp"
#include "pg/keys/retirement.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/rows.hpp"
#include "pg/session/listed_versions.hpp"
#include "pg/session/settings.hpp"
#include "pg/stored/data_keys.hpp"

namespace kms::pg {
namespace {

constexpr std::size_t most_names = 10;

struct CurrentVersion {
    ByteView identifier;
    std::uint32_t version;
    KeyTag tag;
    TimestampTz created;
};

bool is_old(TimestampTz created) {
    const auto most = max_age().count();
    return most != 0 && GetCurrentTimestamp() - created > most * USECS_PER_SEC;
}

const char* shown_age(TimestampTz created) {
    return psprintf("%d days", static_cast<int>((GetCurrentTimestamp() - created) / USECS_PER_DAY));
}

Datum age_datum(TimestampTz created) {
    return DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(GetCurrentTimestamp()),
                               TimestampTzGetDatum(created));
}

// Keys whose age is looked at, as rows of the result.
class Ages {
  public:
    explicit Ages(FunctionCallInfo fcinfo) : rows_(fcinfo), sealed_(CurrentMemoryContext) {
        initStringInfo(&names_);
        LockRelationOid(blob_table(), AccessShareLock);
        const std::span<const RegisteredColumn> registered = locked_registered_columns();
        Collected<const RegisteredColumn*> countable;
        for (const RegisteredColumn& column : registered) {
            if (covering(column.relation, column.column_name, registered) == nullptr &&
                can_be_counted(column)) {
                countable.add(&column);
            }
        }
        sealed_.add(in_one_snapshot([&] { return count(countable.all()); }).entries());
    }

    void add(const CurrentVersion& key) {
        Datum values[5] = {identifier_datum(key.identifier), UInt32GetDatum(key.version),
                           TimestampTzGetDatum(key.created), age_datum(key.created),
                           Int64GetDatum(static_cast<std::int64_t>(sealed_.rows_under(key.tag)))};
        bool nulls[5] = {};
        rows_.add(values, nulls);
        if (is_old(key.created)) {
            note_old(key.identifier);
        }
    }

    bool has_rows_under(const KeyTag& tag) const { return sealed_.rows_under(tag) != 0; }

    // The agent does not say.
    void add_unknown(ByteView identifier) {
        Datum values[5] = {identifier_datum(identifier)};
        bool nulls[5] = {false, true, true, true, true};
        rows_.add(values, nulls);
    }

    // One for all of them: there may be a key for every tenant.
    void warn() const {
        if (old_ != 0) {
            ereport(WARNING, (errmsg("keys older than kms.max_age: %zu", old_),
                              errdetail("%s%s", names_.data, old_ > most_names ? ", ..." : ""),
                              errhint("Rotate them, and bring their rows to the new version with "
                                      "CALL kms.reencrypt(); keys of search terms, or under "
                                      "UNIQUE, as doc/search.md says.")));
        }
    }

  private:
    static bool can_be_counted(const RegisteredColumn& column) {
        const char* obstacle = obstacle_to_counting(column);
        if (obstacle != nullptr) {
            ereport(WARNING,
                    (errmsg("rows of %s are not counted: %s", full_name(column), obstacle)));
        }
        return obstacle == nullptr;
    }

    static CensusCounter count(std::span<const RegisteredColumn* const> columns) {
        CensusCounter counter(CurrentMemoryContext);
        for (const RegisteredColumn* column : columns) {
            counter.add(census_in_snapshot(column->relation, column->attribute));
        }
        counter.add(census_in_snapshot(blob_table(), blob_wrapped_column));
        return counter;
    }

    void note_old(ByteView identifier) {
        if (old_++ < most_names) {
            appendStringInfo(&names_, "%s\"%s\"", names_.len == 0 ? "" : ", ",
                             shown_identifier(identifier));
        }
    }

    RowSet rows_;
    CensusCounter sealed_;
    StringInfoData names_;
    std::size_t old_ = 0;
};

bool seals(const DataKeyRow& row) {
    return row.key.state != wire::VersionState::destroyed &&
           read_data_key(row.name).newest()->version == row.key.version;
}

// Of the current version; the agent may not say.
std::optional<TimestampTz> creation_of(const KeyUse& use) {
    if (use.stored != nullptr) {
        return use.stored->newest()->created;
    }
    const ListedVersion* newest = newest_listed(try_list_versions(use.identifier));
    if (newest == nullptr) {
        return std::nullopt;
    }
    return timestamp_of(newest->created);
}

void add_data_keys(Ages& ages) {
    for_each_data_key([&](const DataKeyRow& row) {
        if (seals(row)) {
            ages.add({row.name, row.key.version, row.key.tag, row.key.created});
        }
    });
}

void add_key_at_agent(Ages& ages, ByteView identifier) {
    const ListedVersion* newest = newest_listed(try_list_versions(identifier));
    if (newest == nullptr) {
        ages.add_unknown(identifier);
    } else if (newest->state != wire::VersionState::destroyed) {
        ages.add({identifier, newest->version, newest->tag, timestamp_of(newest->created)});
    }
}

bool is_at_agent(ByteView identifier) {
    return read_data_key(identifier).newest() == nullptr;
}

// Their names stand in rows alone, so that none of them is told of where they are not listed.
ListedVersions list_named_keys() {
    ListedVersions listed;
    if (has_agent()) {
        if (const Failure failure = list_beginning_so(use_of_identifier("list keys", {}), listed)) {
            ereport(WARNING,
                    (errmsg("keys at the agent that rows name are left out"),
                     errdetail("%s", failure.cause.message),
                     errhint("kms.census() counts their rows, in a line without a name.")));
        }
    }
    return listed;
}

// Of those that columns are registered with or are being moved from, or that rows are sealed under
// which name them; what other keys the agent has is no matter here.
void add_keys_at_agent(Ages& ages) {
    Collected<ByteView> added;
    const auto add_once = [&](ByteView identifier) {
        const auto is_same = [&](ByteView other) { return std::ranges::equal(other, identifier); };
        if (std::ranges::none_of(added.all(), is_same) && is_at_agent(identifier)) {
            added.add(identifier);
            add_key_at_agent(ages, identifier);
        }
    };
    bool is_of_each_row = false;
    for (const RegisteredColumn& column : registered_columns()) {
        is_of_each_row |= column.key_expression != nullptr;
        if (column.key_expression == nullptr) {
            add_once(column.key_identifier);
        }
        if (column.is_moving) {
            add_once(column.was.key_identifier);
        }
    }
    for (const ListedVersion& version : is_of_each_row ? list_named_keys() : ListedVersions{}) {
        if (ages.has_rows_under(version.tag)) {
            add_once(version.key);
        }
    }
}

}  // namespace

void warn_if_old(const KeyUse& use) {
    if (max_age().count() == 0) {
        return;
    }
    const auto created = creation_of(use);
    if (created && is_old(*created)) {
        ereport(
            WARNING,
            (errmsg("key \"%s\" is older than kms.max_age", shown_identifier(use.identifier)),
             errdetail("Its current version was created %s ago.", shown_age(*created)),
             errhint("Rotate it; a key of search terms, or under UNIQUE, as doc/search.md says.")));
    }
}

KMS_FUNCTION(kms_key_age) {
    Ages ages(fcinfo);
    add_data_keys(ages);
    add_keys_at_agent(ages);
    ages.warn();
    PG_RETURN_NULL();
}

}  // namespace kms::pg
