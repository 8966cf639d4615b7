#include "pg/change_lock.hpp"

#include "pg/pg.hpp"

namespace kms::pg {
namespace {

// The objsubid that doc/administration.md names: "kk".
constexpr uint16 kek_kind = 0x6b6b;

// Few enough that a transaction does not fill the server's lock table where every tenant has a KEK.
// KEKs that share a lock only wait for each other.
constexpr uint32 lock_count = 1024;

void acquire(ByteView kek, LOCKMODE mode) {
    const uint32 hash = hash_bytes(kek.data(), static_cast<int>(kek.size()));
    LOCKTAG lock;
    SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, 0, hash % lock_count, kek_kind);
    (void)LockAcquire(&lock, mode, false, false);
}

}  // namespace

void share_kek(ByteView kek) {
    acquire(kek, ShareLock);
}

void lock_kek(ByteView kek) {
    acquire(kek, ExclusiveLock);
}

}  // namespace kms::pg
