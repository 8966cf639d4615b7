// The settings of doc/sql.md, defined once at load.
#pragma once

#include <cstdint>

#include "base/key_list.hpp"
#include "client/link/agent.hpp"

namespace kms::pg {

// `refused`: none, see require_settings().
enum class Mode { local, remote, envelope, refused };

// Who has the keys of blobs in remote mode.
enum class BlobKeysAt { session, agent };

void define_settings();

Mode mode();
const char* mode_name();
BlobKeysAt blob_keys_at();
const char* command();

Deadlines deadlines();
std::chrono::seconds cache_ttl();
std::size_t max_cached_keys();
std::chrono::seconds max_age();  // 0: any
bool allow_drop();

// Raises 22023 where a setting that the login brought was refused at load: what the server wants is
// not known then, kms.mode = remote perhaps.
void require_settings();

// The session's bindings. Raises 22023 where a kms.keys from before the library was loaded does not
// parse: no binding is in force then.
const KeyList& key_list();

// The same without the check, for the end of a transaction, where nothing can be raised.
const KeyList& key_list_unchecked();

// Rises with every change of kms.keys, kms.mode, kms.command or kms.cache_ttl: what was derived
// from them must be looked up again.
std::uint64_t settings_generation();

// 55000 where kms.keys has a local value, which a binding for the session would make stay.
void require_settable(bool is_local);

// Writes kms.keys, for the transaction or for the session; after require_settable.
void set_key_list(const char* text, bool is_local);

}  // namespace kms::pg
