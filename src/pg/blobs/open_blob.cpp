#include "pg/blobs/open_blob.hpp"

#include <bit>

#include "crypto/random.hpp"
#include "pg/blobs/direct.hpp"
#include "pg/blobs/unlock.hpp"
#include "pg/server/kept.hpp"
#include "pg/session/listed_versions.hpp"
#include "pg/session/settings.hpp"

namespace kms::pg {
namespace {

const char* action_on(const char* verb, const BlobId& id) {
    return psprintf("%s blob %s", verb, shown_id(id));
}

bool are_keys_kept_away() {
    return mode() == Mode::remote && blob_keys_at() == BlobKeysAt::agent;
}

bool is_kept_away(const OpenBlob& blob) {
    return !blob.is_direct && are_keys_kept_away();
}

void require_not_kept_away(const OpenBlob& blob) {
    if (is_kept_away(blob)) {
        raise_error(blob.subject(), Code::unsupported,
                    "It has a key of its own, which kms.blob_keys = agent keeps out of "
                    "PostgreSQL.");
    }
}

std::uint64_t version_of(const OpenBlob& blob) {
    return static_cast<std::uint64_t>(blob.version);
}

OpenBlob& keep_blob(const char* verb, const BlobRow& row) {
    auto& blob = keep_in<OpenBlob>(CurrentMemoryContext);
    blob.action = action_on(verb, row.id);
    blob.local_id = 0;
    blob.id = row.id;
    blob.version = row.version;
    blob.is_direct = false;
    return blob;
}

OpenBlob& keep_stored_blob(const char* verb, const BlobRow& row) {
    OpenBlob& blob = keep_blob(verb, row);
    blob.key_tag = row.key_tag;
    blob.key_tag_before = row.key_tag;
    blob.is_direct = row.wrapped.empty();
    if (blob.is_direct) {
        blob.overhead = direct_overhead(row.manifest);
    }
    return blob;
}

Failure try_unwrap(const Call& call, varlena** /*result*/) {
    return unwrap(call);
}

// What bound keys are tried with: the blob's own key or, where it has none, its manifest.
struct Lock {
    TryKey try_key;
    Call call;
};

Lock lock_of(const OpenBlob& blob, const BlobRow& row) {
    if (blob.is_direct) {
        return {open, {blob.action, 0, row.manifest, kept_bytes(blob, [&] {
                           return blob_manifest_context(blob.id, version_of(blob));
                       })}};
    }
    return {
        try_unwrap,
        {blob.action, 0, row.wrapped, kept_bytes(blob, [&] { return blob_key_context(blob.id); })}};
}

int size_class_of(std::uint64_t length) {
    return static_cast<int>(std::bit_width(length));
}

KeyTag tag_in_header(ByteView sealed) {
    const auto header = read_sealed_header(sealed);
    return header ? header->tag : KeyTag{};
}

// What the column says of the key, which everybody goes by who looks for the blobs of one.
bool has_its_tag(const BlobRow& row) {
    return row.key_tag == tag_in_header(row.wrapped.empty() ? row.manifest : row.wrapped);
}

bool is_manifest_of(const BlobManifest& manifest, const BlobRow& row) {
    return manifest.created == unix_time(row.created) &&
           manifest.expires.has_value() == row.expires &&
           (!row.expires || *manifest.expires == unix_time(row.expiry)) &&
           size_class_of(manifest.total_length) == row.size_class && has_its_tag(row);
}

// Whether the agent lists the key, and no version of that tag. To try the key would bring the
// blob's own key here.
bool is_listed_without(std::int32_t local_id, const KeyTag& tag) {
    const ByteView identifier = copy_of(use_of_local_id("list key", local_id).identifier);
    const ListedVersions listed = try_list_versions(identifier);
    return !listed.empty() && listed_version(listed, tag) == nullptr;
}

// Whoever unwraps has looked at the context, which is that of a blob's key: an agent is at fault.
Status take_key(OpenBlob& blob, SecretBytes key) {
    if (key.size() != blob_key_length) {
        return mode() == Mode::remote
                   ? Error{Code::protocol, "what the key agent has unwrapped is no blob's key"}
                   : Error{Code::corrupt, "What was unwrapped is not a blob's key."};
    }
    blob.key = std::move(key);
    KMS_ASSIGN(blob.keys, BlobKeys::derive(blob.key.view()));
    return {};
}

// An agent may answer with any bytes, which are not to be wrapped in the place of the key.
Status take_unlocked_key(OpenBlob& blob, const BlobRow& row) {
    if (mode() != Mode::remote) {
        blob.key = std::move(session_if_any->reply);
        return {};
    }
    KMS_TRY(take_key(blob, std::move(session_if_any->reply)));
    if (blob.keys->manifest.tag() != tag_in_header(row.manifest)) {
        return Error{Code::corrupt, changed_blob_row};
    }
    return {};
}

// Under the blob's own key, which is the right one by now.
Result<BlobManifest> open_own_manifest(OpenBlob& blob, const BlobRow& row) {
    auto manifest = open_manifest(blob.keys->manifest, row.id, version_of(blob), row.manifest);
    if (!manifest &&
        (manifest.error().code == Code::wrong_key || manifest.error().code == Code::malformed)) {
        return Error{Code::corrupt, changed_blob_row};
    }
    return manifest;
}

// `opened`: the manifest where it is a value of the bound key.
Status read_manifest(OpenBlob& blob, const BlobRow& row, varlena* opened) {
    if (blob.is_direct) {
        KMS_ASSIGN(blob.manifest, parse_manifest(bytes_in(opened)));
        wipe(bytes_in(opened));
    } else {
        KMS_TRY(take_key(blob, std::move(session_if_any->reply)));
        KMS_ASSIGN(blob.manifest, open_own_manifest(blob, row));
    }
    if (!is_manifest_of(blob.manifest, row)) {
        return Error{Code::corrupt, changed_blob_row};
    }
    return {};
}

// Random, as RFC 9562 has it.
Status draw_id(BlobId& id) {
    KMS_TRY(random_public(id));
    id[6] = static_cast<Byte>((id[6] & 0x0F) | 0x40);
    id[8] = static_cast<Byte>((id[8] & 0x3F) | 0x80);
    return {};
}

Status draw_key(OpenBlob& blob) {
    SecretBytes key(blob_key_length);
    KMS_TRY(random_secret(key.span()));
    return take_key(blob, std::move(key));
}

ByteView seal_manifest_of(OpenBlob& blob) {
    if (!blob.is_direct) {
        in_blob(blob, [&]() -> Status {
            KMS_ASSIGN(blob.piece, seal_manifest(blob.keys->manifest, blob.id, version_of(blob),
                                                 blob.manifest));
            return {};
        });
        return blob.piece.view();
    }
    in_blob(blob, [&]() -> Status {
        KMS_ASSIGN(blob.piece, write_manifest(blob.manifest));
        return {};
    });
    return seal_manifest_directly(blob);
}

}  // namespace

OpenBlob* try_open_blob(const char* verb, const BlobRow& row, FoundKeys* found) {
    OpenBlob& blob = keep_stored_blob(verb, row);
    if (is_kept_away(blob)) {
        return nullptr;
    }
    const Lock lock = lock_of(blob, row);
    varlena* opened = nullptr;
    blob.local_id = find_bound_key(lock.try_key, lock.call, row.key_tag, &opened, found);
    if (blob.local_id == 0) {
        return nullptr;
    }
    in_blob(blob, [&] { return read_manifest(blob, row, opened); });
    return &blob;
}

OpenBlob& open_blob(const char* verb, const BlobRow& row) {
    if (OpenBlob* blob = try_open_blob(verb, row)) {
        return *blob;
    }
    const OpenBlob& blob = keep_stored_blob(verb, row);
    require_not_kept_away(blob);
    const Lock lock = lock_of(blob, row);
    raise_no_bound_key(lock.try_key, lock.call);
}

Unlocked unlock_blob(const char* verb, std::int32_t local_id, const BlobRow& row) {
    OpenBlob& blob = keep_stored_blob(verb, row);
    if (!has_its_tag(row)) {
        raise_error(blob.subject(), Code::corrupt, changed_blob_row);
    }
    if (is_kept_away(blob) && is_listed_without(local_id, row.key_tag)) {
        return {nullptr, Code::wrong_key, ""};
    }
    require_not_kept_away(blob);
    const Lock lock = lock_of(blob, row);
    varlena* opened = nullptr;
    if (const Failure failure = attempt(lock.try_key, lock.call, local_id, &opened)) {
        return {nullptr, failure.cause.code, pstrdup(failure.cause.message)};
    }
    blob.local_id = local_id;
    in_blob(blob, [&] {
        return blob.is_direct ? read_manifest(blob, row, opened) : take_unlocked_key(blob, row);
    });
    return {&blob, Code::internal, ""};
}

OpenBlob& make_blob(std::int32_t local_id, BlobRow& row, const std::optional<KeyTag>& copied) {
    if (const Failure failure = guarded({"make a blob"}, [&] { return draw_id(row.id); })) {
        raise(failure);
    }
    row.version = 1;
    row.created = GetCurrentTimestamp();
    OpenBlob& blob = keep_blob("make", row);
    blob.local_id = local_id;
    blob.key_tag_before = copied;
    blob.is_direct = are_keys_kept_away();
    if (blob.is_direct) {
        blob.overhead = {0, 0};
        (void)use_of_local_id(blob.action, local_id);
    } else {
        in_blob(blob, [&] { return draw_key(blob); });
        wrap_blob_key(local_id, blob, row);
    }
    return blob;
}

void wrap_blob_key(std::int32_t local_id, const OpenBlob& blob, BlobRow& row) {
    const ByteView context = kept_bytes(blob, [&] { return blob_key_context(blob.id); });
    varlena* wrapped = nullptr;
    const Call call = {.action = blob.action,
                       .local_id = local_id,
                       .data = blob.key.view(),
                       .context = context,
                       .replaces = blob.key_tag_before};
    if (const Failure failure = wrap(call, &wrapped)) {
        raise(failure);
    }
    row.wrapped = bytes_in(wrapped);
    row.key_tag = tag_in_header(row.wrapped);
}

void seal_blob(OpenBlob& blob, BlobRow& row) {
    row.version = blob.version;
    row.size_class = size_class_of(blob.manifest.total_length);
    blob.manifest.created = unix_time(row.created);
    blob.manifest.expires.reset();
    if (row.expires) {
        blob.manifest.expires = unix_time(row.expiry);
    }
    row.manifest = seal_manifest_of(blob);
    if (blob.is_direct) {
        row.key_tag = *blob.key_tag;
    }
}

void require_complete(const OpenBlob& blob) {
    if (!blob.manifest.complete) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("could not %s: it is not complete", blob.action),
                        errhint("Its upload is under way, or broke off: who has the file goes on "
                                "with it (kms-blob put --resume).")));
    }
}

}  // namespace kms::pg
