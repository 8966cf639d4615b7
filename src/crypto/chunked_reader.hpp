// Reads a message of C2SP chunked-encryption as a stream, in constant memory.
#pragma once

#include <optional>

#include "crypto/chunked_encryption.hpp"

namespace kms::chunked {

// The first failure is final: whatever is asked for later gives it again. Until finish() has
// worked, what was read is authentic but not known to be the whole message.
class MessageReader {
  public:
    // `input_key`: 32 bytes (else Code::invalid).
    static Result<MessageReader> create(ByteView input_key, ByteView context);

    // Takes bytes off the front of `piece` up to the end of a chunk, and writes that chunk's
    // plaintext to the front of `out`, which has room for 16 KiB. Returns its length, 16 KiB;
    // 0: `piece` has been taken whole, and the chunk is not complete yet. Code::corrupt.
    Result<std::size_t> read(ByteView& piece, ByteSpan out);

    // Nothing follows: opens the final chunk and returns its length, less than 16 KiB. `out` has
    // room for as much. Code::corrupt: cut short, followed by something, or not authentic.
    Result<std::size_t> finish(ByteSpan out);

  private:
    MessageReader(ByteView input_key, ByteView context);
    bool fill(ByteView& piece, std::size_t length);
    Status read_header(ByteView& piece);
    Result<std::size_t> open(ByteView sealed, ByteSpan out);
    Error fail(Error error);

    SecretBytes input_key_;  // until the header has been read
    SecretBytes context_;
    std::optional<MessageOpener> opener_;
    SecretBytes held_;  // of the header, then of the next chunk
    std::uint64_t next_ = 0;
    std::optional<Error> failure_;
};

}  // namespace kms::chunked
