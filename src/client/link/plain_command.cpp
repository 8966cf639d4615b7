#include "client/link/plain_command.hpp"

#include <algorithm>

#include "base/floor.hpp"

namespace kms {
namespace {

// What every shell takes as it is, anywhere in a word behind the first.
constexpr std::string_view plain =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/.,:=@%+-";

std::vector<std::string> split_at_spaces(std::string_view text) {
    std::vector<std::string> words;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        if (end > 0) {
            words.emplace_back(text.substr(0, end));
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

bool is_plain_or_space(char c) {
    return c == ' ' || plain.find(c) != std::string_view::npos;
}

bool is_absolute(const std::string& path) {
    return path.front() == '/';
}

}  // namespace

std::vector<std::string> plain_words(std::string_view command) {
    if (!std::ranges::all_of(command, is_plain_or_space)) {
        return {};
    }
    std::vector<std::string> words = split_at_spaces(command);
    if (!words.empty() && words.front() == "exec") {
        words.erase(words.begin());
    }
    if (words.empty() || !is_absolute(words.front())) {
        return {};
    }
    return words;
}

}  // namespace kms
