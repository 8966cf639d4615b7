// kms-agent: serves and administers keyring files. The command line only; see commands.hpp.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <vector>

#include "agent/commands.hpp"
#include "agent/process.hpp"
#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr const char* description =
    "kms-agent keeps data keys in an encrypted keyring file and serves them to PostgreSQL's\n"
    "extension kms, which starts it by the setting kms.command.";

constexpr const char* footer =
    "Example:\n"
    "  kms-agent init   --keyring /srv/keys/ring --key-file /srv/keys/kek\n"
    "  kms-agent create --keyring /srv/keys/ring --key-file /srv/keys/kek customers\n"
    "  kms-agent serve  --keyring /srv/keys/ring --key-file /srv/keys/kek\n"
    "\n"
    "Exit codes:\n"
    "  0  done\n"
    "  1  failed (a full disk, a broken connection, ...)\n"
    "  2  the command line is wrong\n"
    "  3  no such key or version\n"
    "  4  refused: it exists already, the key to import does not fit or is there already,\n"
    "     the version is destroyed\n"
    "  5  the keyring cannot be opened: missing, not of mode 0600, damaged, the wrong key file\n"
    "     or passphrase\n"
    "  6  busy: another process holds the keyring's lock\n";

using Run = std::function<Exit()>;

class CommandLine {
  public:
    CommandLine() : app_(description, "kms-agent") {
        app_.set_version_flag("--version", "kms-agent " KMS_VERSION);
        app_.require_subcommand(1);
        app_.footer(footer);
        app_.get_formatter()->column_width(34);
        add_serve();
        add_init();
        add_create();
        add_list();
        add_rotate();
        add_change("enable", "Let a disabled version be used again", wire::VersionState::enabled);
        add_change("disable", "Refuse the use of a version until it is enabled",
                   wire::VersionState::disabled);
        add_change("destroy", "Wipe a version's key for ever; what it sealed is lost",
                   wire::VersionState::destroyed);
        add_rekey();
    }

    int run(int argc, char** argv) {
        try {
            app_.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app_.exit(error) == 0 ? 0 : static_cast<int>(Exit::usage);
        }
        return static_cast<int>(run_());
    }

  private:
    CLI::App* add(const std::string& name, const std::string& purpose, const Run& run) {
        CLI::App* command = app_.add_subcommand(name, purpose);
        command->callback([this, run] { run_ = run; });
        return command;
    }

    void add_kek(CLI::App* command) {
        auto* file = command->add_option("--key-file", options_.kek.key_file,
                                         "File of 32 bytes: the key that protects the keyring");
        command
            ->add_option("--passphrase-command", options_.kek.passphrase_command,
                         "Shell command that prints the passphrase that protects the keyring.\n"
                         "Without either option the passphrase is asked for on the terminal")
            ->excludes(file);
    }

    void add_keyring(CLI::App* command) {
        command->add_option("--keyring", options_.keyring, "The keyring file")->required();
        add_kek(command);
        command->add_flag("--json", options_.json, "Print JSON");
    }

    void add_key(CLI::App* command, const char* name, const char* purpose) {
        command->add_option(name, options_.key, purpose)->required();
        add_escaped(command);
    }

    void add_escaped(CLI::App* command) {
        command->add_flag("--escaped", options_.escaped,
                          "The identifier is written as list prints it: all bytes but\n"
                          "A-Za-z0-9._/:@- as %XX");
    }

    void add_serve() {
        CLI::App* command = add("serve", "Speak kms/1 on standard input and output",
                                [this] { return run_serve(options_); });
        auto* keyring = command->add_option("--keyring", options_.keyring, "The keyring file");
        add_kek(command);
        command
            ->add_flag("--ephemeral", options_.ephemeral,
                       "For trials and tests: an empty keyring in memory, gone at the end")
            ->excludes(keyring);
        command->parse_complete_callback([this, keyring] {
            if (!options_.ephemeral && keyring->empty()) {
                throw CLI::RequiredError("--keyring");
            }
        });
    }

    void add_init() {
        CLI::App* command =
            add("init", "Make an empty keyring, and its key file where that is missing",
                [this] { return run_init(options_); });
        add_keyring(command);
    }

    void add_create() {
        CLI::App* command = add("create", "Make a key at random, or import one",
                                [this] { return run_create(options_); });
        add_keyring(command);
        add_key(command, "id", "The new key's identifier");
        std::vector<std::string> names;
        for (const AlgorithmInfo& info : all_algorithms()) {
            names.emplace_back(info.name);
        }
        command->add_option("--algorithm", options_.algorithm, "What the key is for")
            ->check(CLI::IsMember(names))
            ->default_str(std::string(info_of(default_algorithm).name));
        command->add_flag("--no-export", options_.no_export,
                          "The key never leaves the agent: remote mode only");
        command->add_option("--import", options_.import_from,
                            "File with the key, raw or in hex; - is the standard input");
    }

    void add_list() {
        CLI::App* command = add("list", "Show the keys and their versions, never the keys' bytes",
                                [this] { return run_list(options_); });
        add_keyring(command);
        command->add_option("prefix", options_.key, "Only keys whose identifiers begin so");
        add_escaped(command);
    }

    void add_rotate() {
        CLI::App* command = add("rotate", "Make a new version of a key and use it from now on",
                                [this] { return run_rotate(options_); });
        add_keyring(command);
        add_key(command, "id", "The key's identifier");
    }

    void add_change(const char* name, const char* purpose, wire::VersionState state) {
        CLI::App* command =
            add(name, purpose, [this, state] { return run_change_state(options_, state); });
        add_keyring(command);
        add_key(command, "id", "The key's identifier");
        command->add_option("version", options_.version, "The version's number")
            ->required()
            ->check(CLI::Range(std::uint32_t{1}, static_cast<std::uint32_t>(wire::max_version)));
    }

    void add_rekey() {
        CLI::App* command = add("rekey", "Protect the keyring by another key file or passphrase",
                                [this] { return run_rekey(options_); });
        add_keyring(command);
        auto* file = command->add_option("--new-key-file", options_.new_kek.key_file,
                                         "The new key file; made where it is missing");
        command
            ->add_option("--new-passphrase-command", options_.new_kek.passphrase_command,
                         "Shell command that prints the new passphrase. Without either option\n"
                         "it is asked for on the terminal")
            ->excludes(file);
    }

    CLI::App app_;
    Options options_;
    Run run_;
};

int run(int argc, char** argv) {
    if (const Status prepared = prepare_process(); !prepared) {
        std::fprintf(stderr, "kms-agent: %s\n", prepared.error().text.c_str());
        return static_cast<int>(Exit::failed);
    }
    return CommandLine().run(argc, argv);
}

}  // namespace
}  // namespace kms::agent

int main(int argc, char** argv) {
    try {
        return kms::agent::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "kms-agent: %s\n", error.what());
        return static_cast<int>(kms::agent::Exit::failed);
    }
}
