// Which ids of a connection await their reply.
#pragma once

#include <cstdint>
#include <deque>

namespace kms {

// Ids are handed out one after the other, 0 for the handshake. So those that await a reply are a
// range, in which an unordered agent leaves holes.
class UnansweredIds {
  public:
    void set_unordered(bool unordered) { unordered_ = unordered; }

    std::uint64_t next() const { return next_; }
    std::uint64_t oldest() const { return oldest_; }
    std::uint64_t in_flight() const { return next_ - oldest_; }
    bool empty() const { return next_ == oldest_; }

    std::uint64_t take_next() { return next_++; }
    // The newest `count` were never sent.
    void give_back(std::uint64_t count) { next_ -= count; }

    // Whether a reply may bear `id` now.
    bool awaits(std::uint64_t id) const {
        if (!unordered_) {
            return id == oldest_ && !empty();
        }
        return id >= oldest_ && id < next_ && !is_hole(id);
    }

    // The reply to `id`, which was awaited, has come.
    void answered(std::uint64_t id) {
        if (id == oldest_ && holes_.empty()) {
            ++oldest_;
            return;
        }
        if (holes_.size() <= id - oldest_) {
            holes_.resize(id - oldest_ + 1);
        }
        holes_[id - oldest_] = true;
        while (!holes_.empty() && holes_.front()) {
            holes_.pop_front();
            ++oldest_;
        }
    }

  private:
    bool is_hole(std::uint64_t id) const {
        return id - oldest_ < holes_.size() && holes_[id - oldest_];
    }

    bool unordered_ = false;
    std::uint64_t next_ = 0;
    std::uint64_t oldest_ = 0;
    std::deque<bool> holes_;  // answered ids, from oldest_ on
};

}  // namespace kms
