// Values that the agent encrypts and decrypts: one, or many in one pipelined exchange.
//
// A reply has no limit but what its request implies: a decrypt no more bytes than were sent, an
// encrypt twice that and 4 KiB.
#pragma once

#include <span>

#include "client/calls/keys.hpp"

namespace kms {

struct Value {
    ByteView key;  // its identifier
    ByteView context;
    ByteView data;  // plaintext or ciphertext
};

// What is asked for, and where results are put.
class Values {
  public:
    virtual ~Values() = default;

    virtual std::size_t count() const = 0;
    // Views that hold until the exchange is over.
    virtual Value at(std::size_t index) = 0;
    // Room for the result of the value at `index`, asked for once. Code::too_large.
    virtual Result<ByteSpan> allot(std::size_t index, std::size_t length) = 0;
};

// The values below `done` have their results; where there is an Error, it is that of value `done`,
// or of an agent that went on to write when all were done. What was put for values behind it, or
// begun for it, is of no use. Code::malformed where the agent finds a ciphertext invalid.
Status encrypt(Line line, Values& values, std::size_t& done);
Status decrypt(Line line, Values& values, std::size_t& done);

// As encrypt, by keys whose ciphertexts are deterministic, and value i under the version with the
// tag tags[i].
Status encrypt_as(Line line, Values& values, std::span<const KeyTag> tags, std::size_t& done);

}  // namespace kms
