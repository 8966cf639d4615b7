#include "blob/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "blob/text.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

constexpr milliseconds pace{200};
constexpr std::size_t bar_width = 16;
constexpr double longest_wait = 99 * 3600.0;

std::string bar(double part) {
    const auto full = static_cast<std::size_t>(part * bar_width);
    return "[" + std::string(full, '=') + std::string(bar_width - full, ' ') + "]";
}

std::string time_text(double seconds) {
    const auto whole = static_cast<unsigned>(std::lround(std::min(seconds, longest_wait)));
    std::array<char, 32> text;
    if (whole < 3600) {
        std::snprintf(text.data(), text.size(), "%u:%02u", whole / 60, whole % 60);
    } else {
        std::snprintf(text.data(), text.size(), "%u:%02u:%02u", whole / 3600, whole / 60 % 60,
                      whole % 60);
    }
    return text.data();
}

double rate_of(const Transfer& transfer) {
    return transfer.seconds > 0
               ? static_cast<double>(transfer.done - transfer.begun_at) / transfer.seconds
               : 0;
}

std::string part_text(const Transfer& transfer, std::uint64_t total) {
    const double part =
        total > 0 ? std::min(1.0, static_cast<double>(transfer.done) / static_cast<double>(total))
                  : 1;
    std::array<char, 8> percent;
    std::snprintf(percent.data(), percent.size(), " %3.0f%%", part * 100);
    return bar(part) + percent.data() + "  " + size_text(transfer.done) + " of " + size_text(total);
}

std::string wait_text(const Transfer& transfer, std::uint64_t total, double rate) {
    if (rate <= 0 || transfer.done >= total) {
        return "";
    }
    return "  " + time_text(static_cast<double>(total - transfer.done) / rate) + " left";
}

}  // namespace

std::string progress_text(const Transfer& transfer) {
    const double rate = rate_of(transfer);
    const std::string speed =
        rate > 0 ? "  " + size_text(static_cast<std::uint64_t>(rate)) + "/s" : "";
    if (!transfer.total) {
        return size_text(transfer.done) + speed;
    }
    return part_text(transfer, *transfer.total) + speed +
           wait_text(transfer, *transfer.total, rate);
}

Progress::Progress(bool wanted, std::optional<std::uint64_t> total, std::uint64_t begun_at)
    : shown_(wanted && isatty(STDERR_FILENO) == 1),
      transfer_{begun_at, total, begun_at, 0},
      began_(Clock::now()),
      next_(began_ + pace) {}

Progress::~Progress() {
    if (on_screen_) {
        std::fputs("\r\x1b[K", stderr);
    }
}

void Progress::show(std::uint64_t done) {
    const TimePoint now = Clock::now();
    if (!shown_ || now < next_) {
        return;
    }
    next_ = now + pace;
    transfer_.done = done;
    transfer_.seconds = std::chrono::duration<double>(now - began_).count();
    std::fprintf(stderr, "\r%s\x1b[K", progress_text(transfer_).c_str());
    on_screen_ = true;
}

}  // namespace kms::blob
