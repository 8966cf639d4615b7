// A blob names the key that it needs by its tag alone, so those that are bound are tried. Both
// sides.
#pragma once

#include "pg/values/values.hpp"

namespace kms::pg {

// What a bound key is tried with: open, or unwrap, which has no result of its own.
using TryKey = Failure (*)(const Call& call, varlena** result);

constexpr const char* changed_blob_row = "Its row in kms.blob has been changed.";

// What keeps a bound key from being tried: it cannot be had, so that nobody can tell whether it is
// the one; or the version is its own, and is disabled or destroyed, which tells more.
enum class Obstacle : unsigned char { none, unknown, retired };

// The local id whose key a key version is of; 0: none that is bound and may be used here.
struct BoundKey {
    std::int32_t local_id;
    Obstacle obstacle;
};

// Where keys were found, as far as they were looked for, while one statement looks at many blobs:
// to try all keys with each is a request to the agent for each.
class FoundKeys {
  public:
    FoundKeys();  // in the current memory context

    // nullopt: not looked for yet.
    std::optional<BoundKey> find(TryKey try_key, const Call& call) const;
    void add(TryKey try_key, const Call& call, const BoundKey& key);

    // The blobs that nothing opens for what is in the way.
    void count(const BoundKey& key);
    std::uint64_t retired() const { return retired_; }
    std::uint64_t unknown() const { return unknown_; }

    // A bound key that cannot be had; 0: none.
    void note(std::int32_t local_id) { closed_ = closed_ == 0 ? local_id : closed_; }
    std::int32_t closed() const { return closed_; }

  private:
    HTAB* entries_;
    std::uint64_t retired_ = 0;
    std::uint64_t unknown_ = 0;
    std::int32_t closed_ = 0;
};

// The local id whose key does for `call`, 0 as above. `tag`: of the key version.
std::int32_t find_bound_key(TryKey try_key, const Call& call, const KeyTag& tag, varlena** result,
                            FoundKeys* found = nullptr);

// By one key. A failure where it does not do: another may. Raises everything else.
Failure attempt(TryKey try_key, const Call& call, std::int32_t local_id, varlena** result);

// KM004; where a key that is bound may be the right one and cannot be used, what is in the way.
[[noreturn]] void raise_no_bound_key(TryKey try_key, const Call& call);

}  // namespace kms::pg
