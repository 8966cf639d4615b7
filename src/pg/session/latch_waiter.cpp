#include "pg/session/latch_waiter.hpp"

#include <algorithm>

#include "pg/server/pg.hpp"
#include "pg/session/agent_count.hpp"
#include "pg/session/session.hpp"

namespace kms::pg {
namespace {

constexpr int own_events = 2;  // the latch, the postmaster's death

uint32 events_of(const Waiter::Interest& interest) {
    return (interest.read ? WL_SOCKET_READABLE : 0u) | (interest.write ? WL_SOCKET_WRITEABLE : 0u);
}

void add_events(WaitEventSet* set, std::span<const Waiter::Interest> interests) {
    AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, nullptr);
    if (IsUnderPostmaster) {  // and not in single-user mode
        AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, nullptr, nullptr);
    }
    for (const Waiter::Interest& interest : interests) {
        AddWaitEventToSet(set, events_of(interest), interest.fd, nullptr, nullptr);
    }
}

WaitEventSet* make_set(std::span<const Waiter::Interest> interests) {
    WaitEventSet* set = create_wait_event_set(own_events + static_cast<int>(interests.size()));
    PG_TRY();
    { add_events(set, interests); }
    PG_CATCH();
    {
        FreeWaitEventSet(set);
        PG_RE_THROW();
    }
    PG_END_TRY();
    return set;
}

long milliseconds_until(TimePoint deadline) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
    return std::clamp<long>(left, 0, 1000L * 3600);
}

}  // namespace

WaitEventSet* LatchWaiter::prepare(std::span<const Interest> interests) {
    for (const Prepared& prepared : prepared_) {
        const auto known = std::span(prepared.interests).first(prepared.count);
        if (prepared.set != nullptr && std::ranges::equal(known, interests)) {
            return prepared.set;
        }
    }
    Prepared& prepared = prepared_[oldest_++ % most];
    if (prepared.set != nullptr) {
        FreeWaitEventSet(std::exchange(prepared.set, nullptr));
    }
    prepared.count = std::min(interests.size(), prepared.interests.size());
    std::copy_n(interests.begin(), prepared.count, prepared.interests.begin());
    prepared.set = make_set(std::span(prepared.interests).first(prepared.count));
    return prepared.set;
}

Waiter::Outcome LatchWaiter::wait_for_event(WaitEventSet* set, TimePoint deadline) {
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        WaitEvent event;
        const long timeout = milliseconds_until(deadline);
        const int count = WaitEventSetWait(set, timeout, &event, 1, agent_wait_event());
        if (count > 0 && (event.events & WL_LATCH_SET) == 0) {
            return Outcome::ready;
        }
        if (count > 0) {
            ResetLatch(MyLatch);
            CHECK_FOR_INTERRUPTS();
        } else if (Clock::now() >= deadline) {
            return Outcome::timed_out;
        }
    }
}

Waiter::Outcome LatchWaiter::wait(std::span<const Interest> interests,
                                  TimePoint deadline) noexcept {
    if (has_pending_error()) {
        return Outcome::interrupted;
    }
    volatile Outcome outcome = Outcome::interrupted;
    PG_TRY();
    {
        count_agent(session_if_any->agent.pid());
        outcome = wait_for_event(prepare(interests), deadline);
    }
    PG_CATCH();
    { note_pending_error(); }
    PG_END_TRY();
    return outcome;
}

void LatchWaiter::forget() noexcept {
    for (Prepared& prepared : prepared_) {
        if (prepared.set != nullptr) {
            FreeWaitEventSet(std::exchange(prepared.set, nullptr));
        }
    }
}

}  // namespace kms::pg
