// What the server answers to a statement, and how its errors become ours.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace kms::blob {

struct FreeResult {
    void operator()(PGresult* result) const { PQclear(result); }
};
using OwnedResult = std::unique_ptr<PGresult, FreeResult>;

// Rows and columns count from 0.
class Answer {
  public:
    explicit Answer(OwnedResult result) : result_(std::move(result)) {}

    int rows() const { return PQntuples(result_.get()); }
    int columns() const { return PQnfields(result_.get()); }
    std::string column_name(int column) const { return PQfname(result_.get(), column); }

    bool is_null(int row, int column) const { return PQgetisnull(result_.get(), row, column) == 1; }

    // Empty for NULL.
    std::string text(int row, int column) const { return std::string(text_of(bytes(row, column))); }
    std::int64_t number(int row, int column) const;
    bool flag(int row, int column) const { return text(row, column) == "t"; }

    // Of a column that came as binary; may be wiped.
    ByteSpan bytes(int row, int column) const;

  private:
    OwnedResult result_;
};

// The server's message, its DETAIL and HINT in lines of their own. The code is not_found for KM013,
// denied for KM014 and KM015, wrong_key for a key that cannot be used and a blob that it does not
// open, unavailable for a connection that is lost, else failed.
Error server_error(const PGresult* result);

// libpq's own last error: Code::unavailable.
Error connection_error(const PGconn* connection);

}  // namespace kms::blob
