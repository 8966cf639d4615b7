#include "pg/open_blob.hpp"

#include <bit>

#include "base/key_list.hpp"
#include "crypto/random.hpp"
#include "pg/kept.hpp"
#include "pg/settings.hpp"
#include "pg/sqlstates.hpp"
#include "pg/values.hpp"

namespace kms::pg {
namespace {

// Where the keys of blobs were found when they were last looked for, by their tags: only a hint.
constexpr std::size_t hints_count = 64;
std::int32_t hints[hints_count];

std::int32_t& hint_for(const KeyTag& tag) {
    return hints[tag[0] % hints_count];
}

const char* action_on(const char* verb, const BlobId& id) {
    return psprintf("%s blob %s", verb, shown_id(id));
}

// In the current memory context: no C++ string may be alive where PostgreSQL allocates.
ByteView kept_context(const char* action, const BlobId& id) {
    auto* context = static_cast<varlena*>(nullptr);
    const Failure failure = guarded({action}, [&]() -> Status {
        const std::string text = blob_key_context(id);
        KMS_ASSIGN(context, try_allocate_value(text.size()));
        copy_bytes(bytes_of(text), bytes_in(context));
        return {};
    });
    if (failure) {
        raise(failure);
    }
    return bytes_in(context);
}

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

bool unwraps(const Call& call, std::int32_t local_id) {
    Call with = call;
    with.local_id = local_id;
    const Failure failure = unwrap(with);
    if (failure && !may_go_on_after(failure)) {
        raise(failure);
    }
    return !failure;
}

// The local id whose key has unwrapped the blob's, which is the session's reply; 0: none has.
std::int32_t unwrap_by_any(const Call& call, const KeyTag& tag) {
    const KeyList& keys = key_list();
    std::int32_t& hint = hint_for(tag);
    if (keys.find(hint) != nullptr && unwraps(call, hint)) {
        return hint;
    }
    for (const Binding& binding : keys.bindings()) {
        if (binding.local_id != hint && unwraps(call, binding.local_id)) {
            hint = binding.local_id;
            return hint;
        }
    }
    return 0;
}

// Of a key that is the right one, but cannot be used, that is to be said.
[[noreturn]] void raise_not_unwrapped(const char* action, const BlobRow& row) {
    Call call = {action, 0, row.wrapped, kept_context(action, row.id)};
    for (const Binding& binding : key_list().bindings()) {
        call.local_id = binding.local_id;
        const Failure failure = unwrap(call);
        const Code code = failure.cause.code;
        if (failure && code != Code::wrong_key && code != Code::not_found) {
            raise(failure);
        }
    }
    raise_error({action}, Code::wrong_key, "No key that is bound here has wrapped the blob's.");
}

OpenBlob& keep_blob(const char* action, std::int32_t local_id, const BlobRow& row) {
    auto& blob = keep_in<OpenBlob>(CurrentMemoryContext);
    blob.action = action;
    blob.local_id = local_id;
    blob.id = row.id;
    blob.version = row.version;
    return blob;
}

int size_class_of(std::uint64_t length) {
    return std::bit_width(length);
}

std::int64_t unix_time(TimestampTz time) {
    constexpr std::int64_t days_apart = POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE;
    return time + days_apart * USECS_PER_DAY;
}

bool is_manifest_of(const BlobManifest& manifest, const BlobRow& row) {
    return manifest.created == unix_time(row.created) &&
           manifest.modified == unix_time(row.modified) &&
           manifest.expires.has_value() == row.expires &&
           (!row.expires || *manifest.expires == unix_time(row.expiry)) &&
           size_class_of(manifest.total_length) == row.size_class;
}

KeyTag tag_of_wrapped(ByteView wrapped) {
    KeyTag tag;
    copy_bytes(wrapped.subspan(1, tag.size()), tag);
    return tag;
}

Status take_key(OpenBlob& blob, SecretBytes key) {
    blob.key = std::move(key);
    KMS_ASSIGN(blob.keys, BlobKeys::derive(blob.key.view()));
    return {};
}

Status read_manifest(OpenBlob& blob, const BlobRow& row) {
    KMS_TRY(take_key(blob, std::move(session_if_any->reply)));
    KMS_ASSIGN(blob.manifest, open_manifest(blob.keys->manifest, row.id,
                                            static_cast<std::uint64_t>(row.version), row.manifest));
    if (!is_manifest_of(blob.manifest, row)) {
        return Error{Code::corrupt, "Its row in kms.blob has been changed."};
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

}  // namespace

OpenBlob* try_open_blob(const char* verb, const BlobRow& row) {
    const char* action = action_on(verb, row.id);
    const Call unwrapping = {action, 0, row.wrapped, kept_context(action, row.id)};
    const std::int32_t local_id = unwrap_by_any(unwrapping, row.key_tag);
    if (local_id == 0) {
        return nullptr;
    }
    OpenBlob& blob = keep_blob(action, local_id, row);
    in_blob(blob, [&] { return read_manifest(blob, row); });
    return &blob;
}

OpenBlob& open_blob(const char* verb, const BlobRow& row) {
    OpenBlob* blob = try_open_blob(verb, row);
    if (blob == nullptr) {
        raise_not_unwrapped(action_on(verb, row.id), row);
    }
    return *blob;
}

OpenBlob* unwrap_blob(const char* verb, std::int32_t local_id, const BlobRow& row) {
    const char* action = action_on(verb, row.id);
    const Call unwrapping = {action, 0, row.wrapped, kept_context(action, row.id)};
    if (!unwraps(unwrapping, local_id)) {
        return nullptr;
    }
    OpenBlob& blob = keep_blob(action, local_id, row);
    blob.key = std::move(session_if_any->reply);
    return &blob;
}

KeyTag current_key_tag(const char* action, std::int32_t local_id) {
    varlena* wrapped = nullptr;
    if (const Failure failure = wrap({action, local_id, {}, {}}, &wrapped)) {
        raise(failure);
    }
    return tag_of_wrapped(bytes_in(wrapped));
}

OpenBlob& make_blob(std::int32_t local_id, BlobRow& row) {
    if (const Failure failure = guarded({"make a blob"}, [&] { return draw_id(row.id); })) {
        raise(failure);
    }
    row.version = 1;
    row.created = GetCurrentTimestamp();
    OpenBlob& blob = keep_blob(action_on("make", row.id), local_id, row);
    in_blob(blob, [&] { return draw_key(blob); });
    wrap_blob_key(local_id, blob, row);
    return blob;
}

void wrap_blob_key(std::int32_t local_id, const OpenBlob& blob, BlobRow& row) {
    varlena* wrapped = nullptr;
    const ByteView context = kept_context(blob.action, row.id);
    if (const Failure failure = wrap({blob.action, local_id, blob.key.view(), context}, &wrapped)) {
        raise(failure);
    }
    row.wrapped = bytes_in(wrapped);
    row.key_tag = tag_of_wrapped(row.wrapped);
}

void seal_blob(OpenBlob& blob, BlobRow& row) {
    row.version = blob.version;
    row.size_class = size_class_of(blob.manifest.total_length);
    blob.manifest.created = unix_time(row.created);
    blob.manifest.modified = unix_time(row.modified);
    blob.manifest.expires.reset();
    if (row.expires) {
        blob.manifest.expires = unix_time(row.expiry);
    }
    varlena* sealed = nullptr;
    in_blob(blob, [&]() -> Status {
        KMS_ASSIGN(const SecretBytes bytes,
                   seal_manifest(blob.keys->manifest, blob.id,
                                 static_cast<std::uint64_t>(blob.version), blob.manifest));
        KMS_ASSIGN(sealed, try_allocate_value(bytes.size()));
        copy_bytes(bytes.view(), bytes_in(sealed));
        return {};
    });
    row.manifest = bytes_in(sealed);
}

void require_complete(const OpenBlob& blob) {
    if (!blob.manifest.complete) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("could not %s: it is not complete", blob.action),
                        errhint("kms.blob_append() with complete => true completes it.")));
    }
}

}  // namespace kms::pg
