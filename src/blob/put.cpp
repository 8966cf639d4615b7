// kms-blob put
#include <algorithm>

#include <nlohmann/json.hpp>

#include "blob/commands.hpp"
#include "blob/report.hpp"
#include "blob/session.hpp"
#include "blob/text.hpp"
#include "blob/upload.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// A connection string may have a password in it.
std::string shown_database(const std::string& database) {
    const bool is_name =
        database.find('=') == std::string::npos && database.find("://") == std::string::npos;
    return is_name ? shell_word(database) : "CONNECTION-STRING";
}

std::string with_option(const char* name, const std::string& value) {
    return value.empty() ? "" : std::string(name) + " " + shell_word(value) + " ";
}

// Of what was given, what is needed to reach the blob.
std::string resume_command(const std::string& id, const Options& options) {
    const Target& target = options.target;
    std::string command = "kms-blob put --resume " + id + " " + with_option("-h", target.host) +
                          with_option("-p", target.port) + with_option("-U", target.user);
    if (!target.database.empty()) {
        command += "-d " + shown_database(target.database) + " ";
    }
    command += with_option("--sslmode", target.sslmode);
    if (options.key) {
        command += with_option("--local-id", std::to_string(options.local_id)) +
                   with_option("--key", *options.key);
    }
    const bool looks_like_option = options.file.starts_with('-') && options.file != "-";
    return command + shell_word((looks_like_option ? "./" : "") + options.file);
}

void tell_how_to_go_on(const Upload& upload, const Options& options) {
    if (upload.beginning() == Upload::Beginning::gone) {
        return;
    }
    if (upload.beginning() == Upload::Beginning::unnamed) {
        complain(
            "the blob may be stored, and its id has not arrived: see kms-blob ls before you "
            "put it again");
        return;
    }
    complain(std::string(upload.beginning() == Upload::Beginning::stored
                             ? "the beginning is stored; to go on:"
                             : "the beginning may be stored; to see, and to go on if it is:") +
             "\n    " + resume_command(upload.id(), options));
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
        tell_how_to_go_on(upload, options);
        return exit;
    }
    const Status printed = tell_done(put_text(options, upload));
    if (!printed) {
        const Exit exit = fail(printed.error());
        complain("the blob is stored, and its id is " + upload.id());
        return exit;
    }
    return Exit::done;
}

constexpr int most_nested = 1000;  // levels of metadata: the server's parser uses its stack

bool has_zero(const std::string& text) {
    return text.find('\0') != std::string::npos;
}

// jsonb has no such character.
bool has_zero(const nlohmann::json& json) {
    if (json.is_object()) {
        return std::ranges::any_of(json.items(), [](const auto& item) {
            return has_zero(item.key()) || has_zero(item.value());
        });
    }
    return json.is_array()
               ? std::ranges::any_of(json, [](const auto& item) { return has_zero(item); })
               : json.is_string() && has_zero(json.get_ref<const std::string&>());
}

// The server would quote it in its error, and in its log.
Status check_metadata(const std::optional<std::string>& metadata) {
    constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
    if (!metadata) {
        return {};
    }
    bool is_deep = false;
    const auto leave_out_what_is_deep = [&](int depth, auto, const auto&) {
        is_deep = is_deep || depth > most_nested;
        return depth <= most_nested;
    };
    const auto json = nlohmann::json::parse(*metadata, leave_out_what_is_deep, false);
    if (is_deep) {
        return Error{Code::invalid, "the metadata is nested more than " +
                                        std::to_string(most_nested) + " levels deep"};
    }
    if (json.is_discarded() || metadata->starts_with(byte_order_mark) || has_zero(json)) {
        return Error{Code::invalid, "the metadata is not JSON that PostgreSQL stores"};
    }
    return {};
}

Result<Options> with_words(Options options) {
    if (!options.name_from.empty()) {
        KMS_ASSIGN(options.name, read_words(options.name_from));
    }
    if (!options.metadata_from.empty()) {
        KMS_ASSIGN(options.metadata, read_words(options.metadata_from));
    }
    KMS_TRY(check_metadata(options.metadata));
    return options;
}

Exit put(const Options& options) {
    auto input = Input::open(options.file);
    if (!input) {
        return fail(input.error());
    }
    auto connection = begin_session(options, OnSignal::end_in_order);
    if (!connection) {
        return fail(connection.error());
    }
    const char* first = options.resume.empty() ? "blob_put" : "blob_verify,blob_meta";
    const auto functions = std::string(first) + ",blob_append,blob_set_meta";
    if (const Status may = check_rights(*connection, functions.c_str()); !may) {
        return fail(may.error());
    }
    return carry_out(options, *connection, *input);
}

}  // namespace

Exit run_put(const Options& options) {
    const auto complete = with_words(options);
    return complete ? put(*complete) : fail(complete.error());
}

}  // namespace kms::blob
