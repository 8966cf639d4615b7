// Fields of a binary format, one after another: numbers are big-endian, with a width in bytes.
#pragma once

#include <algorithm>
#include <array>

#include "base/bytes.hpp"
#include "base/secret.hpp"

namespace kms {

// Takes bytes off the front; what is missing reads as zero and leaves the cursor failed.
class Cursor {
  public:
    explicit Cursor(ByteView bytes) : rest_(bytes) {}

    ByteView bytes(std::size_t count) {
        if (count > rest_.size()) {
            failed_ = true;
            rest_ = {};
            return {};
        }
        const ByteView taken = rest_.first(count);
        rest_ = rest_.subspan(count);
        return taken;
    }

    std::uint64_t number(std::size_t width) { return load_be(bytes(width)); }

    template <std::size_t N>
    void fill(std::array<Byte, N>& out) {
        std::ranges::copy(bytes(N), out.begin());
    }

    bool failed() const { return failed_; }
    std::size_t left() const { return rest_.size(); }

  private:
    ByteView rest_;
    bool failed_ = false;
};

inline void append_number(SecretBytes& out, std::size_t width, std::uint64_t value) {
    store_be(out.extend(width), value);
}

}  // namespace kms
