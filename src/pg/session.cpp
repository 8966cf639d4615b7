#include "pg/session.hpp"

#include "pg/agent_count.hpp"
#include "pg/lifetime.hpp"
#include "pg/pg.hpp"
#include "pg/settings.hpp"

namespace kms::pg {
namespace {

// The pipes to the agent's standard input, output and error.
constexpr int agent_descriptors = 3;
constexpr int waiting_descriptors = 1;  // the set of a LatchWaiter that awaits a reply

// Counted against max_files_per_process for as long as the session may have an agent. What the
// waiter needs is only tried: PostgreSQL counts that itself, but words its lack as a defect.
void reserve_descriptors() {
    for (int i = 0; i < agent_descriptors + waiting_descriptors; ++i) {
        if (!AcquireExternalFD()) {
            while (i-- > 0) {
                ReleaseExternalFD();
            }
            ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
                            errmsg("no file descriptors are left for the key agent"),
                            errhint("Raise max_files_per_process.")));
        }
    }
    for (int i = 0; i < waiting_descriptors; ++i) {
        ReleaseExternalFD();
    }
}

void make_session() {
    Session* made = nullptr;
    const Failure failure = guarded({"begin"}, [&]() -> Status {
        made = new Session;
        return {};
    });
    if (failure) {
        raise(failure);
    }
    watch_lifetime();
    session_if_any = made;
}

// Without the query, which would be logged with a plaintext in it perhaps.
void log_agent_lines(Session& session) {
    const pid_t pid = session.agent.last_pid();
    for (const std::string& line : session.log_lines) {
        ereport(LOG_SERVER_ONLY, (errmsg("kms agent[%d]: %s", static_cast<int>(pid), line.c_str()),
                                  errhidestmt(true), errhidecontext(true)));
    }
    session.log_lines.clear();
    EndingChildren& ending = session.agent.ending();
    for (pid_t stubborn = ending.take_stubborn(); stubborn > 0; stubborn = ending.take_stubborn()) {
        ereport(LOG_SERVER_ONLY,
                (errmsg("kms agent[%d] does not end", static_cast<int>(stubborn)),
                 errdetail("It ignores the end of its input, and could not be killed."),
                 errhidestmt(true), errhidecontext(true)));
    }
}

}  // namespace

Session* session_if_any = nullptr;

Session& session() {
    if (session_if_any == nullptr) {
        reserve_descriptors();
        make_session();
    }
    return *session_if_any;
}

void settle(Session& session, const Failure& failure) {
    count_agent(session.agent.pid());
    if (failure.pending) {
        raise(failure);
    }
    const Failure unlogged =
        in_session(session, {"read the key agent's messages"}, [&]() -> Status {
            session.log_lines = session.agent.take_log();
            return {};
        });
    if (!unlogged) {
        log_agent_lines(session);
    }
    arm_timer();
}

void finish(Session& session, const Failure& failure) {
    settle(session, failure);
    if (failure) {
        raise(failure);
    }
}

const Identity& Session::identity(const KeyUse& use) {
    if (identity_generation_ != use.identity->generation) {
        identity_ = make_identity(*use.identity);
        identity_generation_ = use.identity->generation;
    }
    return identity_;
}

Result<Line> Session::line(const KeyUse& use, void (*meanwhile)()) {
    KMS_TRY(agent.ensure(use.command, identity(use), use.deadlines, waiter, meanwhile));
    return Line{agent, use.deadlines, waiter};
}

[[gnu::hot]] HeldKeys* Session::remembered(std::int32_t local_id, std::uint32_t owner) const {
    const Memo& memo = memos_[static_cast<std::uint32_t>(local_id) % memo_count];
    const bool holds = memo.local_id == local_id && memo.owner == owner &&
                       memo.settings_generation == settings_generation() &&
                       memo.cache_generation == cache.generation() &&
                       (memo.until == TimePoint::max() || recently() < memo.until);
    return holds ? memo.keys : nullptr;
}

void Session::remember(const KeyUse& use, HeldKeys* keys) {
    if (use.local_id != 0) {
        memos_[static_cast<std::uint32_t>(use.local_id) % memo_count] = {
            use.local_id,
            use.owner,
            settings_generation(),
            cache.generation(),
            keys->next_expiry(cache_ttl()),
            keys};
    }
}

void Session::refresh_cache(const KeyUse& use) {
    if (fetched_by_ != use.command) {
        cache.drop_all();
        fetched_by_ = use.command;
    }
    if (!cache.empty()) {
        cache.drop_expired(Clock::now(), cache_ttl());
    }
}

Result<HeldKey*> Session::fetch(const KeyUse& use, const std::optional<KeyTag>& tag) {
    KMS_ASSIGN(Line agent_line, line(use, prepare_sealing));
    KMS_ASSIGN(FetchedKey fetched, get_key(agent_line, use.identifier, tag));
    HeldKeys& keys = cache.find_or_add(use.owner, use.identifier);
    KMS_ASSIGN(HeldKey * held, cache.hold(keys, fetched, !tag));
    remember(use, &keys);
    return held;
}

Result<HeldKey*> Session::current_key(const KeyUse& use) {
    refresh_cache(use);
    HeldKeys* keys = cache.find(use.owner, use.identifier);
    if (keys == nullptr || keys->current == nullptr) {
        return fetch(use, std::nullopt);
    }
    remember(use, keys);
    return keys->current;
}

Result<HeldKey*> Session::key_with_tag(const KeyUse& use, const KeyTag& tag) {
    refresh_cache(use);
    HeldKeys* keys = cache.find(use.owner, use.identifier);
    HeldKey* held = keys != nullptr ? keys->find(tag) : nullptr;
    if (held != nullptr) {
        remember(use, keys);
        return held;
    }
    auto fetched = fetch(use, tag);
    if (!fetched && fetched.error().code == Code::not_found) {
        // The agent does not say whether it lacks the key or this version of it.
        KMS_TRY(current_key(use));
        return Error{Code::wrong_key, std::move(fetched.error().text)};
    }
    return fetched;
}

}  // namespace kms::pg
