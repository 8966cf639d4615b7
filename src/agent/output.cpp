#include "agent/output.hpp"

#include <nlohmann/json.hpp>
#include <vector>

#include "base/escape.hpp"
#include "base/hex.hpp"
#include "base/output.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

using Json = nlohmann::ordered_json;

std::string name_of(std::string_view key) {
    return escape(Alphabet::identifier, bytes_of(key));
}

std::string time_of(std::int64_t seconds) {
    std::string text;
    wire::append_time(text, seconds);
    return text;
}

Json to_json(std::string_view key, const KeyringEntry& entry) {
    return {{"key", name_of(key)},
            {"version", entry.version},
            {"algorithm", info_of(entry.algorithm).name},
            {"tag", wire::tag_word(entry.tag)},
            {"state", wire::state_word(entry.state)},
            {"purpose", wire::purpose_word(entry.purpose)},
            {"no_export", entry.no_export},
            {"created", time_of(entry.created)}};
}

TableRow to_row(std::string_view key, const KeyringEntry& entry) {
    return {name_of(key),
            std::to_string(entry.version),
            std::string(info_of(entry.algorithm).name),
            wire::tag_word(entry.tag),
            std::string(wire::state_word(entry.state)),
            std::string(wire::purpose_word(entry.purpose)),
            entry.no_export ? "no" : "yes",
            time_of(entry.created)};
}

std::string line_of(const Json& json) {
    return json.dump() + '\n';
}

template <typename Visit>
void for_each_version(const Keyring& keyring, std::string_view prefix, Visit visit) {
    const auto [first, last] = keyring.with_prefix(prefix);
    for (auto key = first; key != last; ++key) {
        for (const KeyringEntry& entry : key->second) {
            visit(key->first, entry);
        }
    }
}

}  // namespace

std::string list_text(OutputFormat format, const Keyring& keyring, std::string_view prefix) {
    if (format == OutputFormat::json) {
        Json list = Json::array();
        for_each_version(keyring, prefix, [&](std::string_view key, const KeyringEntry& entry) {
            list.push_back(to_json(key, entry));
        });
        return line_of(list);
    }
    std::vector<TableRow> rows{
        {"KEY", "VERSION", "ALGORITHM", "TAG", "STATE", "PURPOSE", "EXPORT", "CREATED"}};
    for_each_version(keyring, prefix, [&](std::string_view key, const KeyringEntry& entry) {
        rows.push_back(to_row(key, entry));
    });
    return aligned(rows);
}

std::string version_text(OutputFormat format, std::string_view key, const KeyringEntry& entry) {
    if (format == OutputFormat::json) {
        return line_of(to_json(key, entry));
    }
    return name_of(key) + ": version " + std::to_string(entry.version) + ", " +
           std::string(info_of(entry.algorithm).name) + ", tag " + wire::tag_word(entry.tag) +
           ", " + std::string(wire::state_word(entry.state)) + ", to " +
           std::string(wire::purpose_word(entry.purpose)) +
           (entry.no_export ? ", never leaves" : "") + '\n';
}

std::string keyring_text(OutputFormat format, const std::string& path,
                         const KeyringHeader& header) {
    const bool key_file = header.recipe.kdf == Kdf::key_file;
    if (format == OutputFormat::json) {
        return line_of({{"keyring", escape(Alphabet::identifier, bytes_of(path))},
                        {"id", to_hex(header.id)},
                        {"generation", header.generation},
                        {"protection", key_file ? "key-file" : "passphrase"}});
    }
    return "keyring " + path + ": generation " + std::to_string(header.generation) +
           ", protected by a " + (key_file ? "key file" : "passphrase") + '\n';
}

}  // namespace kms::agent
