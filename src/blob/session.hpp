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

// Before anything is sent that would have to be sent again: whether the user may call these
// functions of kms, whose names are parted by commas.
Status check_rights(Connection& connection, const char* functions);

}  // namespace kms::blob
