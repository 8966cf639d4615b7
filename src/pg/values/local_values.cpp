// Local and envelope modes: the session holds the DEK.
//
// Each call first gets its key, then allocates the result, then seals or opens. Between the steps a
// timer may wipe the key (its time to live ends): then the call begins again and fetches it anew.
#include "pg/session/asking.hpp"
#include "pg/session/settings.hpp"
#include "pg/stored/version_lock.hpp"
#include "pg/values/modes.hpp"

namespace kms::pg {
namespace {

// How long a version is believed to be the current one where stored values are brought to it.
constexpr auto believed_for = std::chrono::seconds(1);

Subject subject_of(const Call& call, const HeldKeys* keys) {
    return {call.action, call.local_id,
            keys != nullptr ? bytes_of(keys->identifier) : call.identifier};
}

// What the steps of a call hand to each other.
struct Step {
    HeldKeys* keys = nullptr;
    HeldKey* key = nullptr;
    bool again = false;  // the key was wiped meanwhile
};

template <typename GetKey>
Failure look_up(Session& session, const Call& call, Step& step, GetKey get_key) {
    KeyUse use = use_of_call(call);
    return ask_for_data_key(session, use, use.subject(), [&]() -> Status {
        KMS_ASSIGN(step.key, get_key(use));
        step.keys = session.cache.find(use.owner, use.identifier);
        return {};
    });
}

// Nobody retires a stored version while one who has sealed under it may still commit. False: while
// the lock was awaited, it may have been retired.
bool lock_version(Step& step) {
    lock_for_sealing(step.key->key.tag());
    if (step.keys->valid_under != key_circumstances()) {
        return false;
    }
    step.key->locked_in = sealing_epoch();
    return true;
}

bool may_seal(Step& step) {
    return !step.key->is_stored || step.key->locked_in == sealing_epoch() || lock_version(step);
}

Failure look_up_and_lock_current(Session& session, const Call& call, Step& step) {
    for (;;) {
        const Failure failure = look_up(
            session, call, step, [&](const KeyUse& use) { return session.current_key(use); });
        if (failure || may_seal(step)) {
            return failure;
        }
    }
}

[[gnu::hot]] Failure get_believed(Session& session, const Call& call, Step& step) {
    step.keys = remembered(session, call);
    step.key = step.keys != nullptr ? step.keys->current : nullptr;
    if (step.key != nullptr && !step.key->wiped && may_seal(step)) {
        return {};
    }
    return look_up_and_lock_current(session, call, step);
}

// Another session's rotation at the agent is not heard of: what is held as the current version may
// be older than the one that was fetched after it, or none that anybody else may use by now. The
// database's is always the current one.
bool may_be_outdated(const KeyTag& replaced, const Step& step) {
    const HeldKey& current = *step.key;
    if (current.key.tag() == replaced || current.is_stored) {
        return false;
    }
    const HeldKey* under = step.keys->find(replaced);
    return (under != nullptr && current.asked_at <= under->asked_at) ||
           Clock::now() - current.fetched_at > believed_for;
}

[[gnu::hot]] Failure get_current(Session& session, const Call& call, Step& step) {
    const Failure failure = get_believed(session, call, step);
    if (failure || !call.replaces || !may_be_outdated(*call.replaces, step)) {
        return failure;
    }
    return look_up(session, call, step,
                   [&](const KeyUse& use) { return session.fetch_current_key(use); });
}

[[gnu::hot]] Failure get_by_tag(Session& session, const Call& call, const KeyTag& tag, Step& step) {
    step.keys = remembered(session, call);
    step.key = step.keys != nullptr ? step.keys->find(tag) : nullptr;
    if (step.key != nullptr) {
        return {};
    }
    return look_up(session, call, step,
                   [&](const KeyUse& use) { return session.key_with_tag(use, tag); });
}

// For what is made to be looked for, and may be stored all the same.
Failure get_by_tag_and_lock(Session& session, const Call& call, const KeyTag& tag, Step& step) {
    for (;;) {
        const Failure failure = get_by_tag(session, call, tag, step);
        if (failure || may_seal(step)) {
            return failure;
        }
    }
}

// Runs `body` on the step's key, or marks the step for another round.
template <typename Body>
Failure with_key(Session& session, const Call& call, Step& step, Body&& body) {
    step.again = false;
    return in_session(session, subject_of(call, step.keys), [&]() -> Status {
        if (step.key->wiped) {
            step.again = true;
            return {};
        }
        return body();
    });
}

// KM006; needs the key's identifier for its message, but no key.
Failure not_sealed(const Call& call) {
    return guarded(use_of_call(call).subject(), [&]() -> Status {
        KMS_TRY(parse_sealed(call.data));
        return {};
    });
}

[[gnu::hot]] Failure make_room_for_sealed(const Call& call, const Step& step, varlena** result) {
    *result =
        allocate_value(step.key->key.sealed_size(call.data.size()), subject_of(call, step.keys));
    return {};
}

// Gets a key, makes room for the result and fills it, until no key is wiped in between.
template <typename GetKey, typename MakeRoom, typename Fill>
[[gnu::always_inline]] inline Failure transform_with_key(Session& session, const Call& call,
                                                         GetKey get_key, MakeRoom make_room,
                                                         Fill fill) {
    for (;;) {
        Step step;
        if (const Failure failure = get_key(step)) {
            return failure;
        }
        if (const Failure failure = make_room(step)) {
            return failure;
        }
        const Failure failure = with_key(session, call, step, [&] { return fill(*step.key); });
        if (!step.again) {
            return failure;
        }
    }
}

// `make_room` gets the plaintext's length and the subject of an error, and sets where it goes;
// `open_with` gets the key and the room.
template <typename MakeRoom, typename OpenWith>
[[gnu::always_inline]] inline Failure open_into(Session& session, const Call& call,
                                                MakeRoom make_room, OpenWith open_with) {
    const auto sealed = read_sealed_header(call.data);
    if (!sealed) {
        return not_sealed(call);
    }
    ByteSpan room;
    return transform_with_key(
        session, call, [&](Step& step) { return get_by_tag(session, call, sealed->tag, step); },
        [&](Step& step) {
            return make_room(sealed->plaintext_length, subject_of(call, step.keys), room);
        },
        [&](HeldKey& held) { return open_with(held, room); });
}

template <typename OpenWith>
Failure open_for_session(Session& session, const Call& call, OpenWith open_with) {
    return open_into(
        session, call,
        [&](std::size_t length, const Subject& subject, ByteSpan& room) {
            return guarded(subject, [&]() -> Status {
                session.reply = SecretBytes(length);
                room = session.reply.span();
                return {};
            });
        },
        open_with);
}

}  // namespace

[[gnu::hot]] HeldKeys* remembered(Session& session, const Call& call) {
    return call.names_key() ? session.remembered(call.identifier, GetUserId())
                            : session.remembered(call.local_id, GetUserId());
}

[[gnu::hot]] Failure seal_locally(const Call& call, varlena** result) {
    Session& session = pg::session();
    return transform_with_key(
        session, call, [&](Step& step) { return get_current(session, call, step); },
        [&](Step& step) { return make_room_for_sealed(call, step, result); },
        [&](HeldKey& held) { return held.key.seal(call.data, call.context, bytes_in(*result)); });
}

[[gnu::hot]] Failure open_locally(const Call& call, varlena** result) {
    return open_into(
        pg::session(), call,
        [&](std::size_t length, const Subject& subject, ByteSpan& room) {
            *result = allocate_value(length, subject);
            room = bytes_in(*result);
            return Failure();
        },
        [&](HeldKey& held, ByteSpan room) { return held.key.open(call.data, call.context, room); });
}

Failure seal_under_locally(const Call& call, const KeyTag& tag, varlena** result) {
    Session& session = pg::session();
    return transform_with_key(
        session, call, [&](Step& step) { return get_by_tag_and_lock(session, call, tag, step); },
        [&](Step& step) { return make_room_for_sealed(call, step, result); },
        [&](HeldKey& held) -> Status {
            if (!info_of(held.key.algorithm()).is_deterministic()) {
                return Error{Code::unsupported,
                             "Only a key of algorithm aes-256-siv gives equal values equal "
                             "ciphertexts."};
            }
            return held.key.seal(call.data, call.context, bytes_in(*result));
        });
}

Failure term_locally(const Call& call, unsigned bits, const std::optional<KeyTag>& tag,
                     FullTerm& term) {
    Session& session = pg::session();
    const auto get_key = [&](Step& step) {
        return tag ? get_by_tag_and_lock(session, call, *tag, step)
                   : get_current(session, call, step);
    };
    return transform_with_key(
        session, call, get_key, [](Step&) { return Failure(); },
        [&](HeldKey& held) -> Status {
            KMS_ASSIGN(const TermKey* key, held.term_key());
            KMS_ASSIGN(term, key->make(bits, call.context, call.data));
            return {};
        });
}

Failure wrap_locally(const Call& call, varlena** result) {
    Session& session = pg::session();
    return transform_with_key(
        session, call, [&](Step& step) { return get_current(session, call, step); },
        [&](Step& step) {
            *result = allocate_value(wrapped_size(call.data.size()), subject_of(call, step.keys));
            return Failure();
        },
        [&](HeldKey& held) -> Status {
            KMS_ASSIGN(SealingKey * key, held.wrapping_key());
            return key->seal(call.data, call.context, bytes_in(*result));
        });
}

Failure unwrap_locally(const Call& call) {
    return open_for_session(session(), call, [&](HeldKey& held, ByteSpan room) -> Status {
        KMS_ASSIGN(SealingKey * key, held.wrapping_key());
        return key->open(call.data, call.context, room);
    });
}

// The plaintext is kept by the session: fetching the target's key may take longer than the source's
// key lives, so they are not needed at once.
Failure reseal_locally(const Call& call, const Call& to, varlena** result) {
    Session& session = pg::session();
    const Failure not_opened = open_for_session(session, call, [&](HeldKey& held, ByteSpan room) {
        return held.key.open(call.data, call.context, room);
    });
    if (not_opened) {
        return not_opened;
    }
    const Failure failure = seal_locally(sealing_again(to, call, session.reply.view()), result);
    session.reply.release();
    return failure;
}

}  // namespace kms::pg
