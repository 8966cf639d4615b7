#include "pg/session/agent_count.hpp"

#include <algorithm>
#include <span>

#include "pg/server/lock_spaces.hpp"

namespace kms::pg {
namespace {

constexpr pid_t none = -1;

// No two agents have the same lock, so that nobody ever waits for one.
LOCKTAG lock_of(pid_t agent) {
    return lock_in(LockSpace::agent, 0, static_cast<uint32>(agent));
}

bool is_ours(const LockInstanceData& lock) {
    return is_in(LockSpace::agent, lock.locktag);
}

void take_again_before_commit(XactEvent event, void* /*argument*/) {
    if (event == XACT_EVENT_PRE_COMMIT && counted_agent != none) {
        const LOCKTAG tag = lock_of(counted_agent);
        if (!is_locked_by_me(tag)) {
            (void)try_lock_for_session(tag);
        }
    }
}

void watch_commits() {
    static bool watching = false;
    if (!watching) {
        RegisterXactCallback(take_again_before_commit, nullptr);
        watching = true;
    }
}

void forget_counted_agent() {
    const LOCKTAG tag = lock_of(counted_agent);
    if (counted_agent != none && is_locked_by_me(tag)) {
        LockRelease(&tag, AccessShareLock, true);
    }
    counted_agent = none;
}

int group_of_this_process() {
    const PGPROC* leader = MyProc->lockGroupLeader;
    return leader != nullptr ? leader->pid : MyProcPid;
}

}  // namespace

pid_t counted_agent = none;

void count_anew(pid_t agent) {
    watch_commits();
    forget_counted_agent();
    if (agent != none && try_lock_for_session(lock_of(agent))) {
        counted_agent = agent;
    }
}

AgentCount count_agents() {
    const LockData* data = GetLockStatusData();
    const int group = group_of_this_process();
    AgentCount count = {0, 0};
    for (const LockInstanceData& lock :
         std::span(data->locks, static_cast<std::size_t>(data->nelements))) {
        if (is_ours(lock)) {
            ++count.server;
            count.session += lock.leaderPid == group ? 1 : 0;
        }
    }
    return count;
}

}  // namespace kms::pg
