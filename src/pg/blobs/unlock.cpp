#include "pg/blobs/unlock.hpp"

#include <algorithm>

#include "base/key_list.hpp"
#include "crypto/sealed.hpp"
#include "pg/session/settings.hpp"

namespace kms::pg {
namespace {

// Where keys were found when they were last looked for, by their tags: only a hint.
constexpr std::size_t hints_count = 64;
std::int32_t hints[hints_count];

// Whether another key may still be the one: this one is not, or cannot be had.
bool may_go_on_after(const Failure& failure) {
    if (failure.pending) {
        return false;
    }
    switch (failure.cause.code) {
        case Code::wrong_key:
        case Code::not_found:
        case Code::denied:
        case Code::disabled:
        case Code::unsupported:
            return true;
        default:
            return false;
    }
}

// Whether it says something of the key version, and not of what was tried alone: in remote mode an
// agent may look at the context of each.
bool is_for_all_of_version(const Failure& failure) {
    return failure.cause.code != Code::denied || mode() != Mode::remote;
}

Obstacle obstacle_of(const Failure& failure) {
    if (!failure || failure.cause.code == Code::wrong_key) {
        return Obstacle::none;
    }
    return failure.cause.code == Code::disabled ? Obstacle::retired : Obstacle::unknown;
}

// What is stored was well formed once.
[[noreturn]] void raise_of_stored(const Call& call, const Failure& failure) {
    if (!failure.pending && failure.cause.code == Code::malformed) {
        raise_error({call.action}, Code::corrupt, changed_blob_row);
    }
    raise(failure);
}

Call by(const Call& call, std::int32_t local_id) {
    Call with = call;
    with.local_id = local_id;
    return with;
}

Failure attempt_with(TryKey try_key, const Call& call, std::int32_t local_id) {
    varlena* result = nullptr;
    return try_key(by(call, local_id), &result);
}

// All that is tried with the same outcome: the header tells which key it is for.
struct Sought {
    TryKey try_key;
    Byte header[16];
};

struct Found {
    Sought sought;
    BoundKey key;
};

Sought sought_by(TryKey try_key, const Call& call) {
    Sought sought = {try_key, {}};
    copy_bytes(call.data.first(std::min(call.data.size(), sealed_beginning)), sought.header);
    return sought;
}

}  // namespace

FoundKeys::FoundKeys() {
    HASHCTL shape = {};
    shape.keysize = sizeof(Sought);
    shape.entrysize = sizeof(Found);
    shape.hcxt = CurrentMemoryContext;
    entries_ = hash_create("kms found keys", 64, &shape, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

std::optional<BoundKey> FoundKeys::find(TryKey try_key, const Call& call) const {
    const Sought sought = sought_by(try_key, call);
    const auto* found =
        static_cast<const Found*>(hash_search(entries_, &sought, HASH_FIND, nullptr));
    return found != nullptr ? std::optional(found->key) : std::nullopt;
}

void FoundKeys::add(TryKey try_key, const Call& call, const BoundKey& key) {
    const Sought sought = sought_by(try_key, call);
    static_cast<Found*>(hash_search(entries_, &sought, HASH_ENTER, nullptr))->key = key;
}

void FoundKeys::count(const BoundKey& key) {
    if (key.local_id == 0) {
        retired_ += key.obstacle == Obstacle::retired ? 1 : 0;
        unknown_ += key.obstacle == Obstacle::unknown ? 1 : 0;
    }
}

Failure attempt(TryKey try_key, const Call& call, std::int32_t local_id, varlena** result) {
    const Failure failure = try_key(by(call, local_id), result);
    if (failure && !may_go_on_after(failure)) {
        raise_of_stored(call, failure);
    }
    return failure;
}

std::int32_t find_bound_key(TryKey try_key, const Call& call, const KeyTag& tag, varlena** result,
                            FoundKeys* found) {
    const auto known = found != nullptr ? found->find(try_key, call) : std::nullopt;
    if (known && known->local_id == 0) {
        found->count(*known);
        return 0;
    }
    BoundKey bound = {0, Obstacle::none};
    bool is_for_all = true;
    const auto does = [&](std::int32_t local_id) {
        const Failure failure = attempt(try_key, call, local_id, result);
        is_for_all = is_for_all && (!failure || is_for_all_of_version(failure));
        const Obstacle obstacle = obstacle_of(failure);
        if (found != nullptr && obstacle == Obstacle::unknown) {
            found->note(local_id);
        }
        bound.obstacle = std::max(bound.obstacle, obstacle);
        return !failure;
    };
    const KeyList& keys = key_list();
    std::int32_t& hint = hints[tag[0] % hints_count];
    const std::int32_t first = known ? known->local_id : hint;
    bound.local_id = keys.find(first) != nullptr && does(first) ? first : 0;
    for (const Binding& binding : keys.bindings()) {
        if (bound.local_id == 0 && binding.local_id != first && does(binding.local_id)) {
            bound.local_id = binding.local_id;
        }
    }
    hint = bound.local_id != 0 ? bound.local_id : hint;
    if (found != nullptr && is_for_all) {
        found->add(try_key, call, bound);
    }
    if (found != nullptr) {
        found->count(bound);
    }
    return bound.local_id;
}

void raise_no_bound_key(TryKey try_key, const Call& call) {
    BoundKey closed = {0, Obstacle::none};
    for (const Binding& binding : key_list().bindings()) {
        const Obstacle obstacle = obstacle_of(attempt_with(try_key, call, binding.local_id));
        if (obstacle > closed.obstacle) {
            closed = {binding.local_id, obstacle};
        }
    }
    if (closed.local_id != 0) {
        if (const Failure failure = attempt_with(try_key, call, closed.local_id)) {
            raise(failure);
        }
    }
    raise_error({call.action}, Code::wrong_key, "No key that is bound here is the blob's.");
}

}  // namespace kms::pg
