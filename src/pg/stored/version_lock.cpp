#include "pg/stored/version_lock.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "base/bytes.hpp"
#include "pg/server/lock_spaces.hpp"
#include "pg/stored/made_versions.hpp"

namespace kms::pg {
namespace {

// A transaction that seals under more versions holds one lock on all of them instead: the server's
// lock table is finite, a table may have a key a row.
constexpr std::size_t most_held = 64;

std::array<KeyTag, most_held> held;
std::size_t held_count = 0;
bool holds_all = false;
std::uint64_t epoch = 1;

bool holds(const KeyTag& tag) {
    const auto versions = std::span(held).first(held_count);
    return holds_all || std::ranges::find(versions, tag) != versions.end();
}

LOCKTAG lock_of(const KeyTag& tag) {
    const ByteView bytes = tag;
    return lock_in(LockSpace::version, static_cast<uint32>(load_be(bytes.first(4))),
                   static_cast<uint32>(load_be(bytes.last(4))));
}

LOCKTAG lock_of_all() {
    return lock_in(LockSpace::all_versions, 0, 0);
}

void acquire(const LOCKTAG& lock, LOCKMODE mode) {
    (void)LockAcquire(&lock, mode, false, false);
}

// Until the transaction is over: what was sealed outlives a subtransaction that is rolled back, in
// a variable of PL/pgSQL say.
void acquire_for_good(const LOCKTAG& lock) {
    const ResourceOwner current = CurrentResourceOwner;
    CurrentResourceOwner = TopTransactionResourceOwner;
    acquire(lock, ShareLock);
    CurrentResourceOwner = current;
}

void at_transaction_end(XactEvent /*event*/, void* /*argument*/) {
    held_count = 0;
    holds_all = false;
    ++epoch;
}

void watch_transactions() {
    static bool watching = false;
    if (!watching) {
        RegisterXactCallback(at_transaction_end, nullptr);
        watching = true;
    }
}

}  // namespace

std::uint64_t sealing_epoch() {
    return epoch;
}

void lock_for_sealing(const KeyTag& tag) {
    note_sealing(tag);
    if (holds(tag)) {
        return;
    }
    watch_transactions();
    if (held_count < most_held) {
        acquire_for_good(lock_of(tag));
        held[held_count++] = tag;
    } else {
        acquire_for_good(lock_of_all());
        holds_all = true;
    }
    AcceptInvalidationMessages();
}

bool has_sealed_under(const KeyTag& tag) {
    return holds(tag);
}

void lock_for_retiring(const KeyTag& tag) {
    acquire(lock_of(tag), ExclusiveLock);
    acquire(lock_of_all(), ExclusiveLock);
}

}  // namespace kms::pg
