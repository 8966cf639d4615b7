// Keys at the agent: create_key, rotate_key, list_keys; and generate_key. What the agent does is
// not undone by ROLLBACK.
#include "base/hex.hpp"
#include "crypto/random.hpp"
#include "pg/keys/administer.hpp"
#include "pg/keys/data_key_batches.hpp"
#include "pg/keys/name_at_agent.hpp"
#include "pg/keys/used_versions.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/rows.hpp"
#include "pg/server/transaction.hpp"
#include "pg/session/listed_versions.hpp"
#include "pg/stored/change_lock.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

ByteView prefix_argument(FunctionCallInfo fcinfo) {
    const ByteView prefix = required_bytes(fcinfo, 0, "prefix");
    if (prefix.size() > max_identifier) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a key identifier has at most %zu bytes, and the prefix has %zu",
                               max_identifier, prefix.size())));
    }
    return prefix;
}

void add_row(RowSet& rows, const ListedVersion& listed) {
    Datum values[8] = {identifier_datum(listed.key),
                       Int32GetDatum(static_cast<std::int32_t>(listed.version)),
                       identifier_datum(bytes_of(listed.algorithm)),
                       bytes_datum(listed.tag),
                       text_datum(wire::state_word(listed.state)),
                       TimestampTzGetDatum(timestamp_of(listed.created)),
                       identifier_datum(bytes_of(listed.purpose)),
                       BoolGetDatum(listed.exportable.value_or(false))};
    bool nulls[8] = {};
    nulls[6] = listed.purpose.empty();
    nulls[7] = !listed.exportable.has_value();
    rows.add(values, nulls);
}

wire::Purpose purpose_argument(FunctionCallInfo fcinfo, int index) {
    const auto purpose = wire::parse_purpose(text_of(required_bytes(fcinfo, index, "purpose")));
    if (!purpose) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a key is made to seal or to wrap, and for no other purpose"),
                        errhint("purpose => 'seal' is for values and blobs, purpose => 'wrap' for "
                                "KEKs and for kms.wrap().")));
    }
    return *purpose;
}

// NULL: what the purpose has.
bool exportable_argument(FunctionCallInfo fcinfo, int index, wire::Purpose purpose) {
    const bool wraps = purpose == wire::Purpose::wrap;
    const bool exportable = PG_ARGISNULL(index) ? !wraps : PG_GETARG_BOOL(index);
    if (exportable && wraps) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a key that wraps never leaves the agent"),
                        errhint("Leave exportable out, or make the key with purpose => 'seal'.")));
    }
    return exportable;
}

// The agent has refused it, in words that only few may see.
[[noreturn]] void raise_not_created(const KeyUse& use, const Failure& failure) {
    const bool is_refused = !failure.pending && failure.cause.code == Code::invalid;
    if (is_refused && !try_list_versions(use.identifier).empty()) {
        raise_error(
            use.subject(), Code::invalid,
            "The agent has a key of that name; kms.rotate_key() makes a new version of it.");
    }
    raise(failure);
}

// They stay with the version that has wrapped them.
void tell_of_data_keys(ByteView kek) {
    if (const std::size_t count = count_data_keys(kek); count != 0) {
        ereport(NOTICE, (errmsg("data keys that older versions of \"%s\" have wrapped: %zu",
                                shown_identifier(kek), count),
                         errhint("kms.rotate_kek() rotates the key, and wraps them anew.")));
    }
}

int key_bits(FunctionCallInfo fcinfo) {
    const std::int32_t bits = required_int(fcinfo, 0, "bits");
    if (bits != 128 && bits != 192 && bits != 256 && bits != 512) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a key has 128, 192, 256 or 512 bits, not %d", bits)));
    }
    return bits;
}

}  // namespace

KMS_FUNCTION(kms_create_key) {
    require_not_read_only("kms.create_key()");
    const KeyUse use = use_of_identifier("create key", required_identifier(fcinfo, 0));
    lock_name(use.identifier, KeyPlace::agent);
    require_unknown_to_database(use.action, use.identifier, "Choose another name.");
    KeyWish wish;
    wish.algorithm = algorithm_argument(fcinfo, 1);
    wish.purpose = purpose_argument(fcinfo, 3);
    wish.exportable = exportable_argument(fcinfo, 2, wish.purpose);
    wish.after = highest_used_version(use.identifier);
    std::uint32_t version = 0;
    const Failure failure = try_administer(use, [&](Line line) -> Status {
        KMS_ASSIGN(const DescribedKey created, create_key(line, use.identifier, wish));
        version = created.version;
        return {};
    });
    if (failure) {
        raise_not_created(use, failure);
    }
    warn_if_used_before(use.identifier, version, wish.after);
    warn_of_limit(wish.algorithm);
    PG_RETURN_INT32(static_cast<std::int32_t>(version));
}

KMS_FUNCTION(kms_rotate_key) {
    require_not_read_only("kms.rotate_key()");
    const KeyUse use = use_of_identifier("rotate key", required_identifier(fcinfo, 0));
    lock_name(use.identifier, KeyPlace::agent);
    require_unknown_to_database(use.action, use.identifier,
                                "kms.rotate_data_key() rotates the data key.");
    const std::uint32_t used = highest_used_version(use.identifier);
    std::uint32_t version = 0;
    Algorithm algorithm = default_algorithm;
    administer(use, [&](Line line) -> Status {
        KMS_ASSIGN(const DescribedKey rotated, rotate_key(line, use.identifier, used));
        version = rotated.version;
        algorithm = rotated.algorithm;
        return {};
    });
    warn_if_used_before(use.identifier, version, used);
    warn_of_new_terms(use.identifier, version, algorithm);
    tell_of_data_keys(use.identifier);
    PG_RETURN_INT32(static_cast<std::int32_t>(version));
}

KMS_FUNCTION(kms_list_keys) {
    const ByteView prefix = prefix_argument(fcinfo);
    const KeyUse use =
        use_of_identifier(prefix.empty() ? "list keys" : "list keys with prefix", prefix);
    ListedVersions versions;
    if (const Failure failure = list_beginning_so(use, versions)) {
        raise(failure);
    }
    RowSet rows(fcinfo);
    for (const ListedVersion& version : versions) {
        add_row(rows, version);
    }
    PG_RETURN_NULL();
}

KMS_FUNCTION(kms_generate_key) {
    const auto bytes = static_cast<std::size_t>(key_bits(fcinfo)) / 8;
    varlena* result = allocate_value(2 * bytes, {"generate a key"});
    const Failure failure = guarded({"generate a key"}, [&]() -> Status {
        SecretBytes key(bytes);
        KMS_TRY(random_secret(key.span()));
        write_hex(key.view(), VARDATA(result));
        return {};
    });
    if (failure) {
        raise(failure);
    }
    PG_RETURN_POINTER(result);
}

}  // namespace kms::pg
