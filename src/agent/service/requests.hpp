// The verbs of kms/1, from a frame to a key store and back into a buffer of replies.
#pragma once

#include <string_view>

#include "agent/keyring/key_store.hpp"
#include "agent/service/offered_verbs.hpp"
#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "wire/frame.hpp"

namespace kms::agent {

// Appends an `error` reply.
Status append_refusal(SecretBytes& replies, std::uint64_t id, const Error& error);

class Requests {
  public:
    // All must outlive this object.
    Requests(KeyStore& store, const OfferedVerbs& offered, SecretBytes& replies)
        : store_(store), offered_(offered), replies_(replies) {}

    struct Verb;

    // nullptr for a verb that is not known.
    static const Verb* find(std::string_view verb);

    // Appends exactly one reply. An Error means that no reply could be written.
    Status answer(const Verb& verb, const wire::Head& head, ByteView body);

    // Whether a hello has been accepted.
    bool greeted() const { return greeted_; }

    // Appends the reply to a verb that is not known.
    Status refuse_verb(std::uint64_t id);

  private:
    using Handler = Status (Requests::*)(const wire::Head&, ByteView);
    static const Verb verbs[];

    Status carry_out(const Verb& verb, const wire::Head& head, ByteView body);
    Status learn_identity(ByteView body);

    Status hello(const wire::Head& head, ByteView body);
    Status identify(const wire::Head& head, ByteView body);
    Status ping(const wire::Head& head, ByteView body);
    Status describe(const wire::Head& head, ByteView body);
    Status get(const wire::Head& head, ByteView body);
    Status encrypt(const wire::Head& head, ByteView body);
    Status encrypt_as(const wire::Head& head, ByteView body);
    Status decrypt(const wire::Head& head, ByteView body);
    Status wrap(const wire::Head& head, ByteView body);
    Status unwrap(const wire::Head& head, ByteView body);
    Status mac(const wire::Head& head, ByteView body);
    Status create(const wire::Head& head, ByteView body);
    Status import_version(const wire::Head& head, ByteView body);
    Status rotate(const wire::Head& head, ByteView body);
    Status list(const wire::Head& head, ByteView body);
    Status enable(const wire::Head& head, ByteView body);
    Status disable(const wire::Head& head, ByteView body);
    Status destroy(const wire::Head& head, ByteView body);

    // encrypt, decrypt, wrap and unwrap: a context and data in, one body out. `said`: how many of
    // the words VERSION and TAG the reply has.
    using Transform = Status (KeyStore::*)(ByteView, ByteView, ByteView, ReplyBody&);
    Status transform(const wire::Head& head, ByteView body, Transform store_verb, std::size_t said);

    // The key that the request is about: valid until the next request.
    Result<ByteView> key_word(const wire::Head& head);

    Status change_version(const wire::Head& head, wire::VersionState state);
    Status reply_version(std::uint64_t id, const KeyVersion& version, ByteView body);
    Status reply(std::uint64_t id, std::span<const ByteView> words, ByteView body);

    KeyStore& store_;
    const OfferedVerbs& offered_;
    SecretBytes& replies_;
    std::string unescaped_key_;
    bool greeted_ = false;
    bool identified_ = false;  // false from a refused identify until the next good one
};

}  // namespace kms::agent
