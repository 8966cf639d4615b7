// A blob names the key that it needs by its tag alone, so those that are bound are tried. All three
// acts.
#pragma once

#include "pg/values.hpp"

namespace kms::pg {

// What a bound key is tried with: open, or unwrap, which has no result of its own.
using TryKey = Failure (*)(const Call& call, varlena** result);

constexpr const char* changed_blob_row = "Its row in kms.blob has been changed.";

// The local id whose key a key version is of; 0: none that is bound and may be used here.
// `is_retired`: one is, and the version is disabled or destroyed.
struct BoundKey {
    std::int32_t local_id;
    bool is_retired;
};

// Where keys were found, as far as they were looked for, while one statement looks at many blobs:
// to try all keys with each is a request to the agent for each.
class FoundKeys {
  public:
    FoundKeys();  // in the current memory context

    // nullopt: not looked for yet.
    std::optional<BoundKey> find(TryKey try_key, const Call& call) const;
    void add(TryKey try_key, const Call& call, const BoundKey& key);

    // The blobs that nothing opens because a key version is retired.
    void count(const BoundKey& key) { retired_ += key.local_id == 0 && key.is_retired ? 1 : 0; }
    std::uint64_t retired() const { return retired_; }

  private:
    HTAB* entries_;
    std::uint64_t retired_ = 0;
};

// The local id whose key does for `call`, 0 as above. `tag`: of the key version.
std::int32_t find_bound_key(TryKey try_key, const Call& call, const KeyTag& tag, varlena** result,
                            FoundKeys* found = nullptr);

bool tries(TryKey try_key, const Call& call, std::int32_t local_id, varlena** result);

// KM004; where the right key is bound and cannot be used, what is in the way.
[[noreturn]] void raise_no_bound_key(TryKey try_key, const Call& call);

}  // namespace kms::pg
