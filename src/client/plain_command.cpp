#include "client/plain_command.hpp"

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

bool is_absolute(const std::string& path) {
    return path.front() == '/';
}

}  // namespace

std::vector<std::string> plain_words(std::string_view command) {
    if (command.find_first_not_of(std::string(plain) + ' ') != std::string_view::npos) {
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
