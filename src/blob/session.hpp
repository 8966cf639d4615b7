// How every subcommand begins.
#pragma once

#include "blob/connection.hpp"
#include "blob/options.hpp"

namespace kms::blob {

enum class OnSignal {
    die,           // at once: nothing of ours is left behind
    end_in_order,  // see interruption.hpp
};

// A connection with the key bound.
Result<Connection> begin_session(const Options& options, OnSignal on_signal);

}  // namespace kms::blob
