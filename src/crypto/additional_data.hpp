// Data that is authenticated and not encrypted.
#pragma once

#include "base/bytes.hpp"

namespace kms {

// In two parts, taken as one string: a header and a caller's context need no buffer to join them.
struct AdditionalData {
    ByteView first;
    ByteView second;

    std::size_t size() const { return first.size() + second.size(); }
};

}  // namespace kms
