// Sealing and opening values, one or many, in the session's mode. Both sides: an error of
// PostgreSQL's own is raised, any other comes back as a Failure, which try_decode may turn into
// NULL.
#pragma once

#include <optional>
#include <span>

#include "crypto/search_term.hpp"
#include "pg/server/arguments.hpp"
#include "pg/session/key_use.hpp"

namespace kms::pg {

// One call of encode, decode or their kin. Views are of detoasted arguments.
struct Call {
    const char* action;
    std::int32_t local_id;
    ByteView data;
    ByteView context;
    ByteView identifier{};  // of the key, where no local id stands for it
    // The version that is under what this is sealed in the place of, which is not to get an older
    // one. nullopt: it is new.
    std::optional<KeyTag> replaces{};

    bool names_key() const { return !identifier.empty(); }
};

enum class Way { seal, open };

Failure seal(const Call& call, varlena** result);
Failure open(const Call& call, varlena** result);

// Many calls, in remote mode in one exchange with the agent; keys that are not held come in one
// exchange too. The calls below `done` have their results; the Failure, if there is one, is that of
// call `done`.
Failure transform(Way way, std::span<const Call> calls, varlena** results, std::size_t& done);

// The same for opening and sealing again: what `calls` open is sealed under the keys and contexts
// of the calls of `to`, as many, whose data does not matter. Remote mode keeps all plaintexts until
// they are sealed.
Failure reseal(std::span<const Call> calls, std::span<const Call> to, varlena** results,
               std::size_t& done);

// A key of its own for what is too large to be a value, wrapped by the DEK that the call names;
// suite 0x01, whatever the DEK's algorithm. What was unwrapped is the session's reply.
Failure wrap(const Call& call, varlena** result);
Failure unwrap(const Call& call);

// One value under each of the versions with these tags, of a key whose ciphertexts are
// deterministic (else KM010).
Failure seal_under(const Call& call, std::span<const KeyTag> tags, varlena** results);

// All 256 bits of a search term under each of the versions with these tags; under the current one
// where there is no tag, and then there is one term. KM010 unless the key makes search terms.
Failure make_terms(const Call& call, unsigned bits, std::span<const KeyTag> tags,
                   std::span<FullTerm> terms);

// Which version of its key is the current one: that of a value which is sealed now, in whatever
// mode. Code::protocol where the agent's ciphertext does not say. The call has no data.
Failure find_current_tag(const Call& call, KeyTag& tag);

// The same, and raises the failure.
KeyTag current_tag(const Call& call);

// The key that a call names (KM001 where nothing is bound to its local id).
KeyUse use_of_call(const Call& call);

// Raises 22021 unless the plaintext is text. PostgreSQL's own check would show its bytes.
void require_text(const Call& call, varlena* value);

}  // namespace kms::pg
