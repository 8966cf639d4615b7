// Whether two columns of a table hold the same values, one in plaintext and one encrypted: both
// sides.
#pragma once

#include "pg/pairs/pair.hpp"

namespace kms::pg {

// Opens every value that is committed, or this transaction's own, in the pair's tables, which the
// caller has locked against writes. The number of values; 55000 at the first
// row where the two do not agree, and where the owner's code has changed the tables.
std::int64_t compare_pair(const Pair& pair);

}  // namespace kms::pg
