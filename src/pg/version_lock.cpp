#include "pg/version_lock.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "base/bytes.hpp"
#include "pg/pg.hpp"

namespace kms::pg {
namespace {

// The objsubids that doc/administration.md names: "kv", "ka".
constexpr uint16 version_kind = 0x6b76;
constexpr uint16 all_kind = 0x6b61;

// A transaction that seals under more versions holds one lock on all of them instead: the server's
// lock table is finite, a table may have a key a row.
constexpr std::size_t most_held = 64;

struct Held {
    KeyTag tag;
    int level;  // of the subtransaction that would let go of it
};

std::array<Held, most_held> held;
std::size_t held_count = 0;
int all_level = 0;  // 0: not held
std::uint64_t epoch = 1;

std::span<Held> held_versions() {
    return std::span(held).first(held_count);
}

bool holds(const KeyTag& tag) {
    return all_level != 0 ||
           std::ranges::find(held_versions(), tag, &Held::tag) != held_versions().end();
}

LOCKTAG lock_of(const KeyTag& tag) {
    const ByteView bytes = tag;
    LOCKTAG lock;
    SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, static_cast<uint32>(load_be(bytes.first(4))),
                         static_cast<uint32>(load_be(bytes.last(4))), version_kind);
    return lock;
}

LOCKTAG lock_of_all() {
    LOCKTAG lock;
    SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, 0, 0, all_kind);
    return lock;
}

void acquire(const LOCKTAG& lock, LOCKMODE mode) {
    (void)LockAcquire(&lock, mode, false, false);
}

void at_transaction_end(XactEvent /*event*/, void* /*argument*/) {
    held_count = 0;
    all_level = 0;
    ++epoch;
}

void let_go_from(int level) {
    const auto versions = held_versions();
    const auto left = std::remove_if(versions.begin(), versions.end(),
                                     [level](const Held& lock) { return lock.level >= level; });
    held_count = static_cast<std::size_t>(left - versions.begin());
    all_level = all_level >= level ? 0 : all_level;
    ++epoch;
}

void hand_up_from(int level) {
    for (Held& lock : held_versions()) {
        lock.level = std::min(lock.level, level - 1);
    }
    all_level = std::min(all_level, level - 1);
}

void at_subtransaction_end(SubXactEvent event, SubTransactionId /*mine*/,
                           SubTransactionId /*parent*/, void* /*argument*/) {
    const int level = GetCurrentTransactionNestLevel();
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        let_go_from(level);
    } else if (event == SUBXACT_EVENT_COMMIT_SUB) {
        hand_up_from(level);
    }
}

void watch_transactions() {
    static bool watching = false;
    if (!watching) {
        RegisterXactCallback(at_transaction_end, nullptr);
        RegisterSubXactCallback(at_subtransaction_end, nullptr);
        watching = true;
    }
}

}  // namespace

std::uint64_t sealing_epoch() {
    return epoch;
}

void lock_for_sealing(const KeyTag& tag) {
    if (holds(tag)) {
        return;
    }
    watch_transactions();
    const int level = GetCurrentTransactionNestLevel();
    if (held_count < most_held) {
        acquire(lock_of(tag), ShareLock);
        held[held_count++] = {tag, level};
    } else {
        acquire(lock_of_all(), ShareLock);
        all_level = level;
    }
    AcceptInvalidationMessages();
}

void lock_for_retiring(const KeyTag& tag) {
    acquire(lock_of(tag), ExclusiveLock);
    acquire(lock_of_all(), ExclusiveLock);
}

}  // namespace kms::pg
