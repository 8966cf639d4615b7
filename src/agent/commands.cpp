#include "agent/commands.hpp"

#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <optional>

#include "agent/keyring/keyring_access.hpp"
#include "agent/keyring/keyring_file_store.hpp"
#include "agent/keyring/unlock_key.hpp"
#include "agent/output.hpp"
#include "agent/service/serve.hpp"
#include "base/escape.hpp"
#include "base/output.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr milliseconds lock_patience{10000};

void complain(std::string_view text) {
    std::fprintf(stderr, "kms-agent: %.*s\n", static_cast<int>(text.size()), text.data());
}

Exit exit_for(Code code) {
    switch (code) {
        case Code::not_found:
            return Exit::not_found;
        case Code::invalid:
        case Code::too_large:
        case Code::denied:
        case Code::disabled:
            return Exit::refused;
        case Code::unavailable:
            return Exit::busy;
        case Code::wrong_key:
            return Exit::unusable;
        default:
            return Exit::failed;
    }
}

Exit fail(const Error& error, Exit code) {
    complain(error.text);
    return code;
}

Exit fail(const Error& error) {
    return fail(error, exit_for(error.code));
}

Exit finish(const std::string& text) {
    if (const Status printed = print(text); !printed) {
        return fail(printed.error(), Exit::failed);
    }
    return Exit::done;
}

// Of a change that is made, whoever hears of it: what failed would be repeated, or cleared away.
Exit tell_done(const std::string& text) {
    if (const Status printed = print(text); !printed) {
        complain("it is done, but cannot be told: " + printed.error().text);
    }
    return Exit::done;
}

OutputFormat format_of(const Options& options) {
    return options.json ? OutputFormat::json : OutputFormat::text;
}

std::unique_ptr<UnlockSource> source_from(const Options& options, const UnlockChoice& choice,
                                          Asking asking) {
    if (!choice.key_file.empty()) {
        return key_file_source(choice.key_file);
    }
    if (!choice.passphrase_command.empty()) {
        return command_source(choice.passphrase_command,
                              std::chrono::seconds(options.passphrase_timeout));
    }
    return terminal_source(asking);
}

std::optional<KernelMemory> memory_from(const Options& options) {
    if (options.remember_for == 0) {
        return std::nullopt;
    }
    // A person at a terminal is asked at once.
    const std::string turns_at = !options.unlock.passphrase_command.empty() ? options.keyring : "";
    return KernelMemory({std::chrono::seconds(options.remember_for), turns_at,
                         std::chrono::seconds(options.passphrase_timeout)},
                        complain);
}

struct BegunKey {
    UnlockKey unlock_key;
    UnlockRecipe recipe;
};

// The unlock key of a keyring to come.
Result<BegunKey> begin_unlock_key(const Options& options, const UnlockChoice& choice) {
    UnlockKey unlock_key(source_from(options, choice, Asking::twice));
    KMS_ASSIGN(const UnlockRecipe recipe, unlock_key.begin());
    return BegunKey{std::move(unlock_key), recipe};
}

UnlockKey unlock_key_from(const Options& options, const UnlockChoice& choice) {
    return UnlockKey(source_from(options, choice, Asking::once), memory_from(options));
}

KeyringAccess access_to(const Options& options) {
    KeyringAccess access(options.keyring, unlock_key_from(options, options.unlock));
    if (options.next_unlock.given()) {
        access.expect(unlock_key_from(options, options.next_unlock));
    }
    return access;
}

std::optional<std::string> identifier_of(const Options& options) {
    if (!options.escaped) {
        return options.key;
    }
    return unescape(Alphabet::identifier, Spelling::lenient, options.key);
}

Exit bad_identifier() {
    complain(
        "a key identifier has 1 to 1024 bytes; with --escaped, all but A-Za-z0-9._/:@- are "
        "written %XX");
    return Exit::usage;
}

using EntryChange = std::function<Result<const KeyringEntry*>(Keyring&, const std::string&)>;

// Opens the keyring once before its lock is taken, so that nobody else waits for a prompt or a
// scrypt; then changes it and prints the version that was changed.
Exit change(const Options& options, const EntryChange& carry_out) {
    const auto key = identifier_of(options);
    if (!key || !check_identifier(*key)) {
        return bad_identifier();
    }
    KeyringAccess access = access_to(options);
    if (const auto opened = access.load(); !opened) {
        return fail(opened.error(), Exit::unusable);
    }
    std::string text;
    const auto written = access.update(
        [&](const KeyringHeader&, Keyring& keyring) -> Status {
            KMS_ASSIGN(const KeyringEntry* entry, carry_out(keyring, *key));
            text = version_text(format_of(options), *key, *entry);
            return {};
        },
        lock_patience);
    return written ? tell_done(text) : fail(written.error());
}

void warn_of_limit(const AlgorithmInfo& info) {
    if (info.random_nonce_limit) {
        complain("warning: one version of a key with " + std::string(info.name) +
                 " may seal at most 2^32 values; rotate it before");
    }
}

}  // namespace

Exit run_serve(const Options& options) {
    KeyringStore in_memory;
    KeyringFileStore in_file(access_to(options));
    if (!options.ephemeral) {
        if (const Status opened = in_file.open(); !opened) {
            complain(opened.error().text);
            const Error reason{Code::unavailable, opened.error().text};
            const Status told = refuse_to_serve(STDIN_FILENO, STDOUT_FILENO, reason);
            return told ? Exit::unusable : fail(told.error(), Exit::unusable);
        }
    }
    KeyStore& store = options.ephemeral ? in_memory : in_file;
    const Status served = serve(STDIN_FILENO, STDOUT_FILENO, store, OfferedVerbs(options.verbs));
    return served ? Exit::done : fail(served.error(), Exit::failed);
}

Exit run_init(const Options& options) {
    if (KeyringFile(options.keyring).exists()) {
        return fail({Code::invalid, options.keyring + " exists already"});
    }
    auto begun = begin_unlock_key(options, options.unlock);
    if (!begun) {
        return fail(begun.error(), Exit::unusable);
    }
    if (const auto settled = begun->unlock_key.settle(begun->recipe); !settled) {
        return fail(settled.error(), Exit::unusable);
    }
    KeyringAccess access(options.keyring, std::move(begun->unlock_key));
    const auto header = access.create(begun->recipe);
    if (!header) {
        return fail(header.error());
    }
    return tell_done(keyring_text(format_of(options), options.keyring, *header));
}

Exit run_create(const Options& options) {
    NewKey wanted;
    wanted.algorithm = algorithm_named(options.algorithm).value_or(default_algorithm);
    wanted.purpose = wire::parse_purpose(options.purpose).value_or(wanted.purpose);
    wanted.no_export = options.no_export;
    wanted.after = options.after;
    SecretBytes imported;
    if (!options.import_from.empty()) {
        auto read = read_import(options.import_from, wanted.algorithm, options.import_form);
        if (!read) {
            return fail(read.error());
        }
        imported = std::move(*read);
        wanted.key = imported.view();
    }
    const Exit created = change(options, [&](Keyring& keyring, const std::string& key) {
        return keyring.create(key, wanted, std::time(nullptr));
    });
    if (created == Exit::done) {
        warn_of_limit(info_of(wanted.algorithm));
    }
    return created;
}

Exit run_list(const Options& options) {
    const auto prefix = identifier_of(options);
    if (!prefix) {
        return bad_identifier();
    }
    const auto opened = access_to(options).load();
    if (!opened) {
        return fail(opened.error(), Exit::unusable);
    }
    return finish(list_text(format_of(options), opened->keyring, *prefix));
}

Exit run_rotate(const Options& options) {
    return change(options, [&](Keyring& keyring, const std::string& key) {
        return keyring.rotate(key, std::time(nullptr), options.after);
    });
}

Exit run_change_state(const Options& options, wire::VersionState state) {
    return change(options, [&](Keyring& keyring, const std::string& key) {
        return keyring.change_state(key, options.version, state);
    });
}

Exit run_rekey(const Options& options) {
    KeyringAccess access = access_to(options);
    if (const auto opened = access.load(); !opened) {
        return fail(opened.error(), Exit::unusable);
    }
    auto begun = begin_unlock_key(options, options.new_unlock);
    if (!begun) {
        return fail(begun.error(), Exit::unusable);
    }
    const auto header = access.rekey(begun->unlock_key, begun->recipe, lock_patience);
    if (!header) {
        return fail(header.error());
    }
    return tell_done(keyring_text(format_of(options), options.keyring, *header));
}

Exit run_forget(const Options&) {
    const auto dropped = KernelMemory::drop_all();
    if (!dropped) {
        return fail(dropped.error());
    }
    return tell_done("forgotten: " + std::to_string(*dropped) + "\n");
}

}  // namespace kms::agent
