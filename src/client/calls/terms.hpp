// Search terms that the agent makes under its keys of algorithm hmac-sha-256.
#pragma once

#include <span>

#include "client/calls/keys.hpp"
#include "crypto/search_term.hpp"

namespace kms {

struct TermWish {
    ByteView key;  // its identifier
    unsigned bits;
    ByteView context;
    ByteView data;
};

// All 256 bits, to be cut. Under the current version.
Result<FullTerm> make_term(Line line, const TermWish& wish);

// Under each of the versions, in one pipelined exchange. `terms`: as many as tags. The first Error
// of them, and then no term is of use.
Status make_terms(Line line, const TermWish& wish, std::span<const KeyTag> tags,
                  std::span<FullTerm> terms);

}  // namespace kms
