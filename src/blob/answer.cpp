#include "blob/answer.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/floor.hpp"

namespace kms::blob {
namespace {

struct State {
    std::string_view sqlstate;
    Code code;
};

// doc/sql.md has what they mean.
constexpr std::array states{
    State{"KM001", Code::wrong_key}, State{"KM002", Code::wrong_key},
    State{"KM003", Code::wrong_key}, State{"KM004", Code::wrong_key},
    State{"KM005", Code::wrong_key}, State{"KM006", Code::wrong_key},
    State{"KM010", Code::wrong_key}, State{"KM011", Code::wrong_key},
    State{"KM013", Code::not_found}, State{"KM014", Code::denied},
    State{"KM015", Code::denied},
};

Code code_of(std::string_view sqlstate) {
    // libpq has none of its own for a connection that is lost.
    if (sqlstate.empty() || sqlstate.starts_with("57P") || sqlstate.starts_with("08")) {
        return Code::unavailable;
    }
    const auto* found = std::find_if(states.begin(), states.end(), [&](const State& state) {
        return state.sqlstate == sqlstate;
    });
    return found != states.end() ? found->code : Code::failed;
}

std::string field(const PGresult* result, int code) {
    const char* text = PQresultErrorField(result, code);
    return text != nullptr ? text : "";
}

std::string without_end(std::string text) {
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    return text;
}

}  // namespace

std::int64_t Answer::number(int row, int column) const {
    const std::string digits = text(row, column);
    std::int64_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value;
}

ByteSpan Answer::bytes(int row, int column) const {
    return {reinterpret_cast<Byte*>(PQgetvalue(result_.get(), row, column)),
            static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

Error server_error(const PGresult* result) {
    std::string text = field(result, PG_DIAG_MESSAGE_PRIMARY);
    if (text.empty()) {
        text = without_end(PQresultErrorMessage(result));
    }
    if (const std::string detail = field(result, PG_DIAG_MESSAGE_DETAIL); !detail.empty()) {
        text += "\nDETAIL:  " + detail;
    }
    if (const std::string hint = field(result, PG_DIAG_MESSAGE_HINT); !hint.empty()) {
        text += "\nHINT:  " + hint;
    }
    return {code_of(field(result, PG_DIAG_SQLSTATE)), text};
}

Error connection_error(const PGconn* connection) {
    return {Code::unavailable, without_end(PQerrorMessage(connection))};
}

}  // namespace kms::blob
