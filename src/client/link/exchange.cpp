#include "client/link/exchange.hpp"

#include <array>

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::uint64_t most_error_text = 4096;
constexpr std::size_t most_detail = 256;
constexpr std::uint64_t long_body = 32 * 1024;

Error violation(const char* what) {
    return {Code::protocol, what};
}

// A reply was taken and was no good, in contrast to none that came.
bool was_turned_down(const Status& status) {
    const Code code = status.error().code;
    return code != Code::timed_out && code != Code::interrupted;
}

}  // namespace

Exchange::Exchange(Connection& connection, Errand& errand, RequestClock clock, Waiter& waiter,
                   LogLines& log, std::uint64_t already_sent)
    : connection_(connection),
      errand_(errand),
      clock_(clock),
      waiter_(waiter),
      log_(log),
      first_id_(connection.ids().next() - already_sent),
      next_(already_sent),
      end_(errand.count()) {}

Exchange::~Exchange() {
    if (!complete_) {
        abandon();
    }
}

Status Exchange::run() {
    Status status = pump();
    complete_ = static_cast<bool>(status);
    broke_protocol_ = !status && status.error().code == Code::protocol;
    is_late_ = !status && status.error().code == Code::timed_out;
    if (!complete_ && !broke_protocol_ && connection_.accepted()) {
        drop_begun_reply();
        if (!hung_up_ && was_turned_down(status)) {
            finish_cut_request();
        }
    }
    return status;
}

// The agent works, and would be lost for a request that it got in part.
void Exchange::finish_cut_request() {
    broke_protocol_ = !connection_.ids().give_back(connection_.outbox().withdraw_unbegun());
    if (broke_protocol_) {
        return;
    }
    first_id_ = connection_.ids().next();  // every reply is dropped from now on
    connection_.reader().forget_place();
    while (!connection_.outbox().empty() && go_on_with_cut_request()) {
    }
}

bool Exchange::go_on_with_cut_request() {
    if (!wait()) {
        return false;
    }
    const Connection::Arrival arrival = connection_.read();
    if (arrival == Connection::Arrival::bytes && !deliver()) {
        broke_protocol_ = true;
        return false;
    }
    connection_.read_log(log_);
    hung_up_ = arrival == Connection::Arrival::end ||
               connection_.outbox().write(connection_.in()) == Outbox::Flow::closed;
    return !hung_up_ && Clock::now() < clock_.deadline;
}

// What has come of a reply that nobody takes any more may be a plaintext, and is not kept until the
// rest of it comes.
void Exchange::drop_begun_reply() {
    const auto head = connection_.reader().head();
    if (head && *head != nullptr && connection_.ids().awaits((*head)->id)) {
        connection_.drop_reply();
    }
}

// A request that was written is most often answered after a wait: so no read is tried before it.
Status Exchange::pump() {
    KMS_TRY(send());
    while (!all_answered() || !connection_.outbox().empty()) {
        KMS_TRY(wait());
        KMS_TRY(receive());
        KMS_TRY(send());
    }
    if (connection_.ids().empty() && connection_.reader().in_frame()) {
        return violation("the key agent wrote more than it was asked for");
    }
    return not_sent_ ? errand_.take(end_, *not_sent_) : Status();
}

Status Exchange::send() {
    for (;;) {
        gather();
        if (connection_.outbox().empty()) {
            return {};
        }
        switch (connection_.outbox().write(connection_.in())) {
            case Outbox::Flow::done:
                break;
            case Outbox::Flow::full:
                return {};
            case Outbox::Flow::closed:
                return last_replies();
        }
    }
}

// A request that cannot be sent is the last that is looked at: those before it are answered first.
void Exchange::gather() {
    while (next_ < end_ && connection_.outbox().has_room() &&
           connection_.ids().in_flight() < connection_.offer().max_in_flight) {
        if (Status added = add_next(); !added) {
            not_sent_ = std::move(added.error());
            end_ = next_;
        }
    }
}

Status Exchange::add_next() {
    const Request request = errand_.request(next_);
    if (request.body_length() > connection_.offer().max_body) {
        return Error{Code::too_large, "the key agent takes bodies of at most " +
                                          std::to_string(connection_.offer().max_body) + " bytes"};
    }
    KMS_TRY(connection_.outbox().add(request, connection_.ids().next()));
    connection_.ids().take_next();
    ++next_;
    return {};
}

Status Exchange::wait() {
    std::array<Waiter::Interest, 3> interests;
    std::size_t count = 0;
    if (!connection_.outbox().empty()) {
        interests[count++] = {connection_.in(), false, true};
    }
    interests[count++] = {connection_.out(), true, false};
    if (connection_.err() >= 0) {
        interests[count++] = {connection_.err(), true, false};
    }
    switch (waiter_.wait({interests.data(), count}, clock_.deadline)) {
        case Waiter::Outcome::ready:
            return {};
        case Waiter::Outcome::timed_out:
            return Error{Code::timed_out, {}};
        case Waiter::Outcome::interrupted:
            break;
    }
    return Error{Code::interrupted, {}};
}

Status Exchange::receive() {
    switch (connection_.read()) {
        case Connection::Arrival::bytes:
            return receive_bytes();
        case Connection::Arrival::end:
            return agent_closed();
        case Connection::Arrival::nothing:
            break;
    }
    // Only standard error had something, or the pipe has room: a flood there must not hide the
    // deadline.
    connection_.read_log(log_);
    return Clock::now() < clock_.deadline ? Status() : Error{Code::timed_out, {}};
}

Status Exchange::receive_bytes() {
    const Oldest oldest = oldest_unanswered();
    KMS_TRY(deliver());
    if (all_answered()) {
        return {};
    }
    if (oldest_unanswered() != oldest) {
        clock_.deadline = Clock::now() + clock_.each;
        return {};
    }
    return Clock::now() < clock_.deadline ? Status() : Error{Code::timed_out, {}};
}

// An agent that answers in order is not late with ours while it works off what was abandoned; one
// that is unordered may never answer that.
Exchange::Oldest Exchange::oldest_unanswered() const {
    const UnansweredIds& ids = connection_.ids();
    return {ids.oldest(), ids.oldest_from(first_id_)};
}

Status Exchange::deliver() {
    for (;;) {
        KMS_ASSIGN(const wire::Head* head, connection_.reader().head());
        if (head == nullptr) {
            return {};
        }
        if (!connection_.ids().awaits(head->id)) {
            return violation("a reply bears an id that is not awaited");
        }
        KMS_ASSIGN(const bool whole,
                   head->id < first_id_ ? connection_.drop_reply() : take_reply(*head));
        if (!whole) {
            return {};
        }
    }
}

// False where the body is not all here.
Result<bool> Exchange::take_reply(const wire::Head& head) {
    const bool ok = head.verb == "ok";
    if (!ok && head.verb != "error") {
        return violation("a reply begins with neither ok nor error");
    }
    const std::uint64_t limit =
        ok ? errand_.request(head.id - first_id_).reply_limit : most_error_text;
    if (head.length > limit) {
        return violation("a reply is longer than its request allows");
    }
    if (!connection_.reader().body_complete()) {
        KMS_TRY(place_body(head));
        return false;
    }
    const std::uint64_t id = head.id;
    Status status = hand_over(head);
    connection_.reader().pop();
    connection_.ids().answered(id);
    ++answered_;
    KMS_TRY(std::move(status));
    return true;
}

Status Exchange::place_body(const wire::Head& head) {
    if (head.verb == "ok" && head.length >= long_body && !connection_.reader().diverted()) {
        KMS_ASSIGN(const ByteSpan place, errand_.place(head.id - first_id_, head.length));
        if (!place.empty()) {
            connection_.reader().divert(place);
        }
    }
    return {};
}

Status Exchange::hand_over(const wire::Head& head) {
    const std::size_t index = head.id - first_id_;
    const ByteView body = connection_.reader().body();
    if (head.verb == "ok") {
        return errand_.take(index, Reply{head, body});
    }
    const auto code = wire::error_code(head.raw_word(0));
    if (!code) {
        return violation("an error bears no code of the protocol");
    }
    ++error_replies_;
    last_error_reply_ = Error{*code, printable(body, most_detail), true};
    return errand_.take(index, *last_error_reply_);
}

Status Exchange::agent_closed() {
    hung_up_ = true;
    return Error{Code::unavailable, {}};
}

// Nobody reads our requests any more; what was answered before that may still be in the pipe.
Status Exchange::last_replies() {
    while (connection_.read() == Connection::Arrival::bytes) {
        KMS_TRY(deliver());
    }
    return agent_closed();
}

// A request that was cut cannot be taken back, so it costs the connection. Otherwise the replies
// that are still to come are dropped by their ids.
void Exchange::abandon() noexcept {
    connection_.reader().forget_place();
    const auto unsent = connection_.outbox().withdraw();
    if (hung_up_ || broke_protocol_ || !unsent || !connection_.ids().give_back(*unsent)) {
        connection_.set_lost();
        return;
    }
    connection_.abandon_unanswered(Clock::now(), is_late_);
}

}  // namespace kms
