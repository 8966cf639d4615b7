// Two columns of a table that hold the same values, one in plaintext and one encrypted: which they
// are, whatever code of the owner's runs meanwhile. PostgreSQL side.
#pragma once

#include <span>

#include "pg/columns/registry.hpp"

namespace kms::pg {

// In one table. All zeros: it is not there.
struct PairColumn {
    AttrNumber number;
    Oid type;
    std::int32_t typmod;

    bool operator==(const PairColumn&) const = default;
};

struct PairTable {
    Oid oid;
    PairColumn plain;
    PairColumn encrypted;
};

struct Pair {
    Oid relation;
    bool opens;  // it is being decrypted: the encrypted column goes, and not the plaintext
    const char* plain;
    const char* encrypted;
    SealedAs sealed_as;                 // as it is registered
    std::span<const PairTable> tables;  // the relation and its partitions

    const char* from() const { return opens ? encrypted : plain; }
    const char* to() const { return opens ? plain : encrypted; }
    PairColumn from(const PairTable& table) const { return opens ? table.encrypted : table.plain; }
    PairColumn to(const PairTable& table) const { return opens ? table.plain : table.encrypted; }
};

// With its tables, as they are now. They are locked (AccessShareLock), and no code of the owner's
// has run since the caller has locked the relation: a lock keeps others from changing them, but not
// what runs in this session.
Pair with_tables(const Pair& pair);

// The table, which nothing changes as long as it is open: neither what others' commands may do, nor
// ALTER TABLE in this session, but to rename. 55000 where it is not as it was.
Relation open_unchanged(const Pair& pair, const PairTable& table);

// 55000 where the names name other columns by now, or the relation has other partitions.
void require_unchanged(const Pair& pair, const PairTable& table);
void require_unchanged(const Pair& pair);

// Whether the column that goes is gone, and the other one as it was.
bool is_switched(const Pair& pair);

}  // namespace kms::pg
