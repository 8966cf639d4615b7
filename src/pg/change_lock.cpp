#include "pg/change_lock.hpp"

#include "pg/pg.hpp"

namespace kms::pg {
namespace {

// The objsubids that doc/administration.md names: "kn", "kk".
constexpr uint16 name_kind = 0x6b6e;
constexpr uint16 kek_kind = 0x6b6b;

// Few enough that a transaction which makes a million keys does not fill the server's lock table.
// Identifiers that share a lock only wait for each other.
constexpr uint32 lock_count = 1024;

void acquire(ByteView identifier, uint16 kind, LOCKMODE mode) {
    const uint32 hash = hash_bytes(identifier.data(), static_cast<int>(identifier.size()));
    LOCKTAG lock;
    SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, 0, hash % lock_count, kind);
    (void)LockAcquire(&lock, mode, false, false);
}

}  // namespace

void lock_data_key(ByteView name) {
    acquire(name, name_kind, ExclusiveLock);
}

void share_kek(ByteView kek) {
    acquire(kek, kek_kind, ShareLock);
}

void lock_kek(ByteView kek) {
    acquire(kek, kek_kind, ExclusiveLock);
}

}  // namespace kms::pg
