// kms-blob put
#include <algorithm>

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
             "\n    kms-blob put --resume " + upload.id() + " " + shell_word(options.file));
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
    const Status printed = print(put_text(options, upload));
    return printed ? Exit::done : fail(printed.error());
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
    return connection ? carry_out(options, *connection, *input) : fail(connection.error());
}

}  // namespace

Exit run_put(const Options& options) {
    const auto complete = with_words(options);
    return complete ? put(*complete) : fail(complete.error());
}

}  // namespace kms::blob
