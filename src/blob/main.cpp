// kms-blob: encrypted blobs in and out of PostgreSQL. The command line only; see commands.hpp.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <exception>

#include "base/command_line.hpp"
#include "base/key_list.hpp"
#include "base/system.hpp"
#include "blob/commands.hpp"
#include "blob/interruption.hpp"
#include "blob/text.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

constexpr const char* description =
    "kms-blob stores files in PostgreSQL as encrypted blobs of its extension kms, and reads them.\n"
    "The server encrypts and decrypts; keys are bound by its setting kms.keys, or by --key.";

constexpr const char* footer =
    "Example:\n"
    "  kms-blob put -d archive --key documents report.pdf\n"
    "  kms-blob ls -d archive --key documents report\n"
    "  kms-blob get -d archive --key documents ID -o copy.pdf\n"
    "\n"
    "Exit codes:\n"
    "  0  done\n"
    "  1  failed (the connection was lost, the disk is full, an argument that the server\n"
    "     does not take, ...)\n"
    "  2  the command line is wrong\n"
    "  3  no such blob, or it has expired\n"
    "  4  refused: the file exists already, or somebody has made or replaced it meanwhile; it is\n"
    "     not what is stored so far, or has not the range; the blob was changed by somebody else\n"
    "  5  the key cannot be used, or the blob is damaged or was sealed under another key\n";

class CommandLine {
  public:
    CommandLine() : app_(description, "kms-blob") {
        app_.set_help_flag("-?,--help", "Print this help message and exit");
        app_.set_version_flag("--version", "kms-blob " KMS_VERSION);
        app_.require_subcommand(1);
        app_.fallthrough();
        app_.footer(footer);
        app_.get_formatter()->column_width(34);
        show_lines_as_written(app_);
        connection_options();
        put_command();
        get_command();
        cat_command();
        list_command();
        id_command("info", "Show what is known of a blob", run_info, 1);
        id_command("rm", "Delete blobs", run_remove, any_number);
        id_command("verify", "Authenticate all of a blob, and show its SHA-256", run_verify,
                   any_number);
        add("rewrap", "Bring all blobs of the key to its current version", run_rewrap);
    }

    int run(int argc, char** argv) {
        try {
            parse_words(app_, argc, argv);
            check_output();
            check_input();
        } catch (const CLI::ParseError& error) {
            return app_.exit(error) == 0 ? 0 : static_cast<int>(Exit::usage);
        }
        const Exit exit = chosen_(options_);
        if (caught_signal() != 0) {
            die_of_caught_signal();
        }
        return static_cast<int>(exit);
    }

  private:
    using Command = Exit (*)(const Options&);
    static constexpr int any_number = 0;

    void connection_options() {
        Target& target = options_.target;
        constexpr const char* group = "Connection (and libpq's environment variables)";
        app_.add_option("-h,--host", target.host, "The server's host or socket folder")
            ->group(group);
        app_.add_option("-p,--port", target.port, "The server's port")->group(group);
        app_.add_option("-U,--username", target.user, "The user to connect as")->group(group);
        app_.add_option("-d,--dbname", target.database,
                        "The database, or a connection string or URI")
            ->group(group);
        app_.add_option("--sslmode", target.sslmode, "As libpq's: whether to use TLS")
            ->check(CLI::IsMember(
                {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}))
            ->group(group);
        auto* never = app_.add_flag_callback(
            "-w,--no-password", [this] { options_.target.password = Password::never; },
            "Never ask for a password");
        auto* first = app_.add_flag_callback(
            "-W,--password", [this] { options_.target.password = Password::first; },
            "Ask for a password before connecting");
        never->group(group)->excludes(first);
        first->group(group);
        app_.add_option("--local-id", options_.local_id,
                        "The local id that the key is bound to; 1 unless given")
            ->check(number_up_to(max_local_id));
        app_.add_option("--key", options_.key, "Bind this key to the local id first");
        app_.add_flag("--json", options_.json, "Print JSON");
        app_.add_flag("-q,--quiet", options_.quiet, "No progress bar");
    }

    CLI::App* add(const std::string& name, const std::string& purpose, Command carry_out) {
        CLI::App* command = app_.add_subcommand(name, purpose);
        command->callback([this, carry_out] { chosen_ = carry_out; });
        return command;
    }

    void id_command(const std::string& name, const std::string& purpose, Command carry_out,
                    int count) {
        ids_option(add(name, purpose, carry_out), count);
    }

    void ids_option(CLI::App* command, int count) {
        auto* option = command->add_option("id", options_.ids, "The blob's id")->required();
        option->type_name("ID");
        if (count != any_number) {
            option->expected(count);
        }
    }

    void put_command() {
        CLI::App* command = add("put", "Store a file as a blob, and print the blob's id", run_put);
        command->add_option("file", options_.file, "The file; - is the standard input")->required();
        auto* resume = command
                           ->add_option("--resume", options_.resume,
                                        "Go on with the blob of this id, of which a part of the\n"
                                        "file is stored")
                           ->check(not_empty());
        const auto describe = [&](const char* name, std::optional<std::string>& value,
                                  const char* purpose) {
            command->add_option(name, value, purpose)->excludes(resume);
        };
        describe("--name", options_.name, "The blob's name; the file's own unless given");
        describe("--type", options_.type, "Its content type, such as image/png");
        describe("--metadata", options_.metadata, "JSON to store with it");
        describe("--expire-in", options_.expire_in, "How long it is kept, such as '90 days'");
        const auto describe_from = [&](const char* name, std::string& path, const char* direct) {
            command
                ->add_option(name, path,
                             "The file that has it, or -: other users can see words\n"
                             "of a command line")
                ->check(not_empty())
                ->excludes(resume)
                ->excludes(command->get_option(direct));
        };
        describe_from("--name-from", options_.name_from, "--name");
        describe_from("--metadata-from", options_.metadata_from, "--metadata");
    }

    void get_command() {
        CLI::App* command = add("get", "Write a blob, or a part of it, to a file", run_get);
        ids_option(command, 1);
        command
            ->add_option_function<std::string>(
                "-o,--output",
                [this](const std::string& path) { options_.file = path == "-" ? "" : path; },
                "The file, which appears when it is complete;\nthe standard output unless given")
            ->check(not_empty());
        command->add_flag("--force", options_.force, "Replace the file if it is there");
        command->add_option_function<std::string>(
            "--range", [this](const std::string& text) { set_range(text); },
            "START-END, both counted from 0 and included, or START-");
    }

    void cat_command() {
        ids_option(add("cat", "Write blobs to the standard output", run_get), any_number);
    }

    void list_command() {
        CLI::App* command = add("ls", "List the blobs that the session has the keys of", run_list);
        auto* prefix =
            command->add_option("prefix", options_.prefix, "Only those whose names begin so");
        command->add_option("--prefix-from", options_.prefix_from, "The file that has it, or -")
            ->check(not_empty())
            ->excludes(prefix);
    }

    void set_range(const std::string& text) {
        options_.range = parse_range(text);
        if (!options_.range) {
            throw CLI::ValidationError("--range", "not START-END or START-: " + text);
        }
    }

    void check_output() {
        if (app_.got_subcommand("get") && options_.json && options_.file.empty()) {
            throw CLI::RequiredError("--output, beside --json,");
        }
        if (app_.got_subcommand("get") && options_.json && !is_utf8(options_.file)) {
            throw CLI::ValidationError("--output", "beside --json, must be UTF-8");
        }
    }

    // Standard input has one thing.
    void check_input() {
        const std::array sources{options_.name_from, options_.metadata_from, options_.file};
        if (app_.got_subcommand("put") && std::ranges::count(sources, "-") > 1) {
            throw CLI::ValidationError("-",
                                       "only one of the file, --name-from and --metadata-from "
                                       "can be the standard input");
        }
    }

    CLI::App app_;
    Options options_;
    Command chosen_ = nullptr;
};

int run(int argc, char** argv) {
    // A file that grows beyond its limit is an error of write().
    std::signal(SIGXFSZ, SIG_IGN);
    for (const Status& prepared : {open_standard_descriptors(), forbid_dumps()}) {
        if (!prepared) {
            return static_cast<int>(fail(prepared.error()));
        }
    }
    return CommandLine().run(argc, argv);
}

}  // namespace
}  // namespace kms::blob

int main(int argc, char** argv) {
    try {
        return kms::blob::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "kms-blob: %s\n", error.what());
        return static_cast<int>(kms::blob::Exit::failed);
    }
}
