// Which ids of a connection await their reply.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace kms {

// Ids are handed out one after the other, 0 for the handshake. So those that await a reply are a
// run that ends with the newest, and behind it what an unordered agent has left out so far. Memory
// follows what is unanswered, never what was answered.
class UnansweredIds {
  public:
    void set_unordered(bool unordered) { unordered_ = unordered; }

    std::uint64_t next() const { return next_; }
    std::uint64_t oldest() const { return left_out_.empty() ? run_ : left_out_.begin()->first; }
    std::uint64_t in_flight() const { return in_flight_; }
    bool empty() const { return in_flight_ == 0; }
    std::size_t ranges() const { return left_out_.size(); }  // that are held in memory

    // The oldest that is not below `id`; next() where there is none.
    std::uint64_t oldest_from(std::uint64_t id) const {
        if (!left_out_.empty()) {
            auto range = left_out_.upper_bound(id);
            if (range != left_out_.begin() && std::prev(range)->second > id) {
                return id;
            }
            if (range != left_out_.end()) {
                return range->first;
            }
        }
        return std::max(run_, id);
    }

    std::uint64_t take_next() {
        ++in_flight_;
        return next_++;
    }

    // The newest `count` were never sent. False where one of them was answered all the same.
    bool give_back(std::uint64_t count) {
        if (count > next_ - run_) {
            return false;
        }
        next_ -= count;
        in_flight_ -= count;
        return true;
    }

    // Whether a reply may bear `id` now.
    bool awaits(std::uint64_t id) const {
        return unordered_ ? id < next_ && oldest_from(id) == id : id == oldest() && !empty();
    }

    // The reply to `id`, which was awaited, has come.
    void answered(std::uint64_t id) {
        if (id >= run_) {
            leave_out(run_, id);
            run_ = id + 1;
        } else {
            split(id);
        }
        --in_flight_;
    }

  private:
    void leave_out(std::uint64_t begin, std::uint64_t end) {
        if (begin < end) {
            left_out_.emplace(begin, end);
        }
    }

    void split(std::uint64_t id) {
        const auto range = std::prev(left_out_.upper_bound(id));
        leave_out(id + 1, range->second);
        range->second = id;
        if (range->first == id) {
            left_out_.erase(range);
        }
    }

    bool unordered_ = false;
    std::uint64_t next_ = 0;
    std::uint64_t run_ = 0;  // where the run begins
    std::uint64_t in_flight_ = 0;
    std::map<std::uint64_t, std::uint64_t> left_out_;  // first and end of each range below the run
};

}  // namespace kms
