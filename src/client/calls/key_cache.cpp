#include "client/calls/key_cache.hpp"

#include <algorithm>

#include "base/floor.hpp"

namespace kms {
namespace {

// `asked_at`: TimePoint::max() where there is no key.
TimePoint expiry(TimePoint asked_at, std::chrono::seconds time_to_live) {
    const bool ends = time_to_live.count() > 0 && asked_at != TimePoint::max();
    return ends ? asked_at + time_to_live : TimePoint::max();
}

bool expired(const HeldKey& key, TimePoint now, std::chrono::seconds time_to_live) {
    return now >= expiry(key.asked_at, time_to_live);
}

void wipe(HeldKey& key) {
    key.key.wipe();
    if (key.wrapping) {
        key.wrapping->wipe();
    }
    if (key.terms) {
        key.terms->wipe();
    }
    key.wiped = true;
}

// The newest word on a version replaces an older copy in its place.
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

Result<HeldWrappingKey> HeldWrappingKey::from_data_key(Algorithm algorithm, ByteView data_key) {
    HeldWrappingKey key;
    key.subkey_ = SecretBytes(wrapping_subkey_length);
    KMS_TRY(derive_wrapping_subkey(algorithm, data_key, key.subkey_.span()));
    return key;
}

Result<SealingKey*> HeldWrappingKey::ready(const KeyTag& tag) {
    if (!ready_) {
        KMS_ASSIGN(ready_, SealingKey::from_subkey(Algorithm::xaes_256_gcm, subkey_.view(), tag));
    }
    return &*ready_;
}

void HeldWrappingKey::wipe() noexcept {
    kms::wipe(subkey_.span());
    if (ready_) {
        ready_->wipe();
    }
}

Result<SealingKey*> HeldKey::wrapping_key() {
    KMS_TRY(require_sealing(key.algorithm()));
    return wrapping->ready(key.tag());
}

Result<const TermKey*> HeldKey::term_key() {
    KMS_TRY(require_terms(key.algorithm()));
    return &*terms;
}

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
            oldest = std::min(oldest, held->asked_at);
        }
    }
    return oldest;
}

TimePoint HeldKeys::next_expiry(std::chrono::seconds time_to_live) const {
    return expiry(oldest(), time_to_live);
}

// Rows mostly come in the order of their keys.
HeldKeys* KeyCache::find(std::uint32_t owner, ByteView identifier) {
    const Name name{owner, text_of(identifier)};
    if (!by_use_.empty() && Name{by_use_.front()->owner, by_use_.front()->identifier} == name) {
        return by_use_.front();
    }
    const auto found = entries_.find(name);
    return found != entries_.end() ? found->get() : nullptr;
}

HeldKeys& KeyCache::find_or_add(std::uint32_t owner, ByteView identifier) {
    if (HeldKeys* found = find(owner, identifier)) {
        return *found;
    }
    auto entry = std::make_unique<HeldKeys>();
    entry->owner = owner;
    entry->identifier = text_of(identifier);
    std::list<HeldKeys*> used{entry.get()};  // nothing is left behind where memory runs out
    HeldKeys& keys = **entries_.insert(std::move(entry)).first;
    keys.place = used.begin();
    by_use_.splice(by_use_.begin(), used);
    return keys;
}

Result<HeldKey*> KeyCache::hold(HeldKeys& keys, const FetchedKey& fetched, bool is_current) {
    KMS_ASSIGN(SealingKey key, SealingKey::from_data_key(fetched.algorithm, fetched.key.view()));
    const TimePoint now = Clock::now();
    const auto age = now - fetched.asked_at;
    auto fresh = std::make_unique<HeldKey>(HeldKey{fetched.version, std::move(key), std::nullopt,
                                                   std::nullopt, fetched.asked_at, now,
                                                   std::chrono::system_clock::now() - age});
    if (info_of(fetched.algorithm).seals()) {
        KMS_ASSIGN(fresh->wrapping,
                   HeldWrappingKey::from_data_key(fetched.algorithm, fetched.key.view()));
    } else {
        KMS_ASSIGN(fresh->terms, TermKey::from_data_key(fetched.algorithm, fetched.key.view()));
    }
    const std::size_t before = keys.versions.size();
    HeldKey* held = store(keys, std::move(fresh));
    if (is_current) {
        keys.current = held;
    } else if (keys.current == held) {
        keys.current =
            nullptr;  // it was asked for by its tag: another may be the current one by now
    }
    count_ += keys.versions.size() - before;
    oldest_ = std::min(oldest_, held->asked_at);
    return held;
}

void KeyCache::trim(std::size_t most, HeldKeys& keys, const HeldKey* kept) {
    touch(keys);
    while (count_ > most && by_use_.back() != &keys) {
        const HeldKeys& least = *by_use_.back();
        count_ -= least.versions.size();
        erase(entries_.find(Name{least.owner, least.identifier}));
        ++generation_;
    }
    std::size_t surplus = count_ - std::min(count_, most);
    drop_versions(keys, [&](const HeldKey& held) {
        const bool unwanted = surplus > 0 && &held != kept && &held != keys.current;
        surplus -= unwanted ? 1 : 0;
        return unwanted;
    });
}

void KeyCache::drop_versions(HeldKeys& keys, const std::function<bool(const HeldKey&)>& unwanted) {
    const auto gone = [&](const auto& held) {
        const bool dropped = unwanted(*held);
        keys.current = dropped && keys.current == held.get() ? nullptr : keys.current;
        return dropped;
    };
    if (std::erase_if(keys.versions, gone) != 0) {
        ++generation_;
        take_stock();
    }
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
    generation_ += dropped != 0 ? 1 : 0;
    some_wiped_ = false;
    retain([](const HeldKeys& keys) { return !keys.versions.empty(); });
    take_stock();
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
    take_stock();
}

void KeyCache::wipe_all() noexcept {
    for (const auto& entry : entries_) {
        for (const auto& held : entry->versions) {
            wipe(*held);
        }
    }
    some_wiped_ = true;
    take_stock();
}

void KeyCache::drop(ByteView identifier) {
    retain([&](const HeldKeys& keys) { return keys.identifier != text_of(identifier); });
}

void KeyCache::drop_all() {
    ++generation_;
    entries_.clear();
    by_use_.clear();
    take_stock();
}

void KeyCache::retain(const std::function<bool(const HeldKeys&)>& wanted) {
    const std::size_t before = entries_.size();
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        entry = wanted(**entry) ? std::next(entry) : erase(entry);
    }
    if (entries_.size() != before) {
        ++generation_;
        take_stock();
    }
}

KeyCache::Entries::iterator KeyCache::erase(Entries::iterator entry) {
    by_use_.erase((*entry)->place);
    return entries_.erase(entry);
}

TimePoint KeyCache::next_expiry(std::chrono::seconds time_to_live) const {
    return expiry(oldest_, time_to_live);
}

void KeyCache::take_stock() noexcept {
    oldest_ = TimePoint::max();
    count_ = 0;
    for (const auto& entry : entries_) {
        oldest_ = std::min(oldest_, entry->oldest());
        count_ += entry->versions.size();
    }
}

}  // namespace kms
