#include "base/output.hpp"

#include <algorithm>
#include <cstdio>

#include "base/system.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

std::vector<std::size_t> widths_of(const std::vector<TableRow>& rows) {
    std::vector<std::size_t> widths;
    for (const TableRow& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], row[i].size());
        }
    }
    return widths;
}

}  // namespace

std::string aligned(const std::vector<TableRow>& rows) {
    const std::vector<std::size_t> widths = widths_of(rows);
    std::string text;
    for (const TableRow& row : rows) {
        for (std::size_t i = 0; i + 1 < row.size(); ++i) {
            text += row[i] + std::string(widths[i] - row[i].size() + 2, ' ');
        }
        text += row.back() + '\n';
    }
    return text;
}

Status print(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
        std::fflush(stdout) != 0) {
        return system_error("cannot write to the standard output");
    }
    return {};
}

}  // namespace kms
