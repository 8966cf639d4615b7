// The line on a terminal that tells how far a transfer has come.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.hpp"

namespace kms::blob {

struct Transfer {
    std::uint64_t done = 0;
    std::optional<std::uint64_t> total;
    std::uint64_t begun_at = 0;  // what had been done before
    double seconds = 0;          // since then
};

// Less than 80 columns, without an end of line.
std::string progress_text(const Transfer& transfer);

class Progress {
  public:
    // On standard error, where that is a terminal and `wanted`.
    Progress(bool wanted, std::optional<std::uint64_t> total, std::uint64_t begun_at = 0);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    void show(std::uint64_t done);

  private:
    bool shown_;
    bool on_screen_ = false;
    Transfer transfer_;
    TimePoint began_;
    TimePoint next_;
};

}  // namespace kms::blob
