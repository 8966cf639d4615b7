// A blob that the session can read: its keys and its manifest. Both sides.
#pragma once

#include <optional>

#include "crypto/blob_manifest.hpp"
#include "crypto/chunked_encryption.hpp"
#include "pg/blobs/layout.hpp"
#include "pg/blobs/tables.hpp"
#include "pg/server/arguments.hpp"
#include "pg/server/wall.hpp"

namespace kms::pg {

class FoundKeys;

// Kept by a memory context, which wipes it when it goes.
struct OpenBlob {
    const char* action;     // "read blob ID"
    std::int32_t local_id;  // of the bound key
    BlobId id;
    std::int64_t version;
    BlobManifest manifest;
    // The bound key's version. Of a new blob that is direct: nullopt until something is sealed.
    std::optional<KeyTag> key_tag;
    // Of what was stored when it was opened, or is copied; nullopt: it is new.
    std::optional<KeyTag> key_tag_before;

    // It has no key of its own: see direct.hpp.
    bool is_direct;
    BlobOverhead overhead;
    SecretBytes key;
    std::optional<BlobKeys> keys;
    // The segment that was read or written last.
    std::optional<chunked::MessageOpener> opener;
    std::optional<chunked::MessageSealer> sealer;

    // Plaintext on its way.
    SecretBytes chunk;
    SecretBytes piece;

    Subject subject() const { return {action, 0, {}}; }
    // What is sealed now is not to get an older version than this.
    const std::optional<KeyTag>& least_key_tag() const {
        return key_tag ? key_tag : key_tag_before;
    }
    BlobLayout layout_of(std::uint64_t length) const { return BlobLayout(length, overhead); }
};

// The C++ side of a call about a blob.
template <typename Body>
void in_blob(const OpenBlob& blob, Body&& body) {
    if (const Failure failure = guarded(blob.subject(), body)) {
        raise(failure);
    }
}

// What `make`, which returns a string, has made, in the current memory context: no C++ string may
// be alive where PostgreSQL allocates.
template <typename Make>
ByteView kept_bytes(const OpenBlob& blob, Make&& make) {
    varlena* kept = nullptr;
    in_blob(blob, [&]() -> Status {
        const auto bytes = make();
        KMS_ASSIGN(kept, try_allocate_value(bytes.size()));
        copy_bytes(bytes_of(bytes), bytes_in(kept));
        return {};
    });
    return bytes_in(kept);
}

// Raises KM004 where no key that is bound is the blob's, KM005 where the manifest is not that of
// the row, KM010 where its key is to be kept away from here. `verb`: "read".
OpenBlob& open_blob(const char* verb, const BlobRow& row);

// The same, or nullptr where no key that is bound is the blob's, or may be used. `found`: of many
// that are opened in turn.
OpenBlob* try_open_blob(const char* verb, const BlobRow& row, FoundKeys* found = nullptr);

// By one key alone.
struct Unlocked {
    OpenBlob* blob;      // nullptr: the key does not do
    Code why;            // then: Code::wrong_key where it is another's
    const char* reason;  // for people
};

// A blob with a key of its own is opened no further than that. KM010 as above, also where the agent
// does not list whose it is.
Unlocked unlock_blob(const char* verb, std::int32_t local_id, const BlobRow& row);

// A new one of version 1, that was created now. `copied`: the key version of what it is a copy of.
OpenBlob& make_blob(std::int32_t local_id, BlobRow& row,
                    const std::optional<KeyTag>& copied = std::nullopt);

// Wraps the blob's key by the current version of the key that is bound to `local_id`.
void wrap_blob_key(std::int32_t local_id, const OpenBlob& blob, BlobRow& row);

// Seals the manifest of the blob's version; what is in the clear of it is the row's too.
void seal_blob(OpenBlob& blob, BlobRow& row);

// 55000 for one that is not complete.
void require_complete(const OpenBlob& blob);

}  // namespace kms::pg
