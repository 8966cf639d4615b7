// Arguments that the functions on blobs share: PostgreSQL side.
#pragma once

#include "pg/blobs/open_blob.hpp"
#include "pg/server/arguments.hpp"

namespace kms::pg {

BlobId blob_id_argument(FunctionCallInfo fcinfo);

// A bigint; 22023 for a negative one.
std::uint64_t not_negative(FunctionCallInfo fcinfo, int index, const char* name);

// KM013: there is none, or it has expired.
[[noreturn]] void raise_no_blob(const BlobId& id);

// By the active snapshot, or KM013.
const BlobRow& required_blob(BlobId id);

// Of text in the database's encoding: what manifests have.
ByteView utf8_of(ByteView text);

// What the caller says of a blob, from the argument `first` on: name, content_type, metadata,
// expires_at, expire_in, last_modified. What is not NULL is put in the blob's manifest or the row.
void take_description(FunctionCallInfo fcinfo, int first, OpenBlob& blob, BlobRow& row);

}  // namespace kms::pg
