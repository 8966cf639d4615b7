#include "agent/service/serve.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "agent/service/requests.hpp"
#include "wire/frame.hpp"

#include "base/system.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

// So that the client has work while the rest of what was read is answered.
constexpr std::size_t flush_above = 64 * 1024;
// Of the buffer of replies, once it is flushed. To get a large one anew for every value costs as
// much as its cryptography.
constexpr std::size_t most_kept = 4 * 1024 * 1024;

Error violation(std::string_view what) {
    return {Code::protocol, "the client broke kms/1: " + std::string(what)};
}

// Whether to try a read or write again that failed; waits where the descriptor is non-blocking.
bool try_again(int fd, short events) {
    if (errno == EAGAIN) {
        pollfd waiting{fd, events, 0};
        poll(&waiting, 1, -1);
        return true;
    }
    return errno == EINTR;
}

// 0 at the end of input.
Result<std::size_t> read_some(int fd, ByteSpan into) {
    for (;;) {
        const ssize_t count = read(fd, into.data(), into.size());
        if (count >= 0) {
            return static_cast<std::size_t>(count);
        }
        if (!try_again(fd, POLLIN)) {
            return system_error("cannot read requests");
        }
    }
}

Status write_all(int fd, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t count = write(fd, bytes.data(), bytes.size());
        if (count >= 0) {
            bytes = bytes.subspan(static_cast<std::size_t>(count));
        } else if (!try_again(fd, POLLOUT)) {
            return system_error("cannot write replies");
        }
    }
    return {};
}

class Session {
  public:
    Session(int in, int out, KeyStore& store, const OfferedVerbs& offered)
        : in_(in), out_(out), store_(store), requests_(store, offered, replies_) {
        store_.answer_to(out);
    }

    Status run() {
        for (;;) {
            KMS_ASSIGN(const std::size_t count, read_some(in_, reader_.space()));
            if (count == 0) {
                return check_end();
            }
            reader_.commit(count);
            store_.refresh();
            Status answered = answer_all();
            KMS_TRY(flush());
            KMS_TRY(answered);
        }
    }

  private:
    Status check_end() const {
        if (reader_.in_frame()) {
            return violation("the input ends inside a request");
        }
        return {};
    }

    Status answer_all() {
        for (;;) {
            KMS_ASSIGN(const bool answered, answer_next());
            if (!answered) {
                return {};
            }
            if (replies_.size() > flush_above) {
                KMS_TRY(flush());
                store_.refresh();  // the client may have let us wait for long
            }
        }
    }

    // False when no complete request is left.
    Result<bool> answer_next() {
        if (discarding_) {
            discarding_ = !reader_.discard();
            return !discarding_;
        }
        KMS_ASSIGN(const wire::Head* head, reader_.head());
        if (head == nullptr) {
            return false;
        }
        const Requests::Verb* verb = Requests::find(head->verb);
        if (verb == nullptr) {
            KMS_TRY(admit(*head));
            KMS_TRY(requests_.refuse_verb(head->id));
            discarding_ = true;
            return true;
        }
        if (!reader_.body_complete()) {
            return false;
        }
        KMS_TRY(admit(*head));
        KMS_TRY(requests_.answer(*verb, *head, reader_.body()));
        reader_.pop();
        if (!requests_.greeted()) {
            return Error{Code::protocol, "the client's hello was refused"};
        }
        return true;
    }

    // `hello` comes first, once, with the id 0; from then on the ids rise.
    Status admit(const wire::Head& head) {
        const bool greeting = head.verb == wire::verb::hello;
        if (!last_id_ && (!greeting || head.id != 0)) {
            return violation("the first request is not hello with the id 0");
        }
        if (last_id_ && (greeting || head.id <= *last_id_)) {
            return violation("a second hello, or an id that does not rise");
        }
        last_id_ = head.id;
        return {};
    }

    Status flush() {
        KMS_TRY(write_all(out_, replies_.view()));
        replies_.clear();
        if (replies_.capacity() > most_kept) {
            replies_.release();
        }
        return {};
    }

    int in_;
    int out_;
    KeyStore& store_;
    wire::FrameReader reader_;
    SecretBytes replies_;
    Requests requests_;
    std::optional<std::uint64_t> last_id_;
    bool discarding_ = false;
};

}  // namespace

Status serve(int in, int out, KeyStore& store, const OfferedVerbs& offered) {
    return Session(in, out, store, offered).run();
}

Status refuse_to_serve(int in, int out, const Error& reason) {
    wire::FrameReader reader;
    for (;;) {
        KMS_ASSIGN(const wire::Head* head, reader.head());
        if (head != nullptr) {
            SecretBytes replies;
            KMS_TRY(append_refusal(replies, head->id, reason));
            return write_all(out, replies.view());
        }
        KMS_ASSIGN(const std::size_t count, read_some(in, reader.space()));
        if (count == 0) {
            return {};
        }
        reader.commit(count);
    }
}

}  // namespace kms::agent
