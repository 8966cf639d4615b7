#include "pg/session/lifetime.hpp"

#include <algorithm>

#include "pg/server/pg.hpp"
#include "pg/session/session.hpp"
#include "pg/session/settings.hpp"

namespace kms::pg {
namespace {

constexpr milliseconds agent_check{500};  // how soon to look after an agent that is ending
constexpr milliseconds busy_check{100};   // how soon to look again while a key is in use

TimeoutId timer = MAX_TIMEOUTS;
TimePoint timer_end;  // while it is active

TimePoint next_event(Session& session) {
    const TimePoint expiry = session.cache.next_expiry(cache_ttl());
    return session.agent.ending().empty() ? expiry : std::min(expiry, Clock::now() + agent_check);
}

void set_timer(TimePoint end) {
    if (end == TimePoint::max()) {
        return;
    }
    const auto wait = std::chrono::ceil<milliseconds>(end - Clock::now());
    timer_end = end;
    enable_timeout_after(timer, std::max(1, static_cast<int>(wait.count())));
}

// In a signal handler, in the middle of anything: overwrites in place, and leaves the rest to the
// next use. While a key is in use it only says that something is due.
void on_timer() {
    Session* session = session_if_any;
    if (session == nullptr) {
        return;
    }
    const TimePoint now = Clock::now();
    if (session->busy != 0) {
        set_timer(now + busy_check);
        return;
    }
    session->cache.wipe_expired(now, cache_ttl());
    session->agent.ending().advance(now);
    set_timer(next_event(*session));
}

// Settings have their values from before the transaction again: keys that no binding refers to are
// of no use any more.
void forget_unbound_keys(Session& session) {
    (void)in_session(session, {"forget keys"}, [&]() -> Status {
        session.reply.release();
        session.opened.clear();
        if (session.bound_under == settings_generation()) {
            return {};
        }
        const bool held_here = mode() != Mode::remote;
        session.cache.retain([&](const HeldKeys& keys) {
            return held_here &&
                   (keys.by_name || key_list_unchecked().binds(bytes_of(keys.identifier)));
        });
        session.bound_under = settings_generation();
        return {};
    });
}

bool callback_registered = false;

void after_transaction(void* /*argument*/) {
    callback_registered = false;
    if (session_if_any != nullptr) {
        forget_unbound_keys(*session_if_any);
    }
}

MemoryContextCallback transaction_callback = {after_transaction, nullptr, nullptr};

bool is_end(XactEvent event) {
    switch (event) {
        case XACT_EVENT_COMMIT:
        case XACT_EVENT_PARALLEL_COMMIT:
        case XACT_EVENT_ABORT:
        case XACT_EVENT_PARALLEL_ABORT:
        case XACT_EVENT_PREPARE:
            return true;
        default:
            return false;
    }
}

// An error has come in a transaction block, or behind a savepoint, and has cancelled the timer.
// Until the ROLLBACK nothing can use a key, while another error would cancel the timer unseen.
void after_failure_in_block(Session& session) {
    const bool failed = debug_query_string == nullptr && IsTransactionBlock();
    if (failed && cache_ttl().count() > 0) {
        session.cache.wipe_all();
    }
}

// Settings are restored after this event and before the transaction's memory is let go of. A list
// of callbacks would become a ring if one were entered twice.
void at_transaction_end(XactEvent event, void* /*argument*/) {
    Session* session = session_if_any;
    if (!is_end(event) || session == nullptr) {
        return;
    }
    if (event == XACT_EVENT_ABORT) {
        after_failure_in_block(*session);
    }
    arm_timer();
    const bool something_to_do =
        !session->cache.empty() || session->reply.capacity() > 0 || !session->opened.empty();
    if (something_to_do && !callback_registered && TopTransactionContext != nullptr) {
        callback_registered = true;
        MemoryContextRegisterResetCallback(TopTransactionContext, &transaction_callback);
    }
}

void at_subtransaction_end(SubXactEvent event, SubTransactionId /*mine*/,
                           SubTransactionId /*parent*/, void* /*argument*/) {
    Session* session = session_if_any;
    if (event == SUBXACT_EVENT_ABORT_SUB && session != nullptr) {
        after_failure_in_block(*session);
        arm_timer();
    }
}

void tell_of_the_living(const EndingChildren& ending) {
    for (std::size_t i = 0; i < ending.size(); ++i) {
        ereport(LOG_SERVER_ONLY,
                (errmsg("kms agent[%d] outlives its session", static_cast<int>(ending.pid(i))),
                 errdetail("It ignores the end of its input, and could not be killed."),
                 errhidestmt(true), errhidecontext(true)));
    }
}

// Where the postmaster is process 1, as in a container, it is the next parent of what this one
// leaves behind, and would take its end for that of a backend. Elsewhere a worker's leader, which
// cannot be interrupted meanwhile, need not wait for an agent that does not end.
void wait_for_agents(EndingChildren& ending) {
    constexpr pid_t process_one = 1;
    if (IsParallelWorker() && PostmasterPid != process_one) {
        ending.wait_a_moment();
        return;
    }
    ending.wait_for_all();
    tell_of_the_living(ending);
}

// A FATAL error may come at any midpoint: wipe, and close the agent's input.
void at_session_end(int /*code*/, Datum /*argument*/) {
    if (Session* session = session_if_any) {
        session->busy = 1;
        session->cache.wipe_all();
        session->reply.release();
        session->opened.clear();
        session->agent.abandon();
        wait_for_agents(session->agent.ending());
    }
}

}  // namespace

void watch_lifetime() {
    on_proc_exit(at_session_end, 0);
    RegisterXactCallback(at_transaction_end, nullptr);
    RegisterSubXactCallback(at_subtransaction_end, nullptr);
    timer = RegisterTimeout(USER_TIMEOUT, on_timer);
}

void arm_timer() {
    if (session_if_any == nullptr || timer == MAX_TIMEOUTS) {
        return;
    }
    const TimePoint next = next_event(*session_if_any);
    if (!get_timeout_active(timer) || next < timer_end) {
        set_timer(next);
    }
}

}  // namespace kms::pg
