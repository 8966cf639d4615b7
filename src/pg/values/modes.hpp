// The two ways to seal and open that values.cpp chooses from.
#pragma once

#include "pg/session/session.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {

// What the session holds for a call and may use without asking anybody; nullptr: nothing.
HeldKeys* remembered(Session& session, const Call& call);

Failure seal_locally(const Call& call, varlena** result);
Failure open_locally(const Call& call, varlena** result);
Failure reseal_locally(const Call& call, const Call& to, varlena** result);

// The same with the `kms/1 wrap` subkey. What was unwrapped is the session's reply.
Failure wrap_locally(const Call& call, varlena** result);
Failure unwrap_locally(const Call& call);

// The same values under the version with a tag, of a key whose ciphertexts are deterministic; and
// all 256 bits of search terms, under the current version where there is no tag.
Failure seal_under_locally(const Call& call, const KeyTag& tag, varlena** result);
Failure term_locally(const Call& call, unsigned bits, const std::optional<KeyTag>& tag,
                     FullTerm& term);
Failure seal_under_remotely(std::span<const Call> calls, std::span<const KeyTag> tags,
                            varlena** results);
Failure terms_remotely(const Call& call, unsigned bits, std::span<const KeyTag> tags,
                       std::span<FullTerm> terms);

Failure wrap_remotely(const Call& call, varlena** result);
Failure unwrap_remotely(const Call& call);

Failure transform_remotely(Way way, std::span<const Call> calls, varlena** results,
                           std::size_t& done);
Failure reseal_remotely(std::span<const Call> calls, std::span<const Call> to, varlena** results,
                        std::size_t& done);

// The call that seals as `to` says what `opened` has opened.
Call sealing_again(const Call& to, const Call& opened, ByteView plaintext);

}  // namespace kms::pg
