#include "pg/stored/change_lock.hpp"

#include "pg/server/lock_spaces.hpp"

namespace kms::pg {
namespace {

// Few enough that a transaction does not fill the server's lock table where every tenant has a KEK,
// or it makes a key for each. Those that share a lock only wait for each other.
constexpr uint32 kek_locks = 1024;
constexpr uint32 name_locks = 64;

void acquire(LockSpace space, uint32 count, ByteView name, LOCKMODE mode) {
    const uint32 hash = hash_bytes(name.data(), static_cast<int>(name.size()));
    const LOCKTAG lock = lock_in(space, 0, hash % count);
    (void)LockAcquire(&lock, mode, false, false);
    // Of those who were waited for.
    AcceptInvalidationMessages();
}

}  // namespace

void share_kek(ByteView kek) {
    acquire(LockSpace::kek, kek_locks, kek, ShareLock);
}

void lock_kek(ByteView kek) {
    acquire(LockSpace::kek, kek_locks, kek, ExclusiveLock);
}

// The first two modes conflict with each other, and not with themselves.
void lock_name(ByteView name, KeyPlace place) {
    const LOCKMODE mode = place == KeyPlace::database ? RowExclusiveLock
                          : place == KeyPlace::agent  ? ShareLock
                                                      : ExclusiveLock;
    acquire(LockSpace::name, name_locks, name, mode);
}

}  // namespace kms::pg
