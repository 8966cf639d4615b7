// What one backend holds: its key agent, the DEKs fetched from it, and how it waits.
//
// Made at the first use, never destroyed (FATAL unwinds nothing, and exit() would run a static's
// destructor at any midpoint); lifetime.cpp wipes and releases what is in it.
#pragma once

#include <atomic>
#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "base/secret.hpp"
#include "client/calls/key_cache.hpp"
#include "client/link/agent.hpp"
#include "pg/server/wall.hpp"
#include "pg/session/key_use.hpp"
#include "pg/session/latch_waiter.hpp"

namespace kms::pg {

class Session {
  public:
    // Makes the agent ready for the current role. `meanwhile`, if any, is done while it starts.
    Result<Line> line(const KeyUse& use, void (*meanwhile)() = nullptr);

    // The key that encode uses, from the cache or the agent.
    Result<HeldKey*> current_key(const KeyUse& use);
    // The same from the agent, whatever is held.
    Result<HeldKey*> fetch_current_key(const KeyUse& use);
    // The key version with `tag`; Code::wrong_key where the agent has none.
    Result<HeldKey*> key_with_tag(const KeyUse& use, const KeyTag& tag);

    // Throws away keys that have expired, those of an agent that another command started or that
    // were another session user's, and what the database has no more of this one. What is left of
    // it; nullptr: nothing.
    HeldKeys* refresh_cache(const KeyUse& use);

    // Holds a key that the agent gave, as what encode uses or as another version.
    Result<HeldKey*> hold(const KeyUse& use, const FetchedKey& fetched, bool is_current);

    // What is held for a local id or an identifier, and was looked up in these circumstances.
    // nullptr: to be looked up, and remembered.
    HeldKeys* remembered(std::int32_t local_id, std::uint32_t owner) const;
    HeldKeys* remembered(ByteView identifier, std::uint32_t owner);

    KeyAgent agent;
    KeyCache cache;
    LatchWaiter waiter;
    std::uint64_t changes = 0;  // of keys at the agent, made by this session
    // Of the settings under which all keys that are held are bound: 0 where one may not be.
    std::uint64_t bound_under = 0;
    // Plaintexts on their way from one side to the other, of one value or of many.
    SecretBytes reply;
    std::vector<SecretBytes> opened;
    // Nothing secret, on its way to PostgreSQL.
    std::string text;
    std::vector<wire::ListedVersion> listed;
    std::vector<std::string> log_lines;  // of the agent, on their way into the server's log

    // Raised while the C++ side is inside `cache` or `agent`: a timer then only comes again later.
    volatile std::sig_atomic_t busy = 0;

  private:
    const Identity& identity(const KeyUse& use);
    Result<FetchedKey> ask_for(const KeyUse& use, const std::optional<KeyTag>& tag);
    Result<HeldKey*> fetch(const KeyUse& use, const std::optional<KeyTag>& tag);
    Result<HeldKey*> after_current_key(const KeyUse& use, const KeyTag& tag, Error error);
    HeldKey* used(const KeyUse& use, HeldKeys& keys, HeldKey* held);

    // For the fast path of local mode: what a local id stood for when it was last used.
    struct Memo {
        std::int32_t local_id = 0;
        std::uint32_t owner = 0;
        std::uint64_t circumstances = 0;
        std::uint64_t cache_generation = 0;
        TimePoint until;  // the first of the keys expires
        HeldKeys* keys = nullptr;
    };

    static constexpr std::size_t memo_count = 8;
    Memo memos_[memo_count];
    // Where the cached keys come from.
    std::string fetched_by_;
    Mode fetched_in_ = Mode::local;
    std::uint32_t fetched_for_ = 0;  // the session's user
    Identity identity_;
    std::uint64_t identity_generation_ = 0;
};

// nullptr until the first use.
extern Session* session_if_any;

// PostgreSQL side: makes the session at its first use, arms what must happen at its end, and sees
// to it that the descriptors of an agent are accounted for.
Session& session();

// The C++ side of a call about the session: guarded, and marked as busy.
template <typename Body>
Failure in_session(Session& session, const Subject& subject, Body&& body) noexcept {
    session.busy = 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const Failure failure = guarded(subject, body);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    session.busy = 0;
    return failure;
}

// PostgreSQL side, after the agent was spoken to: throws a pending error again, writes the agent's
// lines to the server's log, arms the timer.
void settle(Session& session, const Failure& failure);

// The same, and raises the failure if there is one.
void finish(Session& session, const Failure& failure);

// Lets go of what is held of the key that `subject` names: another session's rotation at the agent
// is not heard of.
void forget_key(const Subject& subject);

// The same of all keys.
void forget_keys();

}  // namespace kms::pg
