#include "blob/report.hpp"

#include <csignal>
#include <cstdio>

#include "base/output.hpp"
#include "blob/text.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

Exit exit_for(Code code) {
    switch (code) {
        case Code::not_found:
            return Exit::not_found;
        case Code::denied:
            return Exit::refused;
        case Code::wrong_key:
            return Exit::unusable;
        default:
            return Exit::failed;
    }
}

// libpq begins lines with a tab.
std::string safe_line(std::string_view line) {
    const bool indented = line.starts_with('\t');
    return (indented ? "    " : "") + printable(indented ? line.substr(1) : line) + '\n';
}

}  // namespace

void complain(std::string_view text) {
    std::string lines = "kms-blob: ";
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        lines += safe_line(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    std::fputs(lines.c_str(), stderr);
}

Status tell_done(const std::string& text) {
    std::signal(SIGPIPE, SIG_IGN);
    return print(text);
}

Exit fail(const Error& error) {
    complain(error.text);
    return exit_for(error.code);
}

}  // namespace kms::blob
