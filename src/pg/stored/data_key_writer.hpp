// Changes of kms.data_key: in the name of the table's owner whatever the caller may do, seen by
// every session at commit, and on disk by then. PostgreSQL side; who calls it holds the lock of
// change_lock.hpp.
#pragma once

#include "client/calls/new_data_key.hpp"
#include "pg/stored/data_keys.hpp"

namespace kms::pg {

// As require_writable() of transaction.hpp, and where kms.data_key is filled by a subscription
// (55000): what is changed here and there would end it at the next row of the same version.
void require_own_data_keys(const char* function);

// Whether kms.data_key is filled here, and not by a subscription.
bool are_data_keys_own();

// Before a data key's rows are read to be changed: waits for others who change it. On its first
// row, since the server's lock table is finite and a transaction may make a key for each tenant.
void lock_data_key(ByteView name);

// A version that becomes a row.
struct NewRow {
    ByteView kek;
    DataKeyId id;
    KeyTag tag;
    WrappedForm wrapped;              // without bytes: it is destroyed
    std::uint32_t kek_version_first;  // that may have wrapped it
    wire::VersionState state;
    TimestampTz created;
};

// 40001: others have written them since they were read.
[[noreturn]] void raise_data_keys_changed();

// False, and nothing done, where there is this version already.
[[nodiscard]] bool insert_data_key(const NewRow& row);

// All of its versions: they are elsewhere.
void delete_data_key(ByteView name, std::size_t versions);

// enabled or disabled.
void set_data_key_state(ByteView name, std::uint32_t version, wire::VersionState state);

// What a row's wrapped form is replaced by.
struct NewForm {
    ByteView name;
    std::uint32_t version;
    std::uint32_t kek_version;
    varlena* wrapped;
    bool keep_second;  // the row's second form stays, and not its first
};

void replace_wrapped_forms(std::span<const NewForm> forms);

// The second forms of all data keys that the KEK wraps. The first forms of all of them must open.
void drop_second_forms(ByteView kek);

// Drops its wrapped forms. `kek_version`: the last that may have wrapped it.
void mark_data_key_destroyed(ByteView name, std::uint32_t version, std::uint32_t kek_version);

}  // namespace kms::pg
