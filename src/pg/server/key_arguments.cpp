#include "pg/server/key_arguments.hpp"

namespace kms::pg {

ByteView key_argument(FunctionCallInfo fcinfo, int index, const char* name) {
    return PG_ARGISNULL(index) ? ByteView{} : required_identifier(fcinfo, index, name);
}

const char* text_argument(FunctionCallInfo fcinfo, int index) {
    return index >= PG_NARGS() || PG_ARGISNULL(index) ? nullptr
                                                      : text_to_cstring(PG_GETARG_TEXT_PP(index));
}

void require_one_key(const char* function, ByteView identifier, const char* expression) {
    if (identifier.empty() && expression == nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("key_identifier must not be NULL"),
                 errhint("Or say as key_expression what names the key of each row.")));
    }
    if (!identifier.empty() && expression != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s takes key_identifier or key_expression, and not both", function),
                        errdetail("All rows have one key, or each names its own.")));
    }
}

Algorithm algorithm_argument(FunctionCallInfo fcinfo, int index) {
    const std::string_view name = text_of(required_bytes(fcinfo, index, "algorithm"));
    const auto algorithm = algorithm_named(name);
    if (!algorithm) {
        ereport(
            ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
             errmsg("\"%.*s\" is not an algorithm of kms",
                    pg_mbcliplen(name.data(), static_cast<int>(name.size()), 64), name.data()),
             errhint("The algorithms are xaes-256-gcm, aes-256-siv, aes-128-gcm, aes-192-gcm and "
                     "aes-256-gcm; and hmac-sha-256 for search terms.")));
    }
    return *algorithm;
}

std::uint32_t version_argument(FunctionCallInfo fcinfo, int index) {
    const std::int32_t version = required_int(fcinfo, index, "version");
    if (version < 1) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("key versions begin at 1, and %d is none", version)));
    }
    return static_cast<std::uint32_t>(version);
}

Algorithm required_algorithm(const Subject& subject, std::string_view name) {
    const auto algorithm = algorithm_named(name);
    if (!algorithm) {
        raise_error(subject, Code::unsupported, "Its algorithm is not known here.");
    }
    return *algorithm;
}

void warn_of_limit(Algorithm algorithm) {
    const AlgorithmInfo& info = info_of(algorithm);
    if (info.random_nonce_limit) {
        ereport(
            WARNING,
            (errmsg("a key version of %.*s may seal at most 2^32 values",
                    static_cast<int>(info.name.size()), info.name.data()),
             errdetail("Its nonces are 12 random bytes (NIST SP 800-38D, section 8.3)."),
             errhint("Rotate the key well before, or use xaes-256-gcm, which has no such limit.")));
    }
}

void warn_of_new_terms(ByteView identifier, std::uint32_t version, Algorithm algorithm) {
    if (!info_of(algorithm).seals()) {
        ereport(WARNING,
                (errmsg("search terms are made under version %u of key \"%s\" from now on", version,
                        shown_identifier(identifier)),
                 errdetail("kms.blind_index() does not find rows whose terms are of an older "
                           "version; kms.blind_indexes() does."),
                 errhint("When kms.cache_ttl has passed, which other sessions may hold the older "
                         "version for, make the terms of all rows anew.")));
    }
}

const char* shown_identifier(ByteView identifier) {
    constexpr int most = 200;
    const char* shown = TextDatumGetCString(identifier_datum(identifier));
    return strlen(shown) > most ? psprintf("%.*s...", most, shown) : shown;
}

}  // namespace kms::pg
