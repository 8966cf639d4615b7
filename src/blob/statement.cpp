#include "blob/statement.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// Fixed numbers of PostgreSQL's own types, from its pg_type.dat.
constexpr unsigned bool_type = 16;
constexpr unsigned bytea_type = 17;
constexpr unsigned bigint_type = 20;
constexpr unsigned int_type = 23;
constexpr unsigned text_type = 25;
constexpr unsigned time_type = 1184;
constexpr unsigned interval_type = 1186;
constexpr unsigned uuid_type = 2950;
constexpr unsigned json_type = 3802;

// From 1970 to 2000, PostgreSQL's first day.
constexpr std::int64_t epoch = std::int64_t{946684800} * 1000000;

Parameter as_text(unsigned type, std::optional<std::string> text) {
    return {type, Format::text, std::move(text), {}};
}

}  // namespace

Parameter bytes_parameter(ByteView bytes) {
    return {bytea_type, Format::binary, std::nullopt, bytes};
}

Parameter text_parameter(const std::optional<std::string>& text) {
    return as_text(text_type, text);
}

Parameter json_parameter(const std::optional<std::string>& text) {
    return as_text(json_type, text);
}

Parameter interval_parameter(const std::optional<std::string>& text) {
    return as_text(interval_type, text);
}

Parameter uuid_parameter(const std::string& id) {
    return as_text(uuid_type, id);
}

Parameter int_parameter(std::int32_t number) {
    return as_text(int_type, std::to_string(number));
}

Parameter bigint_parameter(std::int64_t number) {
    return as_text(bigint_type, std::to_string(number));
}

Parameter bool_parameter(bool value) {
    return as_text(bool_type, value ? "t" : "f");
}

Parameter time_parameter(std::optional<std::int64_t> time) {
    if (!time) {
        return as_text(time_type, std::nullopt);
    }
    std::string binary(sizeof *time, '\0');
    store_be({reinterpret_cast<Byte*>(binary.data()), binary.size()},
             static_cast<std::uint64_t>(*time - epoch));
    return {time_type, Format::binary, std::move(binary), {}};
}

}  // namespace kms::blob
