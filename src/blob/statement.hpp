// What is sent to the server: SQL and its parameters, each with its type, so that nothing of them
// is ever part of the text, and resolving functions is not left to guesses.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.hpp"

namespace kms::blob {

enum class Format : int { text = 0, binary = 1 };

struct Parameter {
    unsigned type;  // of pg_type
    Format format = Format::text;
    std::optional<std::string> text;  // nullopt: NULL, unless there are bytes
    ByteView bytes;                   // binary: must live until the statement is sent
};

Parameter bytes_parameter(ByteView bytes);
Parameter text_parameter(const std::optional<std::string>& text);
Parameter json_parameter(const std::optional<std::string>& text);
Parameter interval_parameter(const std::optional<std::string>& text);
Parameter uuid_parameter(const std::string& id);
Parameter int_parameter(std::int32_t number);
Parameter bigint_parameter(std::int64_t number);
Parameter bool_parameter(bool value);

// Microseconds since 1970.
Parameter time_parameter(std::optional<std::int64_t> time);

struct Statement {
    const char* sql;
    std::vector<Parameter> parameters = {};
    Format results = Format::text;
};

}  // namespace kms::blob
