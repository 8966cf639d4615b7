#include "pg/server/change_lock.hpp"

#include "pg/server/pg.hpp"

namespace kms::pg {
namespace {

// The objsubids that doc/administration.md names: "kk" and "kn".
constexpr uint16 kek_kind = 0x6b6b;
constexpr uint16 name_kind = 0x6b6e;

// Few enough that a transaction does not fill the server's lock table where every tenant has a KEK,
// or it makes a key for each. Those that share a lock only wait for each other.
constexpr uint32 kek_locks = 1024;
constexpr uint32 name_locks = 64;

void acquire(uint16 kind, uint32 count, ByteView name, LOCKMODE mode) {
    const uint32 hash = hash_bytes(name.data(), static_cast<int>(name.size()));
    LOCKTAG lock;
    SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, 0, hash % count, kind);
    (void)LockAcquire(&lock, mode, false, false);
    // Of those who were waited for.
    AcceptInvalidationMessages();
}

}  // namespace

void share_kek(ByteView kek) {
    acquire(kek_kind, kek_locks, kek, ShareLock);
}

void lock_kek(ByteView kek) {
    acquire(kek_kind, kek_locks, kek, ExclusiveLock);
}

// The first two modes conflict with each other, and not with themselves.
void lock_name(ByteView name, KeyPlace place) {
    const LOCKMODE mode = place == KeyPlace::database ? RowExclusiveLock
                          : place == KeyPlace::agent  ? ShareLock
                                                      : ExclusiveLock;
    acquire(name_kind, name_locks, name, mode);
}

}  // namespace kms::pg
