// Tables whose rows are not their own: whoever looks into their files finds none.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// "is a foreign table", and the like; nullptr: its rows are here.
const char* why_elsewhere(Oid table);

}  // namespace kms::pg
