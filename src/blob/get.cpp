// kms-blob get and cat
#include <nlohmann/json.hpp>

#include "blob/commands.hpp"
#include "blob/download.hpp"
#include "blob/report.hpp"
#include "blob/session.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

Status print_json(const Options& options, std::uint64_t written) {
    const nlohmann::ordered_json json{
        {"id", options.ids.front()}, {"file", options.file}, {"size", written}};
    return tell_done(json.dump() + '\n');
}

Status copy_all(const Options& options, Connection& connection) {
    const Replace replace = options.force ? Replace::yes : Replace::no;
    KMS_ASSIGN(OutputFile output, OutputFile::open(options.file, replace));
    Download download(connection, output, options.quiet);
    KMS_TRY(download.begin());
    std::uint64_t written = 0;
    for (const std::string& id : options.ids) {
        KMS_ASSIGN(const std::uint64_t count, download.copy(id, options.range));
        written += count;
    }
    KMS_TRY(output.finish());
    Status printed = options.json ? print_json(options, written) : Status();
    if (!printed && !options.file.empty()) {
        complain("the file is complete");
    }
    return printed;
}

}  // namespace

// A file that is not complete must be removed; standard output may be left to a signal.
Exit run_get(const Options& options) {
    auto connection =
        begin_session(options, options.file.empty() ? OnSignal::die : OnSignal::end_in_order);
    if (!connection) {
        return fail(connection.error());
    }
    const Status copied = copy_all(options, *connection);
    return copied ? Exit::done : fail(copied.error());
}

}  // namespace kms::blob
