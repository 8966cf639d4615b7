// A blob that the session can read: its keys and its manifest. All three acts.
#pragma once

#include <optional>

#include "crypto/blob_manifest.hpp"
#include "crypto/chunked_encryption.hpp"
#include "pg/blob_rows.hpp"
#include "pg/wall.hpp"

namespace kms::pg {

// Kept by a memory context, which wipes it when it goes.
struct OpenBlob {
    const char* action;     // "read blob ID"
    std::int32_t local_id;  // whose key wraps the blob's
    BlobId id;
    std::int64_t version;
    SecretBytes key;
    std::optional<BlobKeys> keys;
    BlobManifest manifest;
    // The segment that was read or written last.
    std::optional<chunked::MessageOpener> opener;
    std::optional<chunked::MessageSealer> sealer;
    // Plaintext on its way.
    SecretBytes chunk;
    SecretBytes piece;

    Subject subject() const { return {action, 0, {}}; }
};

// Act two on a blob.
template <typename Body>
void in_blob(const OpenBlob& blob, Body&& body) {
    if (const Failure failure = guarded(blob.subject(), body)) {
        raise(failure);
    }
}

// The bound key that wraps the blob's is found by its tag. Raises KM004 where no key that is bound
// is that one, KM005 where the manifest is not that of the row. `verb`: "read".
OpenBlob& open_blob(const char* verb, const BlobRow& row);

// The same, or nullptr where no key that is bound is that one.
OpenBlob* try_open_blob(const char* verb, const BlobRow& row);

// Its key alone, wrapped by the key that is bound to `local_id`; nullptr where it is not, or where
// that key may not be used here.
OpenBlob* unwrap_blob(const char* verb, std::int32_t local_id, const BlobRow& row);

// The tag of what wrap_blob_key wraps by.
KeyTag current_key_tag(const char* action, std::int32_t local_id);

// A new one of version 1, with a key of its own, that was created now.
OpenBlob& make_blob(std::int32_t local_id, BlobRow& row);

// Wraps the blob's key by the current version of the key that is bound to `local_id`.
void wrap_blob_key(std::int32_t local_id, const OpenBlob& blob, BlobRow& row);

// Seals the manifest of the blob's version; what is in the clear of it is the row's too.
void seal_blob(OpenBlob& blob, BlobRow& row);

// 55000 for one that is not complete.
void require_complete(const OpenBlob& blob);

}  // namespace kms::pg
