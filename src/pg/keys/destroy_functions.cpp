// destroy_data_key: a data key's version is no more, in this table or, shredded, anywhere.
//
// Shredding takes two transactions. The first destroys the version's row and brings every other
// data key to a new KEK version; only when that is on disk does the second destroy those that may
// have wrapped it: all from the first that did. Whatever dies in between, no other key is lost, and
// a repeated call finishes.
#include "pg/keys/kek_retirement.hpp"
#include "pg/keys/kek_versions.hpp"
#include "pg/keys/name_at_agent.hpp"
#include "pg/keys/outlasting.hpp"
#include "pg/keys/retirement.hpp"
#include "pg/keys/rewrap_data_keys.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/rows.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/server/subtransaction.hpp"
#include "pg/server/transaction.hpp"
#include "pg/stored/change_lock.hpp"
#include "pg/stored/data_key_lookup.hpp"
#include "pg/stored/data_key_writer.hpp"
#include "pg/stored/version_lock.hpp"

namespace kms::pg {
namespace {

struct Destruction {
    ByteView name;
    std::uint32_t version;
    bool dry_run;
    bool shred;
    bool force;
};

constexpr char action[] = "destroy data key";

Destruction arguments(FunctionCallInfo fcinfo) {
    return {required_identifier(fcinfo, 0, "name"), version_argument(fcinfo, 1),
            required_bool(fcinfo, 2, "dry_run"), required_bool(fcinfo, 3, "shred"),
            required_bool(fcinfo, 4, "force")};
}

// Not within a transaction block, a function, or a block with EXCEPTION.
bool may_commit(FunctionCallInfo fcinfo) {
    const Node* context = fcinfo->context;
    return context != nullptr && IsA(context, CallContext) &&
           !reinterpret_cast<const CallContext*>(context)->atomic && !IsSubTransaction();
}

void require_no_transaction_block(FunctionCallInfo fcinfo) {
    if (!may_commit(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                        errmsg("a data key cannot be shredded inside a transaction block"),
                        errdetail("The other data keys that its KEK wraps are wrapped anew, and "
                                  "that is committed before the old KEK versions are destroyed."),
                        errhint("Call kms.destroy_data_key() by itself.")));
    }
}

// Those that ever wrapped it, as the row has it.
VersionRange range_of(const DataKeyVersion& key) {
    return {key.kek_version_first, key.kek_version_last};
}

KeyUse kek_of(const DataKeyVersion& key) {
    return use_of_identifier("shred with key", key.kek);
}

// A wrapping may have been rolled back, or the row be an older one: any version that the KEK has
// had may have wrapped it too. Once it is destroyed the row says so, and nobody wraps it any more.
void add_later_versions(const KeyUse& kek, DataKeyVersion& key) {
    if (key.state != wire::VersionState::destroyed) {
        key.kek_version_last = std::max(key.kek_version_last, current_kek_version(kek));
    }
}

void notice_plain(const Destruction& what, const DataKeyVersion& key) {
    ereport(NOTICE,
            (errmsg("version %u of data key \"%s\" is destroyed in this table only", what.version,
                    shown_identifier(what.name)),
             errdetail("Backups, WAL, dead tuples and replicas may hold it, wrapped by %s of the "
                       "KEK \"%s\", or by a later one, for as long as that KEK lives.",
                       shown_range(range_of(key)), shown_identifier(key.kek)),
             errhint("With shred => true those KEK versions are destroyed too.")));
}

void notice_shred(const DataKeyVersion& key, const char* will_be) {
    ereport(
        NOTICE,
        (errmsg("%s of the KEK \"%s\" %s destroyed", shown_range(range_of(key)),
                shown_identifier(key.kek), will_be),
         errdetail("With that, all else is lost that was wrapped so: secrets of kms.wrap(), data "
                   "keys of other databases and of older backups of this one, and values "
                   "that were sealed under the KEK itself."),
         errhint("Copy the agent's keys when it is done: no older copy opens the KEK's other data "
                 "keys then.")));
}

// What is sealed under the data key, and, where it is shredded, under the KEK versions themselves.
std::span<const KeyTag> tags_lost(const Destruction& what, const DataKeyVersion& key) {
    Collected<KeyTag> tags;
    tags.add(key.tag);
    if (what.shred) {
        for (const KeyTag& tag : tags_of_kek(kek_of(key), range_of(key), true, what.force).tags) {
            tags.add(tag);
        }
    }
    return tags.all();
}

std::int64_t tell_lost_rows(std::span<const ColumnRows> columns, const char* become) {
    const auto rows = static_cast<std::int64_t>(sum_of_rows(columns));
    if (!columns.empty()) {
        ereport(NOTICE, (errmsg("rows that %s unreadable: " INT64_FORMAT, become, rows),
                         errdetail("%s", shown_rows(columns))));
    }
    return rows;
}

std::int64_t rehearse(const Destruction& what, const DataKeyVersion& key) {
    if (makes_search_terms(key.algorithm)) {
        ereport(WARNING,
                (errmsg("rows may have search terms of version %u of \"%s\", which are not "
                        "counted",
                        key.version, shown_identifier(what.name)),
                 errdetail("A search term does not tell which key has made it.")));
    }
    if (what.shred) {
        notice_shred(key, "would be");
    }
    return tell_lost_rows(count_rows(tags_lost(what, key)), "would become");
}

template <typename Count>
void refuse_if_kek_needed(const Destruction& what, const DataKeyVersion& key, Count&& count) {
    const KekTags kek = tags_of_kek(kek_of(key), range_of(key), false, false);
    const auto columns = kek.tags.empty() ? std::span<const ColumnRows>() : count(kek.tags);
    if (!columns.empty()) {
        ereport(ERROR,
                (errcode(sqlstate::still_needed),
                 errmsg("could not %s \"%s\": rows need %s of its KEK \"%s\"", action,
                        shown_identifier(what.name), shown_range(range_of(key)),
                        shown_identifier(key.kek)),
                 errdetail("%s", shown_rows(columns)),
                 errhint("Bring blobs to another key with kms.blob_recode() and columns with CALL "
                         "kms.reencrypt(), and not to another version of the KEK. %sforce => true "
                         "makes these rows unreadable for good.",
                         how_to_count(columns))));
    }
}

// What cannot be destroyed is refused before anybody is waited for, or anything done.
void refuse_early(const Destruction& what, const DataKeyVersion& key) {
    if (what.shred && !what.force) {
        without_keeping_locks([&] { refuse_if_kek_needed(what, key, count_rows); });
    }
}

// Rows are counted before and after, so that nobody is waited for in vain. Without a snapshot where
// there are none to be counted, and whoever has sealed under the version holds a lock on it: but
// who did so while the key was the agent's.
Past outlast_copies(const Destruction& what, const KeyTag& tag, bool was_at_agent) {
    if (!may_be_needed() && !was_at_agent) {
        return {};
    }
    without_keeping_locks([&] { refuse_if_needed(action, what.name, what.version, tag); });
    require_nothing_changed("kms.destroy_data_key()");
    return outlast_rows(action, what.name, what.version, tag);
}

// Whoever shreds promises that nobody opens it any more.
bool must_be_alone(const Destruction& what) {
    return what.shred && !what.force;
}

// What was adopted, or was to be handed back, is at the agent, too, and opens all that this does.
// Whether the key was ever there.
bool look_at_agent(const Destruction& what, const KeyTag& tag) {
    const KeyUse use = use_of_identifier("look at the agent for key", what.name);
    Copy copy = {false, false};
    const Failure failure = look_for_copy(use, tag, copy);
    if (failure && must_be_alone(what)) {
        raise_unlisted(use, failure);
    }
    if (copy.is_there) {
        const bool refuses = must_be_alone(what) && !what.dry_run;
        ereport(refuses ? ERROR : WARNING,
                (errcode(refuses ? ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE : ERRCODE_WARNING),
                 errmsg("the agent has version %u of \"%s\" as well", what.version,
                        shown_identifier(what.name)),
                 errdetail("Whoever may use or fetch it there opens what is sealed under it."),
                 errhint("Where no other database and no remote mode needs it, destroy it there "
                         "first, with kms.disable_key() and kms.destroy_key().")));
    }
    return copy.was_there;
}

// That there was nothing to be counted may have changed while others were waited for.
void require_nothing_to_count(const Destruction& what) {
    if (may_be_needed()) {
        ereport(ERROR,
                (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                 errmsg("could not %s \"%s\": a column was registered, or a blob made, meanwhile",
                        action, shown_identifier(what.name)),
                 errhint("Call it again.")));
    }
}

// To tell of, and no reason to stop: whoever has a registered table locked keeps nothing alive.
std::span<const ColumnRows> count_what_is_lost(const Destruction& what, const DataKeyVersion& key) {
    std::span<const ColumnRows> rows;
    ErrorData* error =
        error_in_subtransaction([&] { rows = count_rows_behind_lock(tags_lost(what, key)); });
    if (error != nullptr && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE) {
        ReThrowError(error);
    }
    if (error != nullptr) {
        ereport(WARNING, (errmsg("rows that become unreadable are not counted"),
                          errdetail("Somebody has a registered table locked.")));
        return {};
    }
    return rows;
}

// Waits for those who have sealed under the version: before what others need is locked, its KEK
// say.
void lock_sealing(const Destruction& what, const DataKeyVersion& key) {
    if (key.state == wire::VersionState::destroyed) {
        return;
    }
    if (!what.force) {
        refuse_if_sealed_here(action, what.name, what.version, key.tag);
    }
    lock_for_retiring(key.tag);
}

// Behind that lock. `past`: when others were waited for, if they were.
std::int64_t destroy_row(const Destruction& what, const DataKeyVersion& key, const Past& past) {
    if (must_be_alone(what)) {
        (void)look_at_agent(what, key.tag);  // nobody moves it behind the lock
    }
    if (key.state == wire::VersionState::destroyed) {
        UnregisterSnapshot(past.snapshot);
        return tell_lost_rows(count_what_is_lost(what, key), "are");
    }
    if (!what.force && past.snapshot == nullptr) {
        require_nothing_to_count(what);
    } else if (!what.force) {
        refuse_if_needed_behind_lock(action, what.name, what.version, key.tag, past);
    }
    UnregisterSnapshot(past.snapshot);
    mark_data_key_destroyed(what.name, what.version, key.kek_version_last);
    if (!what.shred) {
        notice_plain(what, key);
    }
    return what.force ? tell_lost_rows(count_what_is_lost(what, key), "become") : 0;
}

// Every other data key is brought to a KEK version that never wrapped this one, and seen to open by
// it, before its other form is dropped.
void leave_versions(const KeyUse& kek, const DataKeyVersion& key) {
    std::uint32_t current = current_kek_version(kek);
    if (current <= key.kek_version_last) {
        require_rewrappable(kek);
        current = rotate_kek_at_agent(kek);
    }
    rewrap_data_keys(kek, current);
    drop_second_forms(kek.identifier);
}

// All that was written is on disk then, and on the standbys that a commit waits for; other sessions
// know it.
void commit_and_go_on() {
    ForceSyncCommit();
    commit_here();
    EnsurePortalSnapshotExists();
}

// The KEK has another version by now, and the agent wraps and seals by that. Who was answered
// before may have a row in flight, or the old version itself.
Past outlast_users(const Destruction& what, const KeyUse& kek) {
    const DataKeyVersion key = version_of(action, what.name, what.version);
    if (tags_of_kek(kek, range_of(key), false, false).may_be_cached) {
        outlast_caches(kek.identifier, key.kek_version_last);
    }
    return outlast_transactions();
}

// Somebody may have written the table by hand meanwhile, or put the agent's keys back from a
// backup.
void refuse_if_others_need(const KeyUse& kek, const DataKeyVersion& destroyed) {
    const std::uint64_t count = count_needing(kek, range_of(destroyed));
    if (count != 0) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("the KEK \"%s\" does not open other data keys without its %s",
                               shown_identifier(destroyed.kek), shown_range(range_of(destroyed))),
                        errdetail("Versions of data keys: " UINT64_FORMAT ".", count),
                        errhint("Repeat the call.")));
    }
}

void destroy_versions(const KeyUse& kek, const Destruction& what) {
    const Past past = what.force ? Past{} : outlast_users(what, kek);
    lock_kek(kek.identifier);
    const DataKeyVersion key = lock_version(action, what.name, what.version);
    require_same_kek(action, what.name, kek.identifier, key.kek);
    if (!what.force) {
        refuse_if_kek_needed(what, key, [&](std::span<const KeyTag> tags) {
            return count_rows_behind_lock(tags, past);
        });
        UnregisterSnapshot(past.snapshot);
    }
    refuse_if_others_need(kek, key);
    destroy_kek_versions(kek, key.kek_version_first, key.kek_version_last);
    notice_shred(key, key.kek_version_first == key.kek_version_last ? "is" : "are");
}

std::int64_t shred(const Destruction& what, const KeyUse& kek, const Past& past) {
    lock_kek(kek.identifier);
    DataKeyVersion key = lock_version(action, what.name, what.version);
    require_same_kek(action, what.name, kek.identifier, key.kek);
    add_later_versions(kek, key);
    const std::int64_t rows_lost = destroy_row(what, key, past);
    leave_versions(kek, key);
    SPI_connect_ext(SPI_OPT_NONATOMIC);
    commit_and_go_on();
    SPI_finish();
    destroy_versions(kek, what);
    return rows_lost;
}

std::int64_t destroy(const Destruction& what) {
    DataKeyVersion key = version_of(action, what.name, what.version);
    const bool was_at_agent = look_at_agent(what, key.tag);
    if (what.shred) {
        add_later_versions(kek_of(key), key);
    }
    if (what.dry_run) {
        return rehearse(what, key);
    }
    refuse_early(what, key);
    Past past = {};
    if (!what.force && key.state != wire::VersionState::destroyed) {
        refuse_if_uncountable(action, what.name, what.version, key.algorithm);
        past = outlast_copies(what, key.tag, was_at_agent);
    }
    lock_sealing(what, key);
    if (what.shred) {
        return shred(what, kek_of(key), past);
    }
    return destroy_row(what, lock_version(action, what.name, what.version), past);
}

}  // namespace

KMS_FUNCTION(kms_destroy_data_key) {
    const Destruction what = arguments(fcinfo);
    if (!what.dry_run) {
        require_own_data_keys("kms.destroy_data_key()");
    }
    if (what.shred && !what.dry_run) {
        require_no_transaction_block(fcinfo);
    }
    Datum values[1] = {Int64GetDatum(destroy(what))};
    bool nulls[1] = {};
    return row_datum(fcinfo, values, nulls);
}

}  // namespace kms::pg
