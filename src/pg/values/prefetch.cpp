#include "pg/values/prefetch.hpp"

#include <algorithm>
#include <unordered_set>

#include "pg/server/collected.hpp"
#include "pg/session/envelope.hpp"
#include "pg/session/settings.hpp"
#include "pg/values/modes.hpp"

namespace kms::pg {
namespace {

// A key that a call needs: the current version to seal, the one with the tag to open.
struct Wanted {
    KeyUse use;
    bool has_tag;
    KeyTag tag;

    std::optional<KeyTag> wanted_tag() const { return has_tag ? std::optional(tag) : std::nullopt; }
};

struct WantedKeys {
    Wanted* first;
    std::size_t count;

    std::span<Wanted> all() const { return {first, count}; }
};

// What tells one wanted key from another.
std::string name_of(const Wanted& wanted) {
    std::string name(wanted.has_tag ? text_of(ByteView(wanted.tag)) : std::string_view());
    return name.append(text_of(wanted.use.identifier));
}

// `tag` as in wanted_tag().
bool is_among(HeldKeys* keys, const std::optional<KeyTag>& tag) {
    if (keys == nullptr) {
        return false;
    }
    return tag ? keys->find(*tag) != nullptr : keys->current != nullptr && !keys->current->wiped;
}

bool is_held(Session& session, const Call& call, const std::optional<SealedHeader>& header) {
    return is_among(remembered(session, call), header ? std::optional(header->tag) : std::nullopt);
}

// What is no ciphertext needs no key, and what is not bound has none.
bool needs_key(Way way, const Call& call, const std::optional<SealedHeader>& header) {
    const bool is_bound = call.names_key() || key_list().find(call.local_id) != nullptr;
    return is_bound && (way == Way::seal || header);
}

bool names_same_key(const Call& a, const Call& b) {
    return a.local_id == b.local_id && text_of(a.identifier) == text_of(b.identifier);
}

WantedKeys missing_keys(Session& session, Way way, std::span<const Call> calls) {
    WantedKeys wanted = {allocate_many<Wanted>(calls.size()), 0};
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const auto header =
            way == Way::open ? read_sealed_header(calls[i].data) : std::optional<SealedHeader>();
        const bool seen = way == Way::seal && i > 0 && names_same_key(calls[i], calls[i - 1]);
        if (!seen && needs_key(way, calls[i], header) && !is_held(session, calls[i], header)) {
            wanted.first[wanted.count++] = {use_of_call(calls[i]), header.has_value(),
                                            header ? header->tag : KeyTag{}};
        }
    }
    return wanted;
}

void drop_repetitions(WantedKeys& wanted) {
    const Failure failure = guarded({"fetch keys"}, [&]() -> Status {
        std::unordered_set<std::string> names;
        Wanted* end = wanted.first + wanted.count;
        end = std::remove_if(wanted.first, end,
                             [&](const Wanted& key) { return !names.insert(name_of(key)).second; });
        wanted.count = static_cast<std::size_t>(end - wanted.first);
        return {};
    });
    if (failure) {
        raise(failure);
    }
}

Status take(Session& session, const Wanted& wanted, const Result<FetchedKey>& fetched) {
    if (fetched) {
        KMS_TRY(session.hold(wanted.use, *fetched, !wanted.has_tag));
    }
    return {};
}

Status fetch_at_agent(Session& session, Line line, std::span<const Wanted> wanted) {
    std::vector<WantedKey> keys;
    keys.reserve(wanted.size());
    for (const Wanted& key : wanted) {
        keys.push_back({key.use.identifier, key.wanted_tag()});
    }
    return get_keys(line, keys, [&](std::size_t index, const Result<FetchedKey>& fetched) {
        return take(session, wanted[index], fetched);
    });
}

Status fetch_stored(Session& session, Line line, std::span<const Wanted> wanted) {
    std::vector<WrappedKey> keys;
    std::vector<const Wanted*> askers;
    for (const Wanted& key : wanted) {
        const auto version = usable_version(*key.use.stored, key.wanted_tag());
        auto wrapped = version ? wrapped_key(key.use.identifier, **version, (*version)->wrapped)
                               : Result<WrappedKey>(version.error());
        if (wrapped) {
            keys.push_back(std::move(*wrapped));
            askers.push_back(&key);
        }
    }
    return unwrap_keys(line, keys, [&](std::size_t index, const Result<FetchedKey>& fetched) {
        return take(session, *askers[index], fetched);
    });
}

void fetch(Session& session, std::span<const Wanted> wanted) {
    const KeyUse& use = wanted.front().use;
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        // What is not remembered may be held all the same.
        std::vector<Wanted> stored;
        std::vector<Wanted> at_agent;
        for (const Wanted& key : wanted) {
            const auto tag = key.wanted_tag();
            if (!is_among(session.refresh_cache(key.use), tag)) {
                (key.use.is_stored(tag) ? stored : at_agent).push_back(key);
            }
        }
        if (stored.empty() && at_agent.empty()) {
            return {};
        }
        KMS_ASSIGN(Line line, session.line(use));
        KMS_TRY(fetch_stored(session, line, stored));
        return fetch_at_agent(session, line, at_agent);
    });
    settle(session, failure);
}

}  // namespace

std::size_t most_prefetched() {
    return max_cached_keys();
}

void prefetch(Way way, std::span<const Call> calls) {
    Session& session = pg::session();
    MemoryContext memory =
        AllocSetContextCreate(CurrentMemoryContext, "kms keys ahead", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(memory);
    WantedKeys wanted = missing_keys(session, way, calls);
    drop_repetitions(wanted);
    if (wanted.count > 1) {
        for (Wanted& key : wanted.all()) {
            key.use = use_of_data_key(key.use);
        }
        fetch(session, wanted.all());
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
}

}  // namespace kms::pg
