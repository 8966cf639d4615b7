// The advisory locks of this extension: the one list of all their spaces. `pg_locks` shows a space
// as objsubid, which doc/administration.md names, and the two numbers as classid and objid.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// Two letters each, far from 1 and 2, which are the server's own functions'.
enum class LockSpace : uint16 {
    all_versions = 0x6b61,  // "ka", 27489: a transaction that seals under many
    kek = 0x6b6b,           // "kk", 27499: a hash of its identifier
    agent = 0x6b6d,         // "km", 27501: its pid
    name = 0x6b6e,          // "kn", 27502: a hash of a key's
    run = 0x6b72,           // "kr", 27506: relation and attribute
    version = 0x6b76,       // "kv", 27510: its tag, in two halves
};

// Of this database.
inline LOCKTAG lock_in(LockSpace space, uint32 first, uint32 second) {
    LOCKTAG lock;
    SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, first, second, static_cast<uint16>(space));
    return lock;
}

inline bool is_in(LockSpace space, const LOCKTAG& lock) {
    return lock.locktag_type == LOCKTAG_ADVISORY &&
           lock.locktag_field4 == static_cast<uint16>(space);
}

}  // namespace kms::pg
