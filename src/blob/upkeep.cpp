// kms-blob rm, verify and rewrap
#include <nlohmann/json.hpp>

#include "blob/commands.hpp"
#include "blob/report.hpp"
#include "blob/session.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t rewrap_batch = 1000;

Error no_blob(const std::string& id) {
    return {Code::not_found, "there is no blob " + id};
}

Result<std::string> remove(const Options& options, Connection& connection, const std::string& id) {
    KMS_ASSIGN(const Answer answer,
               connection.ask({"SELECT kms.blob_delete($1)", {uuid_parameter(id)}}));
    if (!answer.flag(0, 0)) {
        return no_blob(id);
    }
    return options.json ? Json{{"id", id}, {"deleted", true}}.dump() + '\n' : std::string();
}

Result<std::string> verify(const Options& options, Connection& connection, const std::string& id) {
    KMS_ASSIGN(
        const Answer answer,
        connection.ask(
            {"SELECT size, pg_catalog.encode(sha256, 'hex'), complete FROM kms.blob_verify($1)",
             {uuid_parameter(id)}}));
    const bool complete = answer.flag(0, 2);
    if (options.json) {
        return Json{{"id", id},
                    {"size", answer.number(0, 0)},
                    {"sha256", answer.text(0, 1)},
                    {"complete", complete}}
                   .dump() +
               '\n';
    }
    return id + ": authentic, " + answer.text(0, 0) + " bytes, SHA-256 " + answer.text(0, 1) +
           (complete ? "" : ", incomplete") + '\n';
}

using Act = Result<std::string> (*)(const Options&, Connection&, const std::string&);

// What would be the same for every other blob.
bool is_about_all(Code code) {
    return code == Code::unavailable || code == Code::interrupted || code == Code::io;
}

// The first failure decides, but what is unaffected by one is done.
Exit for_each_id(const Options& options, Act act) {
    auto connection = begin_session(options, OnSignal::end_in_order);
    if (!connection) {
        return fail(connection.error());
    }
    Exit first = Exit::done;
    for (const std::string& id : options.ids) {
        const auto text = act(options, *connection, id);
        const Status done = text ? tell_done(*text) : Status(text.error());
        if (text && !done) {
            complain(id + " is the last that it was done for");
        }
        if (!done) {
            const Exit exit = fail(done.error());
            first = first == Exit::done ? exit : first;
            if (is_about_all(done.error().code)) {
                break;
            }
        }
    }
    return first;
}

// A commit for each batch: who writes to a blob does not wait for all of them.
Result<std::int64_t> rewrap_all(const Options& options, Connection& connection) {
    std::int64_t total = 0;
    for (std::int64_t count = rewrap_batch; count > 0; total += count) {
        KMS_ASSIGN(
            const Answer answer,
            connection.ask({"SELECT kms.rewrap_blobs($1, $2)",
                            {int_parameter(options.local_id), bigint_parameter(rewrap_batch)}}));
        count = answer.number(0, 0);
    }
    return total;
}

}  // namespace

Exit run_remove(const Options& options) {
    return for_each_id(options, remove);
}

Exit run_verify(const Options& options) {
    return for_each_id(options, verify);
}

Exit run_rewrap(const Options& options) {
    auto connection = begin_session(options, OnSignal::end_in_order);
    if (!connection) {
        return fail(connection.error());
    }
    const auto total = rewrap_all(options, *connection);
    if (!total) {
        return fail(total.error());
    }
    const Status printed = tell_done(options.json ? Json{{"rewrapped", *total}}.dump() + '\n'
                                                  : "rewrapped: " + std::to_string(*total) + '\n');
    return printed ? Exit::done : fail(printed.error());
}

}  // namespace kms::blob
