// Brings the data keys that a KEK wraps to its current version. All three acts.
#pragma once

#include "pg/args.hpp"

namespace kms::pg {

// Every row that is not destroyed and whose first form is of another version than `current`; that
// form becomes the second. Within the transaction, whose lock on the KEK keeps others from it.
void rewrap_data_keys(const KeyUse& kek, std::uint32_t current);

}  // namespace kms::pg
