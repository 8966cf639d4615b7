// Waiting until those are gone who may have something in hand that nobody else sees yet.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"
#include "pg/server/pg.hpp"

namespace kms::pg {

// After a version can no longer be fetched from its agent: waits until no session can hold it, as
// far as this session's kms.cache_ttl is theirs.
void outlast_caches(ByteView identifier, std::uint32_t version);

// Every transaction of this database that is running or prepared, and every snapshot that is as old
// as `before`.
void outlast_others(Snapshot before);

}  // namespace kms::pg
