// How many key agents there are: each process of the server that runs one holds an advisory lock
// that carries the agent's pid, so that pg_locks shows it and no shared memory of our own is
// needed.
//
// An advisory lock, since others that a session holds are let go of when a transaction fails, and
// are not at the session's end. What takes these away, DISCARD ALL and pg_advisory_unlock_all(), is
// made good at the transaction's end.
#pragma once

#include <sys/types.h>

namespace kms::pg {

extern pid_t counted_agent;  // -1: none

void count_anew(pid_t agent);

// While the agent is awaited (it may hang), and on the PostgreSQL side after it was spoken to, also
// where an error is about to be thrown again. `agent`: its pid, -1 where none runs. Where the
// server's lock table is full, the agent is counted later.
inline void count_agent(pid_t agent) {
    if (agent != counted_agent) {
        count_anew(agent);
    }
}

struct AgentCount {
    int session;  // with its parallel workers
    int server;
};

AgentCount count_agents();

}  // namespace kms::pg
