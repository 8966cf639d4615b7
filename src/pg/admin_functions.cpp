// Keys at the agent: create_key, rotate_key, enable_key, disable_key, destroy_key, list_keys; and
// generate_key. What the agent does is not undone by ROLLBACK.
#include "base/hex.hpp"
#include "crypto/random.hpp"
#include "pg/administer.hpp"
#include "pg/key_arguments.hpp"
#include "pg/settings.hpp"
#include "pg/values.hpp"

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

Datum change(FunctionCallInfo fcinfo, const char* action, std::string_view verb) {
    const KeyUse use = use_of_identifier(action, required_identifier(fcinfo, 0));
    const std::uint32_t version = version_argument(fcinfo, 1);
    administer(use, [&](Line line) { return change_version(line, verb, use.identifier, version); });
    PG_RETURN_VOID();
}

void fetch_list(Session& session, const KeyUse& use) {
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        KMS_ASSIGN(session.listed, list_keys(line, use.identifier));
        return {};
    });
    finish(session, failure);
}

void add_row(RowSet& rows, const wire::ListedVersion& listed) {
    Datum values[6] = {identifier_datum(bytes_of(listed.key)),
                       Int32GetDatum(static_cast<std::int32_t>(listed.version)),
                       identifier_datum(bytes_of(listed.algorithm)),
                       bytes_datum(listed.tag),
                       text_datum(wire::state_word(listed.state)),
                       TimestampTzGetDatum(timestamp_of(std::chrono::seconds(listed.created)))};
    bool nulls[6] = {};
    rows.add(values, nulls);
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
    const KeyUse use = use_of_identifier("create key", required_identifier(fcinfo, 0));
    const Algorithm algorithm = algorithm_argument(fcinfo, 1);
    std::uint32_t version = 0;
    administer(use, [&](Line line) -> Status {
        KMS_ASSIGN(const DescribedKey created,
                   create_key(line, use.identifier, info_of(algorithm).name));
        version = created.version;
        return {};
    });
    warn_of_limit(algorithm);
    PG_RETURN_INT32(static_cast<std::int32_t>(version));
}

KMS_FUNCTION(kms_rotate_key) {
    const KeyUse use = use_of_identifier("rotate key", required_identifier(fcinfo, 0));
    std::uint32_t version = 0;
    administer(use, [&](Line line) -> Status {
        KMS_ASSIGN(const DescribedKey rotated, rotate_key(line, use.identifier));
        version = rotated.version;
        return {};
    });
    PG_RETURN_INT32(static_cast<std::int32_t>(version));
}

KMS_FUNCTION(kms_enable_key) {
    return change(fcinfo, "enable key", wire::verb::enable);
}

KMS_FUNCTION(kms_disable_key) {
    return change(fcinfo, "disable key", wire::verb::disable);
}

KMS_FUNCTION(kms_destroy_key) {
    return change(fcinfo, "destroy key", wire::verb::destroy);
}

KMS_FUNCTION(kms_list_keys) {
    const ByteView prefix = prefix_argument(fcinfo);
    const KeyUse use =
        use_of_identifier(prefix.empty() ? "list keys" : "list keys with prefix", prefix);
    Session& session = pg::session();
    fetch_list(session, use);
    RowSet rows(fcinfo);
    for (const wire::ListedVersion& version : session.listed) {
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
