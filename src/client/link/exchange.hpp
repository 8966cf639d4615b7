// Requests out, replies in: both directions of a connection pumped at once until all is answered.
#pragma once

#include <optional>
#include <utility>

#include "client/link/connection.hpp"
#include "client/link/request.hpp"

namespace kms {

// The end of the time that the oldest unanswered request has, now and for each that follows it.
struct RequestClock {
    TimePoint began;
    TimePoint deadline;
    milliseconds each;
};

class Exchange {
  public:
    // `already_sent`: how many of the errand's requests were sent before, by another exchange that
    // was given up.
    Exchange(Connection& connection, Errand& errand, RequestClock clock, Waiter& waiter,
             LogLines& log, std::uint64_t already_sent = 0);
    // Whatever was not answered, also after an exception, is abandoned.
    ~Exchange();
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    // Memory is bounded by the outbox and by one reply. Code::unavailable without a text where the
    // agent hung up.
    Status run();

    bool hung_up() const { return hung_up_; }  // the agent closed a pipe
    std::uint64_t requests_sent() const { return next_; }
    std::uint64_t error_replies() const { return error_replies_; }
    const std::optional<Error>& last_error_reply() const { return last_error_reply_; }

  private:
    using Oldest = std::pair<std::uint64_t, std::uint64_t>;  // of all requests, and of ours

    Status pump();
    Status send();
    void gather();
    Status add_next();
    Status wait();
    Status receive();
    Status receive_bytes();
    Oldest oldest_unanswered() const;
    Status deliver();
    Result<bool> take_reply(const wire::Head& head);
    Status place_body(const wire::Head& head);
    Status hand_over(const wire::Head& head);
    Status agent_closed();
    Status last_replies();
    void abandon() noexcept;
    void drop_begun_reply();
    void finish_cut_request();
    bool go_on_with_cut_request();
    bool all_answered() const { return answered_ == end_; }

    Connection& connection_;
    Errand& errand_;
    RequestClock clock_;
    Waiter& waiter_;
    LogLines& log_;

    std::uint64_t first_id_;  // that of request 0; those below it are abandoned
    std::size_t next_ = 0;    // the first request that was not gathered
    std::size_t end_;         // of the requests that are sent
    std::size_t answered_ = 0;
    std::optional<Error> not_sent_;  // why request end_ is not
    std::uint64_t error_replies_ = 0;
    bool hung_up_ = false;
    bool broke_protocol_ = false;
    bool is_late_ = false;
    bool complete_ = false;
    std::optional<Error> last_error_reply_;
};

}  // namespace kms
