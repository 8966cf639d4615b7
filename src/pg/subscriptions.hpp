// What brings rows from another server: act one.
#pragma once

#include "pg/pg.hpp"

namespace kms::pg {

// InvalidOid: there is none. A disabled one counts, since it may go on.
Oid subscription_to(Oid table);

// For messages.
const char* shown_subscription(Oid subscription);

}  // namespace kms::pg
