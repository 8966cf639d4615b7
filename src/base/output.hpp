// What programs print on the standard output.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace kms {

using TableRow = std::vector<std::string>;

// A line for each row, its columns parted by blanks. All rows have as many.
std::string aligned(const std::vector<TableRow>& rows);

// In one piece. Code::io.
Status print(const std::string& text);

}  // namespace kms
