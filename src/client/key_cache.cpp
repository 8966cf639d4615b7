#include "client/key_cache.hpp"

#include <algorithm>

#include "base/floor.hpp"

namespace kms {
namespace {

// `fetched_at`: TimePoint::max() where there is no key.
TimePoint expiry(TimePoint fetched_at, std::chrono::seconds time_to_live) {
    const bool ends = time_to_live.count() > 0 && fetched_at != TimePoint::max();
    return ends ? fetched_at + time_to_live : TimePoint::max();
}

bool expired(const HeldKey& key, TimePoint now, std::chrono::seconds time_to_live) {
    return now >= expiry(key.fetched_at, time_to_live);
}

void wipe(HeldKey& key) {
    key.key.wipe();
    key.wiped = true;
}

// The agent's newest word on a version replaces an older copy in its place.
HeldKey* store(HeldKeys& keys, std::unique_ptr<HeldKey> fresh) {
    for (auto& held : keys.versions) {
        if (held->key.tag() == fresh->key.tag()) {
            *held = std::move(*fresh);
            return held.get();
        }
    }
    keys.versions.push_back(std::move(fresh));
    return keys.versions.back().get();
}

}  // namespace

[[gnu::hot]] HeldKey* HeldKeys::find(const KeyTag& tag) {
    for (const auto& held : versions) {
        if (!held->wiped && held->key.tag() == tag) {
            return held.get();
        }
    }
    return nullptr;
}

TimePoint HeldKeys::oldest() const {
    TimePoint oldest = TimePoint::max();
    for (const auto& held : versions) {
        if (!held->wiped) {
            oldest = std::min(oldest, held->fetched_at);
        }
    }
    return oldest;
}

TimePoint HeldKeys::next_expiry(std::chrono::seconds time_to_live) const {
    return expiry(oldest(), time_to_live);
}

HeldKeys* KeyCache::find(std::uint32_t owner, ByteView identifier) {
    const auto found = entries_.find(Name{owner, text_of(identifier)});
    return found != entries_.end() ? found->get() : nullptr;
}

HeldKeys& KeyCache::find_or_add(std::uint32_t owner, ByteView identifier) {
    if (HeldKeys* found = find(owner, identifier)) {
        return *found;
    }
    auto entry = std::make_unique<HeldKeys>();
    entry->owner = owner;
    entry->identifier = text_of(identifier);
    return **entries_.insert(std::move(entry)).first;
}

Result<HeldKey*> KeyCache::hold(HeldKeys& keys, const FetchedKey& fetched, bool is_current) {
    KMS_ASSIGN(SealingKey key, SealingKey::from_data_key(fetched.algorithm, fetched.key.view()));
    auto fresh = std::make_unique<HeldKey>(
        HeldKey{fetched.version, std::move(key), Clock::now(), std::chrono::system_clock::now()});
    HeldKey* held = store(keys, std::move(fresh));
    if (is_current) {
        keys.current = held;
    }
    oldest_ = std::min(oldest_, held->fetched_at);
    return held;
}

void KeyCache::drop_expired(TimePoint now, std::chrono::seconds time_to_live) {
    if (!some_wiped_ && now < next_expiry(time_to_live)) {
        return;
    }
    const auto gone = [&](const HeldKey& held) {
        return held.wiped || expired(held, now, time_to_live);
    };
    std::size_t dropped = 0;
    for (const auto& entry : entries_) {
        if (entry->current != nullptr && gone(*entry->current)) {
            entry->current = nullptr;
        }
        dropped += std::erase_if(entry->versions, [&](const auto& held) { return gone(*held); });
    }
    std::erase_if(entries_, [](const auto& entry) { return entry->versions.empty(); });
    generation_ += dropped != 0 ? 1 : 0;
    some_wiped_ = false;
    find_oldest();
}

void KeyCache::wipe_expired(TimePoint now, std::chrono::seconds time_to_live) noexcept {
    for (const auto& entry : entries_) {
        for (const auto& held : entry->versions) {
            if (!held->wiped && expired(*held, now, time_to_live)) {
                wipe(*held);
                some_wiped_ = true;
            }
        }
    }
    find_oldest();
}

void KeyCache::wipe_all() noexcept {
    for (const auto& entry : entries_) {
        for (const auto& held : entry->versions) {
            wipe(*held);
        }
    }
    some_wiped_ = true;
    find_oldest();
}

void KeyCache::drop(ByteView identifier) {
    retain([&](const HeldKeys& keys) { return keys.identifier != text_of(identifier); });
}

void KeyCache::drop_all() {
    ++generation_;
    entries_.clear();
    find_oldest();
}

void KeyCache::retain(const std::function<bool(const HeldKeys&)>& wanted) {
    const auto dropped =
        std::erase_if(entries_, [&](const auto& entry) { return !wanted(*entry); });
    if (dropped != 0) {
        ++generation_;
        find_oldest();
    }
}

TimePoint KeyCache::next_expiry(std::chrono::seconds time_to_live) const {
    return expiry(oldest_, time_to_live);
}

void KeyCache::find_oldest() noexcept {
    oldest_ = TimePoint::max();
    for (const auto& entry : entries_) {
        oldest_ = std::min(oldest_, entry->oldest());
    }
}

}  // namespace kms
