// What differs between versions of CLI11, for the programs.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace kms {

// Descriptions and footers are shown line by line as they are written.
inline void show_lines_as_written([[maybe_unused]] CLI::App& app) {
#if CLI11_VERSION_MAJOR * 100 + CLI11_VERSION_MINOR >= 205
    app.get_formatter()->enable_footer_formatting(false);
    app.get_formatter()->enable_description_formatting(false);
#endif
}

// A word that reads [[xxyyzz]] stands for [xyz] from 2.5 on: that one is written so that it stands
// for itself. JSON is such a word, and a name may be.
inline std::string standing_for_itself(const std::string& word) {
#if CLI11_VERSION_MAJOR * 100 + CLI11_VERSION_MINOR >= 205
    const std::size_t assigned = word.starts_with("--") ? word.find('=') : std::string::npos;
    const std::size_t begin = assigned == std::string::npos ? 0 : assigned + 1;
    if (word.compare(begin, 2, "[[") == 0 && word.ends_with("]]")) {
        std::string doubled = word.substr(0, begin);
        for (const char letter : word.substr(begin)) {
            doubled.append(2, letter);
        }
        return doubled;
    }
#endif
    return word;
}

// For what a variable that has no value was to name.
inline CLI::Validator not_empty() {
    return CLI::Validator(
        [](const std::string& word) { return std::string(word.empty() ? "it is empty" : ""); }, "");
}

// A number from 1 on, in decimal: for CLI11 alone 010 is 8.
inline CLI::Validator number_up_to(std::uint32_t most) {
    const std::string range = "from 1 to " + std::to_string(most);
    return CLI::Validator(
        [most, range](const std::string& word) {
            const bool is_decimal = word.find_first_not_of("0123456789") == std::string::npos &&
                                    !word.empty() && word.size() <= 10 && word[0] != '0';
            return is_decimal && std::stoull(word) <= most ? std::string()
                                                           : word + " is no number " + range;
        },
        range);
}

// Throws CLI::ParseError.
inline void parse_words(CLI::App& app, int count, char** words) {
    std::vector<std::string> written;
    std::vector<const char*> pointers;
    written.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        pointers.push_back(written.emplace_back(standing_for_itself(words[i])).c_str());
    }
    app.parse(count, pointers.data());
}

}  // namespace kms
