// kms-blob ls and info
#include "base/output.hpp"
#include "blob/commands.hpp"
#include "blob/session.hpp"
#include "blob/text.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// JSON is the server's own, in which no number loses a digit.
Result<Answer> ask_in_utc(Connection& connection, const Statement& statement) {
    KMS_TRY(connection.ask({"SET TimeZone = 'UTC'"}));
    return connection.ask(statement);
}

TableRow row_of(const Answer& answer, int row) {
    TableRow cells;
    for (int column = 0; column < answer.columns(); ++column) {
        cells.push_back(printable(answer.text(row, column)));
    }
    return cells;
}

std::string table_of(const Answer& answer) {
    TableRow head;
    for (int column = 0; column < answer.columns(); ++column) {
        head.push_back(answer.column_name(column));
    }
    std::vector<TableRow> rows{head};
    for (int row = 0; row < answer.rows(); ++row) {
        rows.push_back(row_of(answer, row));
    }
    return aligned(rows);
}

// Those of a single row, one a line.
std::string lines_of(const Answer& answer) {
    std::vector<TableRow> rows;
    rows.reserve(static_cast<std::size_t>(answer.columns()));
    for (int column = 0; column < answer.columns(); ++column) {
        rows.push_back({answer.column_name(column) + ":", printable(answer.text(0, column))});
    }
    return aligned(rows);
}

std::string json_array_of(const Answer& answer) {
    std::string text = "[";
    for (int row = 0; row < answer.rows(); ++row) {
        text += (row > 0 ? ",\n " : "") + printable(answer.text(row, 0));
    }
    return text + "]\n";
}

Result<std::string> list_text(const Options& options, Connection& connection) {
    if (options.json) {
        KMS_ASSIGN(
            const Answer answer,
            ask_in_utc(connection, {"SELECT pg_catalog.row_to_json(b) FROM kms.blob_list($1) b"
                                    " ORDER BY name, id",
                                    {text_parameter(options.prefix)}}));
        return json_array_of(answer);
    }
    KMS_ASSIGN(const Answer answer, ask_in_utc(connection, {R"(SELECT id AS "ID", size AS "SIZE",
                    pg_catalog.to_char(last_modified, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "MODIFIED",
                    coalesce(pg_catalog.to_char(expires_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '-')
                        AS "EXPIRES",
                    CASE WHEN complete THEN 'complete' ELSE 'incomplete' END AS "STATE",
                    coalesce(name, '') AS "NAME"
                FROM kms.blob_list($1) ORDER BY name, id)",
                                                            {text_parameter(options.prefix)}}));
    return table_of(answer);
}

Result<std::string> info_text(const Options& options, Connection& connection) {
    if (options.json) {
        KMS_ASSIGN(
            const Answer answer,
            ask_in_utc(connection, {"SELECT pg_catalog.row_to_json(b)"
                                    " FROM (SELECT $1 AS id, m.* FROM kms.blob_meta($1) m) b",
                                    {uuid_parameter(options.ids.front())}}));
        return printable(answer.text(0, 0)) + '\n';
    }
    KMS_ASSIGN(
        const Answer answer,
        ask_in_utc(
            connection,
            {R"(SELECT $1 AS id, name, content_type AS type, size, complete, version, segments,
                    pg_catalog.to_char(created, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created,
                    pg_catalog.to_char(last_modified, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS modified,
                    pg_catalog.to_char(expires_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS expires,
                    metadata
                FROM kms.blob_meta($1))",
             {uuid_parameter(options.ids.front())}}));
    return lines_of(answer);
}

using MakeText = Result<std::string> (*)(const Options&, Connection&);

Exit show(const Options& options, MakeText make_text) {
    auto connection = begin_session(options, OnSignal::end_in_order);
    if (!connection) {
        return fail(connection.error());
    }
    const auto text = make_text(options, *connection);
    if (!text) {
        return fail(text.error());
    }
    const Status printed = print(*text);
    return printed ? Exit::done : fail(printed.error());
}

}  // namespace

Exit run_list(const Options& options) {
    return show(options, list_text);
}

Exit run_info(const Options& options) {
    return show(options, info_text);
}

}  // namespace kms::blob
