#include "client/link/connection.hpp"

#include <poll.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::size_t log_read = 4096;
constexpr int most_log_reads = 64;
constexpr int most_idle_reads = 64;
constexpr milliseconds longest_pause{64};

std::string text_of_exit(int status) {
    if (WIFSIGNALED(status)) {
        return "was killed by signal " + std::to_string(WTERMSIG(status));
    }
    std::string text = "exited with status " + std::to_string(WEXITSTATUS(status));
    switch (WEXITSTATUS(status)) {  // as the shell has it
        case 126:
            return text + " (the command could not be executed)";
        case 127:
            return text + " (the command was not found)";
        default:
            return text;
    }
}

ssize_t read_once(int fd, ByteSpan space) {
    ssize_t count;
    do {
        count = ::read(fd, space.data(), space.size());
    } while (count < 0 && errno == EINTR);
    return count;
}

}  // namespace

Connection::Connection(Child child, TimePoint started)
    : child_(std::move(child)), started_(started) {}

void Connection::accept(Offer offer) {
    offer_ = std::move(offer);
    accepted_ = true;
    reader_.set_max_body(offer_.max_body);
    ids_.set_unordered(offer_.includes(wire::capability::unordered));
}

Connection::Arrival Connection::read() {
    const ssize_t count = read_once(out(), reader_.space());
    if (count < 0) {
        return errno == EAGAIN ? Arrival::nothing : Arrival::end;
    }
    if (count == 0) {
        return Arrival::end;
    }
    reader_.commit(static_cast<std::size_t>(count));
    bytes_received_ += static_cast<std::size_t>(count);
    return Arrival::bytes;
}

bool Connection::read_log(LogLines& log) {
    if (!err_open_) {
        return false;
    }
    std::array<Byte, log_read> bytes;
    const ssize_t count = read_once(child_.err.get(), bytes);
    if (count > 0) {
        log.append(ByteView(bytes).first(static_cast<std::size_t>(count)));
        return true;
    }
    // The descriptor stays open, or its number could be waited for under another meaning.
    err_open_ = count < 0 && errno == EAGAIN;
    return false;
}

void Connection::drain_log(LogLines& log) {
    for (int i = 0; i < most_log_reads && read_log(log); ++i) {
    }
}

void Connection::abandon_unanswered(TimePoint now, bool is_late) {
    if (!has_abandoned()) {
        abandoned_since_ = now;
        abandoned_late_ = is_late;
    }
    abandoned_end_ = ids_.next();
}

bool Connection::drop_reply() {
    const std::uint64_t id = (*reader_.head())->id;
    if (!reader_.discard()) {
        return false;
    }
    const std::uint64_t oldest = ids_.oldest();
    ids_.answered(id);
    if (ids_.oldest() != oldest) {
        abandoned_since_ = Clock::now();
        abandoned_late_ = false;
    }
    return true;
}

Status Connection::drop_late_replies() {
    for (;;) {
        KMS_ASSIGN(const wire::Head* head, reader_.head());
        if (head == nullptr) {
            break;
        }
        if (!ids_.awaits(head->id)) {
            return Error{Code::protocol, "a reply bears an id that is not awaited"};
        }
        if (!drop_reply()) {
            break;
        }
    }
    if (ids_.empty() && reader_.in_frame()) {
        return Error{Code::protocol, "the key agent wrote without being asked"};
    }
    return {};
}

Result<bool> Connection::still_there() {
    std::array<pollfd, 2> descriptors{{{out(), POLLIN, 0}, {in(), 0, 0}}};
    if (::poll(descriptors.data(), descriptors.size(), 0) <= 0) {
        return true;
    }
    if (descriptors[0].revents != 0) {
        for (int i = 0; i < most_idle_reads; ++i) {
            const Arrival arrival = read();
            if (arrival != Arrival::bytes) {
                return arrival == Arrival::nothing && descriptors[1].revents == 0;
            }
            KMS_TRY(drop_late_replies());
        }
    }
    return descriptors[1].revents == 0;
}

Result<std::string> Connection::how_it_ended(Waiter& waiter) {
    for (milliseconds pause{0}; pause <= longest_pause;
         pause = std::max(2 * pause, milliseconds(1))) {
        if (waiter.wait({}, Clock::now() + pause) == Waiter::Outcome::interrupted) {
            return Error{Code::interrupted, {}};
        }
        int status = 0;
        const pid_t ended = ::waitpid(child_.pid, &status, WNOHANG);
        if (ended != 0) {
            return ended == child_.pid ? text_of_exit(status) : std::string("ended");
        }
    }
    return std::string("closed its input or output");
}

}  // namespace kms
