// inspect and looks_sealed: what the public bytes of a sealed value say. They need no key.
#include "crypto/sealed.hpp"
#include "pg/server/arguments.hpp"
#include "pg/server/rows.hpp"

namespace kms::pg {
namespace {

// A SealedHeader in a form that ereport may jump over.
struct Shown {
    int suite;
    KeyTag tag;
    ByteView nonce;
    std::size_t plaintext_length;
};

Shown inspect(ByteView sealed) {
    Shown shown{};
    const Failure failure = guarded({"inspect the value"}, [&]() -> Status {
        KMS_ASSIGN(const SealedHeader header, parse_sealed(sealed));
        shown = {static_cast<int>(header.suite), header.tag, header.nonce, header.plaintext_length};
        return {};
    });
    if (failure) {
        raise(failure);
    }
    return shown;
}

}  // namespace

KMS_FUNCTION(kms_looks_sealed) {
    if (PG_ARGISNULL(0)) {
        PG_RETURN_NULL();
    }
    PG_RETURN_BOOL(read_sealed_header(bytes_argument(fcinfo, 0)).has_value());
}

KMS_FUNCTION(kms_inspect) {
    if (PG_ARGISNULL(0)) {
        PG_RETURN_NULL();
    }
    const Shown shown = inspect(bytes_argument(fcinfo, 0));
    Datum values[4] = {Int32GetDatum(shown.suite), bytes_datum(shown.tag), bytes_datum(shown.nonce),
                       Int32GetDatum(static_cast<std::int32_t>(shown.plaintext_length))};
    bool nulls[4] = {false, false, shown.nonce.empty(), false};
    return row_datum(fcinfo, values, nulls);
}

}  // namespace kms::pg
