// Retirement of data keys without races: whoever seals under a key version holds a shared lock on
// it until the transaction is over, whoever retires it takes the lock alone, and waits. PostgreSQL
// side.
//
// What a worker of a parallel query holds, it holds as long as it runs.
#pragma once

#include <cstdint>

#include "crypto/algorithm.hpp"

namespace kms::pg {

// Rises when this transaction lets go of such locks, at its end; never 0. A version that was locked
// in this very epoch is locked.
std::uint64_t sealing_epoch();

// Shared. May wait for one who retires the version: its row must be looked at again afterwards
// where data_key_changes() has risen.
void lock_for_sealing(const KeyTag& tag);

// Waits for every transaction that has sealed under the version, or may have.
void lock_for_retiring(const KeyTag& tag);

// Whether this transaction has, or may have where it has sealed under many versions.
bool has_sealed_under(const KeyTag& tag);

}  // namespace kms::pg
