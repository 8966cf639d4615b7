#include "pg/blob_unlock.hpp"

#include "base/key_list.hpp"
#include "pg/settings.hpp"

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

bool is_of_another_key(const Failure& failure) {
    return failure.cause.code == Code::wrong_key || failure.cause.code == Code::not_found;
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

}  // namespace

bool tries(TryKey try_key, const Call& call, std::int32_t local_id, varlena** result) {
    const Failure failure = try_key(by(call, local_id), result);
    if (failure && !may_go_on_after(failure)) {
        raise_of_stored(call, failure);
    }
    return !failure;
}

std::int32_t find_bound_key(TryKey try_key, const Call& call, const KeyTag& tag, varlena** result) {
    const KeyList& keys = key_list();
    std::int32_t& hint = hints[tag[0] % hints_count];
    if (keys.find(hint) != nullptr && tries(try_key, call, hint, result)) {
        return hint;
    }
    for (const Binding& binding : keys.bindings()) {
        if (binding.local_id != hint && tries(try_key, call, binding.local_id, result)) {
            hint = binding.local_id;
            return hint;
        }
    }
    return 0;
}

void raise_no_bound_key(TryKey try_key, const Call& call) {
    for (const Binding& binding : key_list().bindings()) {
        varlena* result = nullptr;
        const Failure failure = try_key(by(call, binding.local_id), &result);
        if (failure && !is_of_another_key(failure)) {
            raise(failure);
        }
    }
    raise_error({call.action}, Code::wrong_key, "No key that is bound here is the blob's.");
}

}  // namespace kms::pg
