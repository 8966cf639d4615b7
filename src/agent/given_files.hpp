// The files that a command line names: no two of them may be one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace kms::agent {

struct GivenFile {
    std::string_view option;  // for messages
    std::string path;         // empty: not given
};

// Code::invalid where the first is the same file as another: by its inode where both are there,
// else by its folder's inode and its name. So it is found through links and other spellings.
Status check_differs(const GivenFile& first, const std::vector<GivenFile>& others);

}  // namespace kms::agent
