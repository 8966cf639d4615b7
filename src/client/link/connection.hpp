// One running agent: its process, its pipes, what is on its way through them, and the ids in use.
#pragma once

#include "base/clock.hpp"
#include "client/link/child.hpp"
#include "client/link/log_lines.hpp"
#include "client/link/offer.hpp"
#include "client/link/outbox.hpp"
#include "client/link/unanswered.hpp"
#include "client/link/waiter.hpp"
#include "wire/frame.hpp"

namespace kms {

class Connection {
  public:
    Connection(Child child, TimePoint started);

    pid_t pid() const { return child_.pid; }
    TimePoint started() const { return started_; }
    int in() const { return child_.in.get(); }
    int out() const { return child_.out.get(); }
    int err() const { return err_open_ ? child_.err.get() : -1; }

    wire::FrameReader& reader() { return reader_; }
    Outbox& outbox() { return outbox_; }
    UnansweredIds& ids() { return ids_; }

    const Offer& offer() const { return offer_; }
    void accept(Offer offer);  // of the handshake; governs everything after it
    bool accepted() const { return accepted_; }

    // It cannot be used any more: one side hung up, broke the protocol, or was cut off in a
    // request.
    void set_lost() { lost_ = true; }
    bool lost() const { return lost_; }

    enum class Arrival { bytes, nothing, end };
    Arrival read();  // once, into reader()

    // Reads standard error once; false where nothing was there.
    bool read_log(LogLines& log);
    // Reads what is there, but does not follow a flood.
    void drain_log(LogLines& log);

    // Nobody takes the replies any more to what is unanswered now. `is_late`: because they did not
    // come in time.
    void abandon_unanswered(TimePoint now, bool is_late);

    // The next exchange takes the replies to what was abandoned, which is all that was sent so far.
    void take_up_abandoned() { abandoned_end_ = 0; }

    // Drops the reply at hand, which answers an abandoned request; false where it is not all here.
    bool drop_reply();

    // Whether an abandoned request has had its time: that was late already, or had a deadline of
    // its own, from when it was abandoned and is the oldest that is unanswered. It would take a
    // place of those that may be in flight, or the whole connection, for good.
    bool is_stuck(TimePoint now, milliseconds deadline) const {
        return has_abandoned() && (abandoned_late_ || now - abandoned_since_ >= deadline);
    }

    // Between two exchanges: takes in late replies, notices an agent that is gone (false), and one
    // that speaks unasked (Code::protocol).
    Result<bool> still_there();

    // What became of an agent that closed its output, for people: `exited with status 1`. An
    // interrupt that is pending comes first. Its process may need a moment to end.
    Result<std::string> how_it_ended(Waiter& waiter);

    std::uint64_t bytes_sent() const { return outbox_.bytes_written(); }
    std::uint64_t bytes_received() const { return bytes_received_; }

  private:
    bool has_abandoned() const { return ids_.oldest() < abandoned_end_; }
    Status drop_late_replies();

    Child child_;
    TimePoint started_;
    bool err_open_ = true;
    bool accepted_ = false;
    bool lost_ = false;
    Offer offer_;
    wire::FrameReader reader_;
    Outbox outbox_;
    UnansweredIds ids_;
    std::uint64_t abandoned_end_ = 0;  // ids below it are abandoned
    TimePoint abandoned_since_{};      // and the oldest of them is the oldest of all
    bool abandoned_late_ = false;      // that one
    std::uint64_t bytes_received_ = 0;
};

}  // namespace kms
