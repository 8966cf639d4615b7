// What a column's values are sealed under: rows and bytes by suite and key tag. In PostgreSQL's
// memory, which ereport() may jump away from.
#pragma once

#include <span>

#include "crypto/sealed.hpp"
#include "pg/server/pg.hpp"

namespace kms::pg {

// The beginning of a sealed value; all zero: no sealed value.
using SealedUnder = std::array<Byte, sealed_beginning>;

struct CensusEntry {
    SealedUnder under;
    std::uint64_t rows;
    std::uint64_t bytes;

    bool is_sealed() const { return under[0] != 0; }
    KeyTag tag() const;
};

class CensusCounter {
  public:
    explicit CensusCounter(MemoryContext memory);

    // A value as it stands in its row: of one that is kept elsewhere only the beginning is fetched.
    void count(varlena* value);

    void add(std::span<const CensusEntry> entries);
    std::span<const CensusEntry> entries() const;
    std::uint64_t rows_under(const KeyTag& tag) const;  // of any suite

  private:
    void count(ByteView beginning, std::size_t length);
    CensusEntry& entry_of(const SealedUnder& under);

    HTAB* entries_;
    CensusEntry* last_ = nullptr;  // most values are sealed under what the one before is
    std::size_t last_least_ = 0;   // the length of the shortest such value
};

}  // namespace kms::pg
