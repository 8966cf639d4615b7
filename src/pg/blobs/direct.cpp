#include "pg/blobs/direct.hpp"

#include <string>

#include "pg/server/collected.hpp"
#include "pg/session/envelope.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

void wipe_value(varlena* value) {
    wipe(bytes_in(value));
}

// In the current memory context: no C++ string may be alive where PostgreSQL allocates.
ByteView chunk_context(const OpenBlob& blob, std::uint64_t segment, std::uint64_t chunk,
                       bool final) {
    return kept_bytes(blob, [&] { return blob_chunk_context(blob.id, segment, chunk, final); });
}

Call chunk_call(const OpenBlob& blob, std::uint64_t segment, std::uint64_t chunk,
                std::uint64_t plain_length, ByteView data) {
    const bool final = plain_length < chunked::chunk_length;
    return {.action = blob.action,
            .local_id = blob.local_id,
            .data = data,
            .context = chunk_context(blob, segment, chunk, final),
            .replaces = blob.least_key_tag()};
}

constexpr const char* changed_chunk = "A chunk in kms.blob_chunk has been changed.";

// Another key's version, or none: all of a blob is under one.
void require_of_blob(const OpenBlob& blob, ByteView chunk) {
    const auto header = read_sealed_header(chunk);
    if (!header || header->tag != blob.key_tag) {
        raise_error(blob.subject(), Code::corrupt, changed_chunk);
    }
}

void seal_all(std::span<const Call> calls, varlena** results) {
    std::size_t done = 0;
    if (const Failure failure = transform(Way::seal, calls, results, done)) {
        raise(failure);
    }
}

// What is stored was sealed by this key once.
void open_all(const OpenBlob& blob, std::span<const Call> calls, varlena** results) {
    std::size_t done = 0;
    const Failure failure = transform(Way::open, calls, results, done);
    if (failure && !failure.pending && is_about_a_value(failure.cause.code)) {
        raise_error(blob.subject(), Code::corrupt, changed_chunk);
    }
    if (failure) {
        raise(failure);
    }
}

// All of a blob is under the version of its first value, and chunks stand where their lengths say.
void require_sealed(OpenBlob& blob, ByteView sealed, std::size_t plain_length) {
    const auto header = read_sealed_header(sealed);
    if (!header) {
        raise_error(blob.subject(), Code::unsupported,
                    "The values of its key do not say which version has sealed them.");
    }
    if (header->plaintext_length != plain_length) {
        raise_error(blob.subject(), Code::protocol, "What was sealed has another length.");
    }
    if (!blob.key_tag) {
        blob.key_tag = header->tag;
    }
    if (*blob.key_tag != header->tag) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("could not %s: its key was rotated meanwhile", blob.action)));
    }
}

varlena* joined(const OpenBlob& blob, std::span<varlena* const> values) {
    std::size_t length = 0;
    for (varlena* value : values) {
        length += bytes_in(value).size();
    }
    varlena* all = allocate_value(length, blob.subject());
    ByteSpan rest = bytes_in(all);
    for (varlena* value : values) {
        const ByteView bytes = bytes_in(value);
        copy_bytes(bytes, rest);
        rest = rest.subspan(bytes.size());
        pfree(value);
    }
    return all;
}

}  // namespace

BlobOverhead direct_overhead(ByteView sealed) {
    const auto header = read_sealed_header(sealed);
    return {0, header ? sealed.size() - header->plaintext_length : 0};
}

varlena* seal_chunks_directly(OpenBlob& blob, std::uint64_t segment, const BlobRowPlace& row,
                              ByteView plaintext) {
    auto* calls = allocate_many<Call>(row.chunks);
    auto* results = allocate_many<varlena*>(row.chunks);
    for (std::uint64_t i = 0; i < row.chunks; ++i) {
        const ByteView piece = plaintext.first(std::min(plaintext.size(), chunked::chunk_length));
        calls[i] = chunk_call(blob, segment, row.first_chunk + i, piece.size(), piece);
        plaintext = plaintext.subspan(piece.size());
    }
    seal_all({calls, row.chunks}, results);
    for (std::uint64_t i = 0; i < row.chunks; ++i) {
        require_sealed(blob, bytes_in(results[i]), calls[i].data.size());
    }
    return joined(blob, {results, row.chunks});
}

void open_chunks_directly(OpenBlob& blob, const DirectChunks& chunks, ChunkTaker& taker) {
    const std::size_t count = chunks.end - chunks.first;
    auto* calls = allocate_many<Call>(count);
    auto* results = allocate_many<varlena*>(count);
    ByteView sealed = chunks.sealed;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t chunk = chunks.first + i;
        const std::uint64_t plain = chunks.layout.plain_in_chunk(chunk);
        const std::size_t length = plain + blob.overhead.chunk;
        require_of_blob(blob, sealed.first(length));
        calls[i] = chunk_call(blob, chunks.segment, chunk, plain, sealed.first(length));
        sealed = sealed.subspan(length);
    }
    open_all(blob, {calls, count}, results);
    for (std::size_t i = 0; i < count; ++i) {
        const ByteView plaintext = bytes_in(results[i]);
        if (plaintext.size() != chunks.layout.plain_in_chunk(chunks.first + i)) {
            raise_error(blob.subject(), Code::corrupt, "A chunk has another length.");
        }
        taker.take(chunks.first + i, plaintext);
        wipe_value(results[i]);
    }
}

ByteView seal_manifest_directly(OpenBlob& blob) {
    const ByteView context = kept_bytes(blob, [&] {
        return blob_manifest_context(blob.id, static_cast<std::uint64_t>(blob.version));
    });
    const Call call = {.action = blob.action,
                       .local_id = blob.local_id,
                       .data = blob.piece.view(),
                       .context = context,
                       .replaces = blob.least_key_tag()};
    varlena* sealed = nullptr;
    if (const Failure failure = seal(call, &sealed)) {
        raise(failure);
    }
    require_sealed(blob, bytes_in(sealed), blob.piece.size());
    return bytes_in(sealed);
}

}  // namespace kms::pg
