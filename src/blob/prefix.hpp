// Whether what is stored of a blob is how a file begins.
#pragma once

#include "blob/connection.hpp"
#include "blob/input.hpp"
#include "blob/progress.hpp"

namespace kms::blob {

struct Stored {
    std::uint64_t size = 0;
    std::int64_t version = 0;
    bool complete = false;
};

Result<Stored> look_up(Connection& connection, const std::string& id);

// Reads `stored.size` bytes of `input` while the server authenticates the blob's. Code::denied
// where they are not the same.
Status check_prefix(Connection& connection, const std::string& id, const Stored& stored,
                    Input& input, bool show_progress);

}  // namespace kms::blob
