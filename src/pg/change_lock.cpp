#include "pg/change_lock.hpp"

#include "pg/pg.hpp"

namespace kms::pg {
namespace {

// The objsubids that doc/administration.md names: "kn", "kk".
constexpr uint16 name_kind = 0x6b6e;
constexpr uint16 kek_kind = 0x6b6b;

// Two identifiers with one hash only wait for each other.
void acquire(ByteView identifier, uint16 kind, LOCKMODE mode) {
    const uint64 hash =
        hash_bytes_extended(identifier.data(), static_cast<int>(identifier.size()), 0);
    LOCKTAG lock;
    SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, static_cast<uint32>(hash >> 32),
                         static_cast<uint32>(hash), kind);
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
