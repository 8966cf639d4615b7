// Whether two columns of a table hold the same values, one in plaintext and one encrypted: all
// three acts.
#pragma once

#include "pg/args.hpp"

namespace kms::pg {

struct Pair {
    Oid relation;
    bool opens;  // it is being decrypted: the encrypted column goes, and not the plaintext
    const char* plain;
    const char* encrypted;
    ByteView key_identifier;
    const char* context_expression;  // as it is registered; nullptr: the empty context

    const char* from() const { return opens ? encrypted : plain; }
    const char* to() const { return opens ? plain : encrypted; }
};

// Opens every value that is committed, or this transaction's own, in the relation and its
// partitions, which the caller has locked against writes. The number of values; 55000 at the first
// row where the two do not agree.
std::int64_t compare_pair(const Pair& pair);

}  // namespace kms::pg
