// kms-blob ls and info
#include <algorithm>
#include <numeric>
#include <tuple>

#include "base/output.hpp"
#include "blob/commands.hpp"
#include "blob/input.hpp"
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

// What is there to sort by, behind what is shown.
constexpr int sort_columns = 2;

TableRow row_of(const Answer& answer, int row) {
    TableRow cells;
    for (int column = 0; column < answer.columns() - sort_columns; ++column) {
        cells.push_back(printable(answer.text(row, column)));
    }
    return cells;
}

std::string table_of(const Answer& answer, const std::vector<int>& order) {
    TableRow head;
    for (int column = 0; column < answer.columns() - sort_columns; ++column) {
        head.push_back(answer.column_name(column));
    }
    std::vector<TableRow> rows{head};
    for (const int row : order) {
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

std::string json_array_of(const Answer& answer, const std::vector<int>& order) {
    std::string text = "[";
    for (const int row : order) {
        text += (row != order.front() ? ",\n " : "") + printable(answer.text(row, 0));
    }
    return text + "]\n";
}

// By name and id, which are the last columns, those without a name last. What the server sorts it
// may write to a temporary file, and names are not to be there.
std::vector<int> order_of(const Answer& answer) {
    const auto key = [&](int row) {
        const int id = answer.columns() - 1;
        return std::tuple(answer.is_null(row, id - 1), answer.text(row, id - 1),
                          answer.text(row, id));
    };
    std::vector<int> order(static_cast<std::size_t>(answer.rows()));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, {}, key);
    return order;
}

Result<std::string> list_text(const Options& options, Connection& connection) {
    if (options.json) {
        KMS_ASSIGN(
            const Answer answer,
            ask_in_utc(connection,
                       {"SELECT pg_catalog.row_to_json(b), name, id FROM kms.blob_list($1) b",
                        {text_parameter(options.prefix)}}));
        return json_array_of(answer, order_of(answer));
    }
    KMS_ASSIGN(const Answer answer, ask_in_utc(connection, {R"(SELECT id AS "ID", size AS "SIZE",
                    pg_catalog.to_char(last_modified, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "MODIFIED",
                    coalesce(pg_catalog.to_char(expires_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '-')
                        AS "EXPIRES",
                    CASE WHEN complete THEN 'complete' ELSE 'incomplete' END AS "STATE",
                    coalesce(name, '') AS "NAME", name, id
                FROM kms.blob_list($1))",
                                                            {text_parameter(options.prefix)}}));
    return table_of(answer, order_of(answer));
}

// In FROM the server might hold the row in a file. With OFFSET 0 it is asked for once.
Result<std::string> info_text(const Options& options, Connection& connection) {
    if (options.json) {
        KMS_ASSIGN(const Answer answer,
                   ask_in_utc(connection, {"SELECT pg_catalog.row_to_json(b)"
                                           " FROM (SELECT $1 AS id, (m).*"
                                           " FROM (SELECT kms.blob_meta($1) AS m OFFSET 0) s) b",
                                           {uuid_parameter(options.ids.front())}}));
        return printable(answer.text(0, 0)) + '\n';
    }
    KMS_ASSIGN(
        const Answer answer,
        ask_in_utc(connection,
                   {R"(SELECT $1 AS id, (m).name, (m).content_type AS type, (m).size, (m).complete,
                    (m).version, (m).segments,
                    pg_catalog.to_char((m).created, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created,
                    pg_catalog.to_char((m).last_modified, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS modified,
                    pg_catalog.to_char((m).expires_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS expires,
                    (m).metadata
                FROM (SELECT kms.blob_meta($1) AS m OFFSET 0) s)",
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
    if (options.prefix_from.empty()) {
        return show(options, list_text);
    }
    const auto prefix = read_words(options.prefix_from);
    if (!prefix) {
        return fail(prefix.error());
    }
    Options with_prefix = options;
    with_prefix.prefix = *prefix;
    return show(with_prefix, list_text);
}

Exit run_info(const Options& options) {
    return show(options, info_text);
}

}  // namespace kms::blob
