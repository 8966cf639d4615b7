#include "pg/session/session.hpp"

#include "pg/server/pg.hpp"
#include "pg/session/agent_count.hpp"
#include "pg/session/envelope.hpp"
#include "pg/session/lifetime.hpp"
#include "pg/session/settings.hpp"

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

Result<FetchedKey> about_key(Result<FetchedKey> fetched) {
    if (!fetched) {
        fetched.error().code = key_failure(fetched.error().code);
    }
    return fetched;
}

// Where nobody has asked about a value yet, no answer is about one.
Status about_agent(Status ready) {
    if (!ready && is_about_a_value(ready.error().code)) {
        ready.error().code = Code::protocol;
    }
    return ready;
}

// The database has other versions of the key: an agent that gives no keys has none of this name.
Error neither_here_nor_there(Error error, const KeyTag& tag) {
    if (error.code == Code::not_found || error.code == Code::unsupported) {
        return {Code::wrong_key,
                "No version of the data key, nor of a key of this name at the agent, "
                "has the tag " +
                    wire::tag_word(tag) + "."};
    }
    return error;
}

// A KEK that is not there, or not what it was, need not keep what the agent itself has from
// opening.
bool may_be_at_agent(Code failure) {
    return mode() == Mode::local && (failure == Code::not_found || failure == Code::disabled ||
                                     failure == Code::damaged_key || failure == Code::denied);
}

// Who reloads the configuration may have mended an agent, too.
bool was_reloaded() {
    static TimestampTz last = 0;
    return std::exchange(last, PgReloadTime) != PgReloadTime;
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

void forget_key(const Subject& subject) {
    Session& here = session();
    finish(here, in_session(here, subject, [&]() -> Status {
               here.cache.drop(subject.identifier);
               return {};
           }));
}

void forget_keys() {
    Session& here = session();
    finish(here, in_session(here, {"forget keys"}, [&]() -> Status {
               here.cache.drop_all();
               return {};
           }));
}

const Identity& Session::identity(const KeyUse& use) {
    if (identity_generation_ != use.identity->generation) {
        identity_ = make_identity(*use.identity);
        identity_generation_ = use.identity->generation;
    }
    return identity_;
}

Result<Line> Session::line(const KeyUse& use, void (*meanwhile)()) {
    if (was_reloaded()) {
        agent.try_again();
    }
    KMS_TRY(
        about_agent(agent.ensure(use.command, identity(use), use.deadlines, waiter, meanwhile)));
    return Line{agent, use.deadlines, waiter};
}

[[gnu::hot]] HeldKeys* Session::remembered(std::int32_t local_id, std::uint32_t owner) const {
    const Memo& memo = memos_[static_cast<std::uint32_t>(local_id) % memo_count];
    const bool holds = memo.local_id == local_id && memo.owner == owner &&
                       memo.circumstances == key_circumstances() &&
                       memo.cache_generation == cache.generation() &&
                       (memo.until == TimePoint::max() || recently() < memo.until);
    return holds ? memo.keys : nullptr;
}

HeldKeys* Session::remembered(ByteView identifier, std::uint32_t owner) {
    HeldKeys* keys = cache.find(owner, identifier);
    const bool holds = keys != nullptr && keys->by_name &&
                       keys->valid_under == key_circumstances() &&
                       recently() < keys->next_expiry(cache_ttl());
    if (!holds) {
        return nullptr;
    }
    cache.touch(*keys);
    return keys;
}

// What is held is used: it is remembered, and what was not for long may have to go for it.
HeldKey* Session::used(const KeyUse& use, HeldKeys& keys, HeldKey* held) {
    held->is_stored = use.is_stored(held->key.tag());
    keys.valid_under = use.circumstances;
    keys.by_name = keys.by_name || use.local_id == 0;
    cache.trim(max_cached_keys(), keys, held);
    if (use.local_id != 0) {
        memos_[static_cast<std::uint32_t>(use.local_id) % memo_count] = {
            use.local_id,
            use.owner,
            use.circumstances,
            cache.generation(),
            keys.next_expiry(cache_ttl()),
            &keys};
    }
    return held;
}

HeldKeys* Session::refresh_cache(const KeyUse& use) {
    if (fetched_by_ != use.command || fetched_in_ != mode() || fetched_for_ != GetSessionUserId()) {
        cache.drop_all();
        fetched_by_ = use.command;
        fetched_in_ = mode();
        fetched_for_ = GetSessionUserId();
    }
    if (!cache.empty()) {
        cache.drop_expired(Clock::now(), cache_ttl());
    }
    HeldKeys* keys = cache.find(use.owner, use.identifier);
    if (keys != nullptr) {
        keep_what_is_there(cache, *keys, use);
    }
    return keys;
}

Result<FetchedKey> Session::ask_for(const KeyUse& use, const std::optional<KeyTag>& tag) {
    if (!use.is_stored(tag)) {
        KMS_ASSIGN(Line agent_line, line(use, prepare_sealing));
        return about_key(get_key(agent_line, use.identifier, tag));
    }
    KMS_ASSIGN(const DataKeyVersion* version, usable_version(*use.stored, tag));
    KMS_ASSIGN(Line agent_line, line(use, prepare_sealing));
    auto unwrapped = unwrap_version(agent_line, use.identifier, *version);
    if (!unwrapped && tag && may_be_at_agent(unwrapped.error().code)) {
        if (auto fetched = get_key(agent_line, use.identifier, tag)) {
            return fetched;
        }
    }
    return unwrapped;
}

Result<HeldKey*> Session::fetch(const KeyUse& use, const std::optional<KeyTag>& tag) {
    KMS_ASSIGN(const FetchedKey fetched, ask_for(use, tag));
    return hold(use, fetched, !tag);
}

// Who is asked for a version by its tag does not say whether it is the current one; the database
// does.
Result<HeldKey*> Session::hold(const KeyUse& use, const FetchedKey& fetched, bool is_current) {
    if (use.stored != nullptr) {
        is_current = use.stored->newest()->tag == fetched.tag;
    }
    HeldKeys& keys = cache.find_or_add(use.owner, use.identifier);
    KMS_ASSIGN(HeldKey * held, cache.hold(keys, fetched, is_current));
    return used(use, keys, held);
}

Result<HeldKey*> Session::current_key(const KeyUse& use) {
    HeldKeys* keys = refresh_cache(use);
    if (keys == nullptr || keys->current == nullptr) {
        return fetch(use, std::nullopt);
    }
    return used(use, *keys, keys->current);
}

Result<HeldKey*> Session::fetch_current_key(const KeyUse& use) {
    refresh_cache(use);
    return fetch(use, std::nullopt);
}

Result<HeldKey*> Session::key_with_tag(const KeyUse& use, const KeyTag& tag) {
    HeldKeys* keys = refresh_cache(use);
    HeldKey* held = keys != nullptr ? keys->find(tag) : nullptr;
    if (held != nullptr) {
        return used(use, *keys, held);
    }
    auto fetched = fetch(use, tag);
    if (fetched || use.is_stored(tag)) {
        return fetched;
    }
    return use.stored != nullptr ? neither_here_nor_there(std::move(fetched.error()), tag)
                                 : after_current_key(use, tag, std::move(fetched.error()));
}

// The agent does not say whether it lacks the key or this version of it. A current version that is
// disabled is another one, and there.
Result<HeldKey*> Session::after_current_key(const KeyUse& use, const KeyTag& tag, Error error) {
    if (error.code != Code::not_found) {
        return error;
    }
    auto current = current_key(use);
    if (!current && current.error().code != Code::disabled) {
        return current;
    }
    if (current && (*current)->key.tag() == tag) {
        return current;
    }
    error.code = Code::wrong_key;
    return error;
}

}  // namespace kms::pg
