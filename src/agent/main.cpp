// kms-agent: serves and administers keyring files. The command line only; see commands.hpp.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <vector>

#include "agent/commands.hpp"
#include "agent/given_files.hpp"
#include "agent/keyring/process.hpp"
#include "base/command_line.hpp"
#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr const char* description =
    "kms-agent keeps data keys in an encrypted keyring file and serves them to PostgreSQL's\n"
    "extension kms, which starts it by the setting kms.command.";

constexpr const char* example =
    "Example:\n"
    "  export KMS_KEYRING=/srv/keys/ring KMS_KEY_FILE=/srv/unlock/ring.key\n"
    "  kms-agent init\n"
    "  kms-agent create customers\n"
    "  kms-agent serve --keyring /srv/keys/ring --key-file /srv/unlock/ring.key\n"
    "\n";

constexpr const char* exit_codes =
    "Exit codes:\n"
    "  0  done\n"
    "  1  failed (a full disk, a broken connection, ...)\n"
    "  2  the command line is wrong, or names one file for two things\n"
    "  3  no such key or version\n"
    "  4  refused: it exists already, the version is destroyed, the key to import does not fit,\n"
    "     is weak, ambiguous or there already, or others can read its file\n"
    "  5  the keyring cannot be opened: missing, not of mode 0600, damaged, the wrong key file\n"
    "     or passphrase\n"
    "  6  busy: another process holds the keyring's lock\n";

// An agent's next key file may be its first: a rekey ends so.
Status check_files(const Options& options) {
    const GivenFile key_file{"--key-file", options.unlock.key_file};
    const GivenFile new_key_file{"--new-key-file", options.new_unlock.key_file};
    const GivenFile import_from{"--import", options.import_from == "-" ? "" : options.import_from};
    KMS_TRY(check_differs(
        {"--keyring", options.keyring},
        {key_file, new_key_file, import_from, {"--next-key-file", options.next_unlock.key_file}}));
    return check_differs(key_file, {new_key_file, import_from});
}

class CommandLine {
  public:
    CommandLine() : app_(description, "kms-agent") {
        app_.set_version_flag("--version", "kms-agent " KMS_VERSION);
        app_.require_subcommand(1);
        app_.set_help_flag("-?,--help", "Print this help message and exit");
        app_.footer(std::string(example) + exit_codes);
        app_.get_formatter()->column_width(34);
        show_lines_as_written(app_);
        add("serve", "Speak kms/1 on standard input and output",
            " --keyring /srv/keys/ring --key-file /srv/unlock/ring.key", &Self::serve_options,
            run_serve);
        add("init", "Make an empty keyring, and its key file where that is missing",
            " --keyring /srv/keys/ring --key-file /srv/unlock/ring.key", &Self::keyring_options,
            run_init);
        add("create", "Make a key at random, or import one",
            " customers\n  kms-agent create --purpose wrap main\n"
            "  kms-agent create --import customers.hex --hex customers",
            &Self::create_options, run_create);
        add("list", "Show the keys and their versions, never the keys' bytes",
            "\n  kms-agent list --json cust", &Self::list_options, run_list);
        add("rotate", "Make a new version of a key and use it from now on", " customers",
            &Self::rotate_options, run_rotate);
        add_change("enable", "Let a disabled version be used again", wire::VersionState::enabled);
        add_change("disable", "Refuse the use of a version until it is enabled",
                   wire::VersionState::disabled);
        add_change("destroy", "Wipe a version's key for ever; what it sealed is lost",
                   wire::VersionState::destroyed);
        add("rekey", "Protect the keyring by another key file or passphrase",
            " --new-key-file /srv/unlock/next.key", &Self::rekey_options, run_rekey);
        add("forget", "Drop what serve --remember-for keeps for this user, of every keyring", "",
            &Self::no_options, run_forget);
    }

    int run(int argc, char** argv) {
        try {
            parse_words(app_, argc, argv);
        } catch (const CLI::ParseError& error) {
            return app_.exit(error) == 0 ? 0 : static_cast<int>(Exit::usage);
        }
        if (const Status differ = check_files(options_); !differ) {
            std::fprintf(stderr, "kms-agent: %s\n", differ.error().text.c_str());
            return static_cast<int>(Exit::usage);
        }
        return static_cast<int>(run_(options_));
    }

  private:
    using Self = CommandLine;
    using Run = std::function<Exit(const Options&)>;

    // The options of a subcommand are made when it is named: those of all the others would be half
    // of the time that a session waits for this program's own code.
    void add(const std::string& name, const std::string& purpose, const char* shown_words,
             void (Self::*add_options)(CLI::App*), const Run& run) {
        CLI::App* command = app_.add_subcommand(name, purpose);
        command->preparse_callback([this, command, name, shown_words, add_options](std::size_t) {
            command->footer("Example:\n  kms-agent " + name + shown_words + "\n\n" + exit_codes);
            (this->*add_options)(command);
        });
        command->callback([this, run] { run_ = run; });
    }

    void add_change(const std::string& name, const std::string& purpose, wire::VersionState state) {
        add(name, purpose, " customers 1", &Self::change_options,
            [state](const Options& options) { return run_change_state(options, state); });
    }

    void no_options(CLI::App*) {}

    static CLI::Option* add_words(CLI::App* command, const char* name, std::string& words,
                                  const char* purpose) {
        return command->add_option(name, words, purpose)->check(not_empty());
    }

    // Returns --key-file.
    CLI::Option* unlock_options(CLI::App* command) {
        auto* file = add_words(command, "--key-file", options_.unlock.key_file,
                               "File of 32 bytes: the key that protects the keyring");
        add_words(command, "--passphrase-command", options_.unlock.passphrase_command,
                  "Shell command that prints the passphrase that protects the keyring.\n"
                  "Without either option the passphrase is asked for on the terminal")
            ->excludes(file);
        command
            ->add_option("--passphrase-timeout", options_.passphrase_timeout,
                         "Seconds that a passphrase command may take before it is killed")
            ->check(number_up_to(3600))
            ->default_str(std::to_string(options_.passphrase_timeout));
        return file;
    }

    // What administers a keyring takes both files from the environment too. The server's own
    // environment has no say in what serves it.
    void keyring_options(CLI::App* command) {
        add_words(command, "--keyring", options_.keyring, "The keyring file")
            ->envname("KMS_KEYRING")
            ->required();
        unlock_options(command)->description(
            "File of 32 bytes: the key that protects the keyring;\n"
            "KMS_KEY_FILE unless this or a passphrase command is given");
        command->parse_complete_callback([this] { take_key_file_of_environment(); });
        command->add_flag("--json", options_.json, "Print JSON");
    }

    void take_key_file_of_environment() {
        const char* const path = std::getenv("KMS_KEY_FILE");
        if (path != nullptr && !options_.unlock.given()) {
            options_.unlock.key_file = path;
        }
    }

    void key_option(CLI::App* command, const char* name, const char* purpose) {
        command->add_option(name, options_.key, purpose)->required();
        escaped_option(command);
    }

    void escaped_option(CLI::App* command) {
        command->add_flag("--escaped", options_.escaped,
                          "The identifier is written as list prints it: all bytes but\n"
                          "A-Za-z0-9._/:@- as %XX");
    }

    void serve_options(CLI::App* command) {
        auto* keyring = add_words(command, "--keyring", options_.keyring, "The keyring file");
        auto* key_file = unlock_options(command);
        command
            ->add_option("--remember-for", options_.remember_for,
                         "Seconds for which the kernel keeps what is derived from the passphrase,\n"
                         "for this user's next agents; at most a day")
            ->excludes(key_file)
            ->check(number_up_to(86400));
        auto* next_file = add_words(command, "--next-key-file", options_.next_unlock.key_file,
                                    "The key file that a rekey leads to, where the first "
                                    "does not\nopen the keyring");
        add_words(command, "--next-passphrase-command", options_.next_unlock.passphrase_command,
                  "The passphrase command that a rekey leads to")
            ->excludes(next_file);
        std::vector<std::string> names(OfferedVerbs::names().begin(), OfferedVerbs::names().end());
        command
            ->add_option(
                "--verbs", options_.verbs,
                "Offer these verbs of kms/1 alone, with commas between them: for envelope\n"
                "mode wrap,unwrap,describe")
            ->delimiter(',')
            ->check(CLI::IsMember(names));
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

    void create_options(CLI::App* command) {
        keyring_options(command);
        key_option(command, "id", "The new key's identifier");
        std::vector<std::string> names;
        for (const AlgorithmInfo& info : all_algorithms()) {
            names.emplace_back(info.name);
        }
        command->add_option("--algorithm", options_.algorithm, "What the key is for")
            ->check(CLI::IsMember(names))
            ->default_str(std::string(info_of(default_algorithm).name));
        command
            ->add_option("--purpose", options_.purpose,
                         "seal: encrypts values, and wraps the keys of blobs;\n"
                         "wrap: wraps other keys (as a KEK), does nothing else and never leaves")
            ->check(CLI::IsMember({std::string(wire::purpose_word(wire::Purpose::seal)),
                                   std::string(wire::purpose_word(wire::Purpose::wrap))}))
            ->default_str(std::string(wire::purpose_word(wire::Purpose::seal)));
        command->add_flag("--no-export", options_.no_export,
                          "The key never leaves the agent: remote mode only");
        after_option(command);
        auto* from = add_words(command, "--import", options_.import_from,
                               "File with the key, raw or in hex; - is the standard input");
        auto* hex = command->add_flag_callback(
            "--hex", [this] { options_.import_form = ImportForm::hex; },
            "The key to import is written in hex");
        auto* raw = command->add_flag_callback(
            "--raw", [this] { options_.import_form = ImportForm::raw; },
            "The key to import is the file's bytes, even if they look like text");
        hex->needs(from)->excludes(raw);
        raw->needs(from);
    }

    void list_options(CLI::App* command) {
        keyring_options(command);
        command->add_option("prefix", options_.key, "Only keys whose identifiers begin so");
        escaped_option(command);
    }

    void after_option(CLI::App* command) {
        command
            ->add_option(
                "--after", options_.after,
                "The highest number that a version of the key had before an older keyring\n"
                "was put back: the new one's is above it")
            ->check(number_up_to(wire::max_version));
    }

    void rotate_options(CLI::App* command) {
        keyring_options(command);
        key_option(command, "id", "The key's identifier");
        after_option(command);
    }

    void change_options(CLI::App* command) {
        keyring_options(command);
        key_option(command, "id", "The key's identifier");
        command->add_option("version", options_.version, "The version's number")
            ->required()
            ->check(number_up_to(wire::max_version));
    }

    void rekey_options(CLI::App* command) {
        keyring_options(command);
        auto* file = add_words(command, "--new-key-file", options_.new_unlock.key_file,
                               "The new key file; made where it is missing");
        add_words(command, "--new-passphrase-command", options_.new_unlock.passphrase_command,
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
