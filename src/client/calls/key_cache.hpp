// The DEKs that a session holds in local mode, as keys ready to seal and open.
//
// A key belongs to (owner, identifier), the owner being the role that it was fetched for, and is
// held for a time to live. wipe_expired and wipe_all overwrite keys in place and neither allocate
// nor free, so that a signal handler may call them while nobody is inside another function here.
// What is done for every row, find, touch, next_expiry and a drop_expired that drops nothing, costs
// the same however many keys are held.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/clock.hpp"
#include "client/calls/fetch.hpp"
#include "crypto/sealed.hpp"
#include "crypto/search_term.hpp"

namespace kms {

// The `kms/1 wrap` subkey of a data key, made ready when it is first used.
class HeldWrappingKey {
  public:
    static Result<HeldWrappingKey> from_data_key(Algorithm algorithm, ByteView data_key);

    // `tag`: the data key's.
    Result<SealingKey*> ready(const KeyTag& tag);

    void wipe() noexcept;

  private:
    SecretBytes subkey_;
    std::optional<SealingKey> ready_;
};

struct HeldKey {
    std::uint32_t version;
    SealingKey key;
    std::optional<HeldWrappingKey> wrapping;  // none of a key that seals nothing
    std::optional<TermKey> terms;             // of such a key alone
    TimePoint asked_at;                       // a time to live begins here
    TimePoint fetched_at;
    std::chrono::system_clock::time_point fetched_on;  // for people
    bool wiped = false;
    bool is_stored = false;       // the caller's mark: the database has it, and not the agent alone
    std::uint64_t locked_in = 0;  // the caller's mark of the epoch in which it may be sealed under

    // Code::unsupported where the algorithm is for something else.
    Result<SealingKey*> wrapping_key();
    Result<const TermKey*> term_key();
};

// All that is held under one identifier for one owner.
struct HeldKeys {
    std::uint32_t owner;
    std::string identifier;
    std::vector<std::unique_ptr<HeldKey>> versions;
    HeldKey* current = nullptr;  // what encode uses, as it was when fetched; nullptr: to be fetched
    bool by_name = false;        // asked for by its identifier, and not by a binding alone
    std::uint64_t valid_under = 0;  // the caller's mark of the circumstances that it was checked in
    std::list<HeldKeys*>::iterator place{};  // among those that were used, the last first

    HeldKey* find(const KeyTag& tag);  // nullptr: not held
    // When the first that is not wiped was fetched, and when it expires; TimePoint::max() when
    // there is none.
    TimePoint oldest() const;
    TimePoint next_expiry(std::chrono::seconds time_to_live) const;
};

class KeyCache {
  public:
    // nullptr: nothing held.
    HeldKeys* find(std::uint32_t owner, ByteView identifier);
    HeldKeys& find_or_add(std::uint32_t owner, ByteView identifier);

    // Holds a fetched key, in place of an older copy of it.
    Result<HeldKey*> hold(HeldKeys& keys, const FetchedKey& fetched, bool is_current);

    // `time_to_live`: zero for no end.
    void drop_expired(TimePoint now, std::chrono::seconds time_to_live);
    void wipe_expired(TimePoint now, std::chrono::seconds time_to_live) noexcept;
    void wipe_all() noexcept;

    // Says that these were used.
    void touch(HeldKeys& keys) { by_use_.splice(by_use_.begin(), by_use_, keys.place); }

    // Wipes and drops what was used least recently until at most `most` versions are held, but
    // neither `kept` nor what is current beside it.
    void trim(std::size_t most, HeldKeys& keys, const HeldKey* kept);

    // Drops versions of one key.
    void drop_versions(HeldKeys& keys, const std::function<bool(const HeldKey&)>& unwanted);

    void drop(ByteView identifier);  // for every owner
    void drop_all();
    void retain(const std::function<bool(const HeldKeys&)>& wanted);

    bool empty() const { return entries_.empty(); }
    std::size_t size() const { return count_; }  // versions

    // Not after the moment at which the first key expires; TimePoint::max() when none does.
    TimePoint next_expiry(std::chrono::seconds time_to_live) const;

    // Rises whenever a HeldKeys or HeldKey may have been freed: pointers that were taken under
    // another generation must not be followed.
    std::uint64_t generation() const { return generation_; }

  private:
    struct Name {
        std::uint32_t owner;
        std::string_view identifier;

        bool operator==(const Name&) const = default;
    };
    // Entries are found by their names.
    struct ByName {
        using is_transparent = void;

        static Name name(const Name& name) { return name; }
        static Name name(const std::unique_ptr<HeldKeys>& entry) {
            return {entry->owner, entry->identifier};
        }
    };
    struct Hash : ByName {
        std::size_t operator()(const auto& entry) const {
            const Name named = name(entry);
            return std::hash<std::string_view>()(named.identifier) + named.owner;
        }
    };
    struct Equal : ByName {
        bool operator()(const auto& left, const auto& right) const {
            return name(left) == name(right);
        }
    };

    using Entries = std::unordered_set<std::unique_ptr<HeldKeys>, Hash, Equal>;

    Entries::iterator erase(Entries::iterator entry);
    void take_stock() noexcept;

    Entries entries_;
    std::list<HeldKeys*> by_use_;  // the last used first
    std::size_t count_ = 0;
    std::uint64_t generation_ = 0;
    // Not after the moment at which the first key that is not wiped was fetched.
    TimePoint oldest_ = TimePoint::max();
    bool some_wiped_ = false;
};

}  // namespace kms
