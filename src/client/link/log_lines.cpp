#include "client/link/log_lines.hpp"

#include <algorithm>
#include <utility>

#include "base/floor.hpp"

namespace kms {

std::string printable(ByteView bytes, std::size_t most) {
    std::string text(text_of(bytes.first(std::min(bytes.size(), most))));
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c < 0x20 || c > 0x7E; }, '?');
    return text;
}

void LogLines::append(ByteView bytes) {
    while (!bytes.empty()) {
        const auto end = std::find(bytes.begin(), bytes.end(), '\n');
        const auto length = static_cast<std::size_t>(end - bytes.begin());
        unfinished_ += printable(bytes.first(length), most_bytes - unfinished_.size());
        if (end == bytes.end()) {
            return;
        }
        end_line();
        bytes = bytes.subspan(length + 1);
    }
}

void LogLines::finish() {
    if (!unfinished_.empty()) {
        end_line();
    }
}

void LogLines::end_line() {
    if (unfinished_.empty()) {
        return;
    }
    note(unfinished_);
    if (first_.empty()) {
        first_ = unfinished_;
    }
    last_.swap(unfinished_);
    unfinished_.clear();
}

std::string LogLines::first_and_last(std::size_t most) const {
    std::string words = first_.substr(0, most);
    if (last_ != first_) {
        words += " ... " + last_.substr(0, most);
    }
    return words;
}

void LogLines::note(std::string line) {
    if (lines_.size() < most_lines) {
        lines_.push_back(std::move(line));
    } else {
        ++dropped_;
    }
}

std::vector<std::string> LogLines::take() {
    if (dropped_ != 0) {
        lines_.push_back("(" + std::to_string(std::exchange(dropped_, 0)) +
                         " more lines were dropped)");
    }
    return std::exchange(lines_, {});
}

}  // namespace kms
