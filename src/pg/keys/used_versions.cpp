#include "pg/keys/used_versions.hpp"

#include <algorithm>

#include "pg/server/key_arguments.hpp"
#include "pg/stored/data_keys.hpp"

namespace kms::pg {
namespace {

std::uint32_t highest_in(const DataKeyRow& row, ByteView identifier) {
    const DataKeyVersion& key = row.key;
    return std::ranges::equal(key.kek, identifier)
               ? std::max({key.kek_version_first, key.kek_version_last, key.wrapped.kek_version,
                           key.wrapped_before.kek_version})
               : 0;
}

}  // namespace

std::uint32_t highest_used_version(ByteView identifier) {
    std::uint32_t highest = 0;
    for_each_data_key(
        [&](const DataKeyRow& row) { highest = std::max(highest, highest_in(row, identifier)); });
    return highest;
}

void warn_if_used_before(ByteView identifier, std::uint32_t version, std::uint32_t highest) {
    if (version <= highest) {
        ereport(
            WARNING,
            (errmsg("version %u of key \"%s\" has a number that was used before", version,
                    shown_identifier(identifier)),
             errdetail("kms.data_key knows its versions up to %u. The agent's keys may have been "
                       "put back from a backup, and it does not offer \"after\".",
                       highest)));
    }
}

}  // namespace kms::pg
