// A living key agent: started at need, spoken to in kms/1, started again when it is gone.
//
// Both directions are pumped at once until a deadline, requests are pipelined, replies matched by
// id, and late replies of abandoned requests drained and wiped. Not for threads.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "client/link/backoff.hpp"
#include "client/link/child.hpp"
#include "client/link/log_lines.hpp"
#include "client/link/offer.hpp"
#include "client/link/request.hpp"
#include "client/link/waiter.hpp"

namespace kms {

class Connection;
struct RequestClock;

struct Deadlines {
    milliseconds start{5000};     // from the start of the process to the end of the handshake
    milliseconds request{10000};  // of each request
};

// Counters since the object was made; for people.
struct AgentStatistics {
    std::uint64_t starts = 0;
    std::uint64_t requests = 0;
    std::uint64_t errors = 0;  // error replies, lost connections, passed deadlines
    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_received = 0;
    std::chrono::nanoseconds busy{0};  // spent in exchanges
    std::optional<Error> last_error;
};

// Its owner ignores SIGPIPE, as every PostgreSQL backend does.
class KeyAgent {
  public:
    KeyAgent();
    ~KeyAgent();
    KeyAgent(const KeyAgent&) = delete;
    KeyAgent& operator=(const KeyAgent&) = delete;

    // Makes sure that an agent runs for `command` and knows `identity`: starts it, restarts it
    // where the command has changed, where it has died between two uses, has not answered by now
    // what it had to, or lacks what it was asked for, and identifies anew where the identity has
    // changed: by `identify` where that is offered, by a fresh start and handshake where it is not,
    // so that an agent's policy cannot be walked around. A start that was interrupted is gone on
    // with. After a failure that is left alone for a while the same error again, with the time.
    // `meanwhile`, if any, is done while an agent starts.
    Status ensure(std::string_view command, const Identity& identity, const Deadlines& deadlines,
                  Waiter& waiter, void (*meanwhile)() = nullptr);

    // After failures it is not left alone any more: what was wrong may have been mended.
    void try_again() { backoff_.reset(); }

    bool running() const;
    pid_t pid() const;                            // -1 when not running
    pid_t last_pid() const { return last_pid_; }  // of the one that runs, or ran last
    const std::string& product() const;  // the agent's `agent` line, cut to printable bytes
    const std::vector<std::string>& capabilities() const;
    bool offers(std::string_view capability) const;
    Status require(std::string_view capability) const;  // Code::unsupported where it does not

    // Sends the requests of `errand`, pipelined, and hands it the replies, in the order of the
    // requests (of arrival where the agent is `unordered`). With a verb that the agent did not
    // offer nothing is sent (Code::unsupported: where every mode that asks for it needs it, another
    // agent is started for the next use), a body that it does not take is not, nor what
    // follows it (Code::too_large). After an interrupt or a deadline a connection whose last
    // request was only partly written is closed; any other lives on, until a further deadline has
    // passed without the reply: `ensure` then starts another.
    Status exchange(Errand& errand, const Deadlines& deadlines, Waiter& waiter);

    // Closes the agent's standard input and lets the process end by itself.
    void stop(Waiter& waiter);

    // The same, at once: whatever it was asked is not carried out later. It is killed and waited
    // for; where it cannot be signalled, it ends by itself, or is let go of after a while.
    void stop_now(Waiter& waiter);

    // For the end of the session: closes and wipes, waits for nothing.
    void abandon() noexcept;

    // Lines that the agent wrote to its standard error since the last call: each cut to 512
    // printable bytes, at most 64 kept, then one line that counts the dropped ones. The agent is
    // never blocked by them while an exchange runs.
    std::vector<std::string> take_log();
    // Reads what is there without waiting; for idle moments.
    void drain_log();

    EndingChildren& ending() { return ending_; }
    const AgentStatistics& statistics() const { return statistics_; }

  private:
    Status check_offered(Errand& errand);
    // `goes_on`: its requests were sent before, by a run that was interrupted.
    Status run(Errand& errand, RequestClock clock, Waiter& waiter, bool goes_on = false);
    Status shake_hands(const Deadlines& deadlines, Waiter& waiter, bool goes_on);
    Status end_start(Status status, Waiter& waiter);
    Status start(const Identity& identity, const Deadlines& deadlines, Waiter& waiter,
                 void (*meanwhile)());
    Status connect(const Identity& identity, const Deadlines& deadlines, Waiter& waiter,
                   void (*meanwhile)());
    Status check_idle(Waiter& waiter);
    void give_up_useless(TimePoint now, milliseconds deadline, Waiter& waiter);
    Status check_may_start(TimePoint now, const Identity& identity) const;
    void lost(Error why, Waiter& waiter);
    Status identify(const Identity& identity, const Deadlines& deadlines, Waiter& waiter);
    Error explain(Error error, bool hung_up, milliseconds deadline, Waiter& waiter);

    std::unique_ptr<Connection> connection_;
    std::string command_;  // of the connection
    Identity identity_;    // that the agent knows, where it is identified
    bool identified_ = false;
    pid_t last_pid_ = -1;
    TimePoint last_exchange_{};
    bool lacks_ = false;  // what every mode that asks for it needs
    Backoff backoff_;
    bool is_refusal_ = false;  // it was an answer to the handshake, for `identity_` alone
    Error failure_{Code::unavailable, {}};  // the last one, which is why it is left alone
    LogLines log_;
    EndingChildren ending_;
    AgentStatistics statistics_;
};

}  // namespace kms
