// What the command line asks for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blob/connection.hpp"
#include "blob/range.hpp"

namespace kms::blob {

struct Options {
    Target target;
    std::int32_t local_id = 1;
    std::optional<std::string> key;  // to bind to local_id first
    bool json = false;
    bool quiet = false;

    std::vector<std::string> ids;
    std::string file;  // to put, or -; to get into, or empty
    std::string resume;
    std::optional<std::string> name;
    std::optional<std::string> type;
    std::optional<std::string> metadata;
    std::optional<std::string> expire_in;
    // Files, or -, that have what other users of this machine should not see in a command line.
    std::string name_from;
    std::string metadata_from;
    std::string prefix_from;
    std::optional<Range> range;
    bool force = false;
    std::string prefix;
};

}  // namespace kms::blob
