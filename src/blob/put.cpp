// kms-blob put
#include <nlohmann/json.hpp>

#include "base/output.hpp"
#include "blob/commands.hpp"
#include "blob/session.hpp"
#include "blob/text.hpp"
#include "blob/upload.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

void tell_how_to_go_on(const Upload& upload, const Options& options) {
    complain("the beginning is stored; to go on:\n    kms-blob put --resume " + upload.id() + " " +
             shell_word(options.file));
}

std::string put_text(const Options& options, const Upload& upload) {
    if (!options.json) {
        return upload.id() + '\n';
    }
    const nlohmann::ordered_json json{{"id", upload.id()}, {"size", upload.stored()}};
    return json.dump() + '\n';
}

Exit carry_out(const Options& options, Connection& connection, Input& input) {
    Upload upload(connection, input, options);
    const Status uploaded = options.resume.empty() ? upload.put() : upload.resume(options.resume);
    if (!uploaded) {
        const Exit exit = fail(uploaded.error());
        if (!upload.id().empty()) {
            tell_how_to_go_on(upload, options);
        }
        return exit;
    }
    const Status printed = print(put_text(options, upload));
    return printed ? Exit::done : fail(printed.error());
}

}  // namespace

Exit run_put(const Options& options) {
    auto input = Input::open(options.file);
    if (!input) {
        return fail(input.error());
    }
    auto connection = begin_session(options, OnSignal::end_in_order);
    return connection ? carry_out(options, *connection, *input) : fail(connection.error());
}

}  // namespace kms::blob
