// destroy_data_key: a data key's version is no more, in this table or, shredded, anywhere.
//
// Shredding takes two transactions. The first destroys the version's row and brings every other
// data key to a KEK version that never wrapped it; only when that is on disk does the second
// destroy the KEK versions that did. Whatever dies in between, no other key is lost, and a repeated
// call finishes.
#include <algorithm>

#include "pg/change_lock.hpp"
#include "pg/data_key_lookup.hpp"
#include "pg/data_key_writer.hpp"
#include "pg/kek_versions.hpp"
#include "pg/key_arguments.hpp"
#include "pg/retirement.hpp"
#include "pg/rewrap_data_keys.hpp"
#include "pg/version_lock.hpp"

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

// KEK versions, for messages.
const char* wrapping_versions(const DataKeyVersion& key) {
    return key.kek_version_first == key.kek_version_last
               ? psprintf("version %u", key.kek_version_first)
               : psprintf("versions %u to %u", key.kek_version_first, key.kek_version_last);
}

void notice_plain(const Destruction& what, const DataKeyVersion& key) {
    ereport(NOTICE,
            (errmsg("version %u of data key \"%s\" is destroyed in this table only", what.version,
                    shown_identifier(what.name)),
             errdetail("Backups, WAL, dead tuples and replicas may hold it, wrapped by %s of the "
                       "KEK \"%s\", for as long as that KEK lives.",
                       wrapping_versions(key), shown_identifier(key.kek)),
             errhint("With shred => true those KEK versions are destroyed too.")));
}

void notice_shred(const DataKeyVersion& key, const char* will_be) {
    ereport(
        NOTICE,
        (errmsg("%s of the KEK \"%s\" %s destroyed", wrapping_versions(key),
                shown_identifier(key.kek), will_be),
         errdetail("With that, all else is lost that was wrapped so: secrets of kms.wrap(), data "
                   "keys of other databases and of older backups of this one, and values "
                   "that were sealed under the KEK itself.")));
}

std::int64_t count_lost_rows(const DataKeyVersion& key, const char* become) {
    const auto columns = count_rows(key.tag);
    const auto rows = static_cast<std::int64_t>(sum_of_rows(columns));
    if (!columns.empty()) {
        ereport(NOTICE, (errmsg("rows that %s unreadable: " INT64_FORMAT, become, rows),
                         errdetail("%s", shown_rows(columns))));
    }
    return rows;
}

std::int64_t rehearse(const Destruction& what, const DataKeyVersion& key) {
    if (what.shred) {
        notice_shred(key, "would be");
    }
    return count_lost_rows(key, "would become");
}

// Rows are counted before and after, so that whoever has copied one of them was there before.
void outlast_copies(const Destruction& what, const KeyTag& tag) {
    if (!may_be_needed()) {
        return;  // whoever has sealed under the version holds a lock on it
    }
    without_keeping_locks([&] { refuse_if_needed(action, what.name, what.version, tag); });
    outlast_transactions();
}

std::int64_t destroy_row(const Destruction& what, const DataKeyVersion& key) {
    if (key.state == wire::VersionState::destroyed) {
        return count_lost_rows(key, "are");
    }
    lock_for_retiring(key.tag);
    if (!what.force) {
        refuse_if_needed(action, what.name, what.version, key.tag);
    }
    mark_data_key_destroyed(what.name, what.version);
    if (!what.shred) {
        notice_plain(what, key);
    }
    return what.force ? count_lost_rows(key, "become") : 0;
}

// Every other data key is brought to a KEK version that never wrapped this one.
void leave_versions(const KeyUse& kek, const DataKeyVersion& key) {
    std::uint32_t current = current_kek_version(kek);
    if (current <= key.kek_version_last) {
        current = rotate_kek_at_agent(kek);
    }
    rewrap_data_keys(kek, current);
    drop_second_forms(kek.identifier);
}

// All that was written is on disk then, and other sessions know it.
void commit_and_go_on() {
    ForceSyncCommit();
    SPI_commit();
    EnsurePortalSnapshotExists();
}

// Somebody may have written the table by hand meanwhile.
void refuse_if_others_need(const DataKeyVersion& destroyed) {
    for_each_data_key([&](const DataKeyRow& row) {
        if (row.key.needs(destroyed.kek, destroyed.kek_version_first, destroyed.kek_version_last)) {
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("data key \"%s\" is still wrapped by version %u of its KEK",
                                   shown_identifier(row.name), row.key.kek_version_last),
                            errhint("Repeat the call.")));
        }
    });
}

void destroy_versions(const KeyUse& kek, const Destruction& what) {
    lock_kek(kek.identifier);
    const DataKeyVersion key = lock_version(action, what.name, what.version);
    refuse_if_others_need(key);
    destroy_kek_versions(kek, key.kek_version_first, key.kek_version_last);
    notice_shred(key, key.kek_version_first == key.kek_version_last ? "is" : "are");
}

std::int64_t shred(const Destruction& what, const KeyUse& kek) {
    lock_kek(kek.identifier);
    const DataKeyVersion key = lock_version(action, what.name, what.version);
    const std::int64_t rows_lost = destroy_row(what, key);
    leave_versions(kek, key);
    SPI_connect_ext(SPI_OPT_NONATOMIC);
    commit_and_go_on();
    SPI_finish();
    destroy_versions(kek, what);
    return rows_lost;
}

std::int64_t destroy(const Destruction& what) {
    const DataKeyVersion key = version_of(action, what.name, what.version);
    if (what.dry_run) {
        return rehearse(what, key);
    }
    if (!what.force && key.state != wire::VersionState::destroyed) {
        outlast_copies(what, key.tag);
    }
    if (what.shred) {
        return shred(what, use_of_identifier("shred with key", key.kek));
    }
    return destroy_row(what, lock_version(action, what.name, what.version));
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
