#include "client/link/agent.hpp"

#include <algorithm>
#include <iterator>

#include "client/link/connection.hpp"
#include "client/link/exchange.hpp"
#ifdef KMS_SEND_UNKNOWN_VERBS
#include "client/link/unknown_verbs.hpp"
#endif

#include "base/floor.hpp"

namespace kms {
namespace {

// Between the rows of a query an agent is not idle, and need not be looked after each time.
constexpr std::chrono::microseconds idle_after{200};

constexpr std::size_t most_detail = 256;

// Without them a mode can do nothing; any other verb is for some uses.
constexpr std::string_view needed_by_a_mode[] = {wire::verb::get, wire::verb::encrypt,
                                                 wire::verb::decrypt, wire::verb::wrap,
                                                 wire::verb::unwrap};

std::string in_milliseconds(milliseconds time) {
    return std::to_string(time.count()) + " ms";
}

// One request, whose answer says no more than that the agent has understood.
class Notice : public Errand {
  public:
    explicit Notice(const Request& request) : request_(request) {}

    std::size_t count() const override { return 1; }
    Request request(std::size_t) override { return request_; }
    Status take(std::size_t, const Result<Reply>& reply) override {
        return reply ? Status() : reply.error();
    }

  private:
    Request request_;
};

}  // namespace

KeyAgent::KeyAgent() = default;

KeyAgent::~KeyAgent() {
    abandon();
}

bool KeyAgent::running() const {
    return connection_ != nullptr;
}

pid_t KeyAgent::pid() const {
    return connection_ ? connection_->pid() : -1;
}

const std::string& KeyAgent::product() const {
    static const std::string none;
    return connection_ ? connection_->offer().product : none;
}

const std::vector<std::string>& KeyAgent::capabilities() const {
    static const std::vector<std::string> none;
    return connection_ ? connection_->offer().capabilities : none;
}

bool KeyAgent::offers(std::string_view capability) const {
    return connection_ && connection_->offer().includes(capability);
}

Status KeyAgent::require(std::string_view capability) const {
    if (!offers(capability)) {
        return Error{Code::unsupported, "the key agent does not offer " + std::string(capability)};
    }
    return {};
}

Status KeyAgent::ensure(std::string_view command, const Identity& identity,
                        const Deadlines& deadlines, Waiter& waiter, void (*meanwhile)()) {
    const TimePoint now = Clock::now();
    ending_.advance(now);
    if (command != command_) {
        stop(waiter);
        backoff_.reset();
        command_ = command;
    }
    if (command.empty()) {
        return Error{Code::unavailable, "kms.command is not set"};
    }
    if (connection_ && !connection_->accepted()) {
        if (identity != identity_) {
            stop(waiter);  // what it answers is for somebody else
        } else {
            KMS_TRY(end_start(shake_hands(deadlines, waiter, true), waiter));
        }
    }
    if (now - last_exchange_ >= idle_after) {
        KMS_TRY(check_idle(waiter));
    }
    give_up_useless(now, deadlines.request, waiter);
    if (connection_ && identified_ && identity == identity_) {
        return {};
    }
    if (connection_ && offers(wire::verb::identify)) {
        return identify(identity, deadlines, waiter);
    }
    stop(waiter);
    return start(identity, deadlines, waiter, meanwhile);
}

// An agent that has died since its last use is forgotten, and so started again.
Status KeyAgent::check_idle(Waiter& waiter) {
    if (!connection_) {
        return {};
    }
    const auto there = connection_->lost() ? Result<bool>(false) : connection_->still_there();
    if (there && *there) {
        return {};
    }
    log_.note("the agent with pid " + std::to_string(pid()) + " has ended while it was idle");
    lost({Code::unavailable, "the key agent has ended while it was idle"}, waiter);
    return there ? Status() : Status(there.error());
}

// What an agent has never answered is not held against it for ever, nor what it does not offer:
// another takes its place.
void KeyAgent::give_up_useless(TimePoint now, milliseconds deadline, Waiter& waiter) {
    if (connection_ && connection_->is_stuck(now, deadline)) {
        log_.note("the agent with pid " + std::to_string(pid()) +
                  " has left a request unanswered and is given up");
        lost({Code::unavailable, "the key agent has left a request unanswered"}, waiter);
    } else if (connection_ && lacks_ && now - connection_->started() >= Backoff::soon) {
        stop(waiter);
    }
}

Status KeyAgent::check_may_start(TimePoint now, const Identity& identity) const {
    if (ending_.is_full()) {
        return Error{Code::unavailable, "earlier key agents of this session do not end"};
    }
    const milliseconds left = backoff_.left(now);
    if (left.count() == 0 || (is_refusal_ && identity != identity_)) {
        return {};
    }
    Error error = failure_;
    error.left_alone = left;
    return error;
}

// It is started again at its next use, or later.
void KeyAgent::lost(Error why, Waiter& waiter) {
    backoff_.lost(connection_->started(), Clock::now());
    failure_ = std::move(why);
    is_refusal_ = false;
    stop(waiter);
}

Status KeyAgent::start(const Identity& identity, const Deadlines& deadlines, Waiter& waiter,
                       void (*meanwhile)()) {
    KMS_TRY(check_may_start(Clock::now(), identity));
    ++statistics_.starts;
    return end_start(connect(identity, deadlines, waiter, meanwhile), waiter);
}

// Who is interrupted has not been refused: the agent goes on starting, for the next use.
Status KeyAgent::end_start(Status status, Waiter& waiter) {
    const bool is_interrupted = !status && status.error().code == Code::interrupted;
    if (status || (is_interrupted && connection_ && !connection_->lost())) {
        return status;
    }
    stop(waiter);
    backoff_.start_failed(Clock::now());
    failure_ = status.error();
    is_refusal_ = failure_.of_agent;
    if (is_interrupted) {
        failure_ = {Code::unavailable, "its start was cut off"};
        return status;
    }
    // A program that cannot start says why on its standard error.
    if (const std::string words = log_.first_and_last(most_detail); !words.empty()) {
        failure_.text += "; on its standard error: " + words;
        failure_.of_agent = true;
    }
    return failure_;
}

Status KeyAgent::connect(const Identity& identity, const Deadlines& deadlines, Waiter& waiter,
                         void (*meanwhile)()) {
    log_.begin();
    const TimePoint started = Clock::now();
    KMS_ASSIGN(Child child, spawn(command_));
    last_pid_ = child.pid;
    lacks_ = false;
    connection_ = std::make_unique<Connection>(std::move(child), started);
    identity_ = identity;
    if (meanwhile != nullptr) {
        meanwhile();
    }
    return shake_hands(deadlines, waiter, false);
}

Status KeyAgent::shake_hands(const Deadlines& deadlines, Waiter& waiter, bool goes_on) {
    const TimePoint started = connection_->started();
    Handshake handshake(identity_);
    KMS_TRY(run(handshake, {started, started + deadlines.start, deadlines.start}, waiter, goes_on));
    connection_->accept(std::move(handshake.offer()));
    identified_ = true;
    return {};
}

// Until the answer is there, the agent may hold either identity.
Status KeyAgent::identify(const Identity& identity, const Deadlines& deadlines, Waiter& waiter) {
    identified_ = false;
    Notice notice({.verb = wire::verb::identify, .body = {bytes_of(identity.lines()), {}}});
    KMS_TRY(exchange(notice, deadlines, waiter));
    identity_ = identity;
    identified_ = true;
    return {};
}

Status KeyAgent::exchange(Errand& errand, const Deadlines& deadlines, Waiter& waiter) {
    if (!connection_ || connection_->lost()) {
        return Error{Code::unavailable, "the key agent is not running"};
    }
    KMS_TRY(check_offered(errand));
    const TimePoint now = Clock::now();
    const RequestClock clock{now, now + deadlines.request, deadlines.request};
#ifdef KMS_SEND_UNKNOWN_VERBS
    WithUnknownVerb among(errand);
    Status status = run(among, clock, waiter);
#else
    Status status = run(errand, clock, waiter);
#endif
    if (connection_->lost()) {
        const bool is_interrupted = status.error().code == Code::interrupted;
        lost(is_interrupted ? Error{Code::unavailable, "a request to it was cut off"}
                            : status.error(),
             waiter);
    }
    return status;
}

Status KeyAgent::check_offered(Errand& errand) {
    if (errand.count() == 0) {
        return {};
    }
    const std::string_view verb = errand.request(0).verb;
    Status offered = require(verb);
    lacks_ = lacks_ ||
             (!offered && std::ranges::find(needed_by_a_mode, verb) != std::end(needed_by_a_mode));
    return offered;
}

Status KeyAgent::run(Errand& errand, RequestClock clock, Waiter& waiter, bool goes_on) {
    const std::uint64_t sent = connection_->bytes_sent();
    const std::uint64_t received = connection_->bytes_received();
    if (goes_on) {
        connection_->take_up_abandoned();
    }
    Exchange exchange(*connection_, errand, clock, waiter, log_,
                      goes_on ? connection_->ids().next() : 0);
    Status status = exchange.run();
    last_exchange_ = Clock::now();
    statistics_.busy += last_exchange_ - clock.began;
    statistics_.bytes_sent += connection_->bytes_sent() - sent;
    statistics_.bytes_received += connection_->bytes_received() - received;
    statistics_.requests += exchange.requests_sent();
    statistics_.errors += exchange.error_replies();
    if (exchange.last_error_reply() && !exchange.last_error_reply()->text.empty()) {
        statistics_.last_error = exchange.last_error_reply();
    }
    if (status) {
        return status;
    }
    return explain(std::move(status.error()), exchange.hung_up(), clock.each, waiter);
}

// Gives the failures of a connection their words, and counts them. Any other error is one that the
// errand has returned.
Error KeyAgent::explain(Error error, bool hung_up, milliseconds deadline, Waiter& waiter) {
    if (hung_up) {
        const auto how = connection_->how_it_ended(waiter);
        if (!how) {
            return how.error();
        }
        error.text = "the key agent " + *how;
    } else if (error.code == Code::timed_out) {
        error.text = "the key agent did not answer within " + in_milliseconds(deadline);
    } else if (error.code != Code::protocol) {
        return error;
    }
    if (!connection_->accepted()) {
        error.text += ", before the handshake was complete";
    }
    ++statistics_.errors;
    statistics_.last_error = error;
    return error;
}

void KeyAgent::stop(Waiter& waiter) {
    if (connection_) {
        connection_->drain_log(log_);
        log_.finish();
        waiter.forget();
        abandon();
    }
}

void KeyAgent::stop_now(Waiter& waiter) {
    const pid_t child = pid();
    stop(waiter);
    ending_.hurry(child);
}

void KeyAgent::abandon() noexcept {
    if (connection_) {
        ending_.add(connection_->pid(), Clock::now());
    }
    connection_.reset();
    identified_ = false;
}

std::vector<std::string> KeyAgent::take_log() {
    return log_.take();
}

void KeyAgent::drain_log() {
    if (connection_) {
        connection_->drain_log(log_);
    }
}

}  // namespace kms
