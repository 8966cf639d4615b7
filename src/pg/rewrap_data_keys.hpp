// Brings the data keys that a KEK wraps to its current version. All three acts.
#pragma once

#include "pg/args.hpp"

namespace kms::pg {

// Every row that is not destroyed, whatever KEK version it names: the number may be one that the
// agent has given to another version since. The form that opened becomes the second, and the new
// one has been seen to open. Within the transaction, whose lock on the KEK keeps others from it.
std::size_t rewrap_data_keys(const KeyUse& kek);  // how many

}  // namespace kms::pg
