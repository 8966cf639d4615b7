#include "client/link/outbox.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/floor.hpp"

namespace kms {
namespace {

// What is left of `parts` behind the first `skip` bytes, as writev takes it.
class Gathered {
  public:
    Gathered(std::array<ByteView, 3> parts, std::size_t skip) {
        for (const ByteView part : parts) {
            const std::size_t skipped = std::min(skip, part.size());
            skip -= skipped;
            if (skipped < part.size()) {
                add(part.subspan(skipped));
            }
        }
    }

    ssize_t write(int fd) const {
        return count_ == 1 ? ::write(fd, vectors_[0].iov_base, vectors_[0].iov_len)
                           : ::writev(fd, vectors_.data(), count_);
    }

  private:
    void add(ByteView part) {
        vectors_[static_cast<std::size_t>(count_++)] = {const_cast<Byte*>(part.data()),
                                                        part.size()};
    }

    std::array<iovec, 3> vectors_{};
    int count_ = 0;
};

}  // namespace

Status Outbox::add(const Request& request, std::uint64_t id) {
    KMS_TRY(wire::append_head(buffer_, request.verb, id, request.body_length(), request.words));
    if (request.body_length() > large_body) {
        large_ = request.body;
    } else {
        buffer_.append(request.body[0]);
        buffer_.append(request.body[1]);
    }
    ends_.push_back(total());
    return {};
}

Outbox::Flow Outbox::write(int fd) {
    while (!empty()) {
        const std::size_t left = total() - written_;
        const ssize_t count = Gathered({buffer_.view(), large_[0], large_[1]}, written_).write(fd);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return errno == EAGAIN ? Flow::full : Flow::closed;
        }
        written_ += static_cast<std::size_t>(count);
        bytes_written_ += static_cast<std::size_t>(count);
        if (static_cast<std::size_t>(count) < left) {
            return Flow::full;
        }
    }
    clear();
    return Flow::done;
}

std::optional<std::size_t> Outbox::withdraw() {
    const auto unwritten = std::upper_bound(ends_.begin(), ends_.end(), written_);
    const auto count = static_cast<std::size_t>(ends_.end() - unwritten);
    const std::size_t boundary = unwritten == ends_.begin() ? 0 : *(unwritten - 1);
    const bool cut = written_ != boundary;
    clear();
    return cut ? std::nullopt : std::optional(count);
}

std::size_t Outbox::withdraw_unbegun() {
    const auto end = std::lower_bound(ends_.begin(), ends_.end(), written_);
    if (end == ends_.end() || *end == total()) {
        return 0;
    }
    const std::size_t kept = written_ == 0 ? 0 : *end;
    const auto count = static_cast<std::size_t>(ends_.end() - end) - (kept == 0 ? 0 : 1);
    ends_.resize(ends_.size() - count);
    buffer_.resize(kept);
    large_ = {};
    return count;
}

void Outbox::clear() {
    buffer_.clear();
    large_ = {};
    ends_.clear();
    written_ = 0;
}

}  // namespace kms
