// What a column hands on to the one that takes its place, and what is lost with it: PostgreSQL
// side. In an SPI connection.
#pragma once

#include "pg/pairs/pair.hpp"

namespace kms::pg {

// A line each; "" for nothing.
struct Succession {
    const char* handed_on;
    const char* lost;        // what PostgreSQL drops with the column
    const char* in_the_way;  // what keeps PostgreSQL from dropping it
    const char* way_out;     // and what becomes of that: a HINT
};

// In the relation and its partitions. Looks, and changes nothing. The new column need not be there
// yet.
Succession succession_of(const Pair& pair);

// NOT NULL, the DEFAULT, the comment, and the sequence that the column owns; privileges with their
// grantors, unless the new column is in plaintext. Where that has one of its own, it stays. Before
// the old one is dropped.
void hand_on(const Pair& pair);

}  // namespace kms::pg
