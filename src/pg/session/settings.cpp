#include "pg/session/settings.hpp"

#include <algorithm>
#include <climits>
#include <variant>

#include "pg/server/pg.hpp"

namespace kms::pg {
namespace {

constexpr const char* keys_name = "kms.keys";
constexpr int no_end = -1;
constexpr int most_ttl = INT_MAX / 1000;  // seconds whose milliseconds fit a timer

// Each has its default once the library has defined it.
char* command_value;
int mode_value;
char* keys_value;
int start_timeout_value;
int request_timeout_value;
int cache_ttl_value;
int max_cached_keys_value;
int max_age_value;
bool allow_drop_value;
int blob_keys_value;

const KeyList no_keys{0, true};
const KeyList* current_keys = &no_keys;
std::uint64_t generation = 0;

// While the library defines its settings it takes over values that were set before it was loaded
// and that no check could refuse.
bool loading = false;

const config_enum_entry mode_options[] = {
    {"local", static_cast<int>(Mode::local), false},
    {"remote", static_cast<int>(Mode::remote), false},
    {"envelope", static_cast<int>(Mode::envelope), false},
    {"refused", static_cast<int>(Mode::refused), true},
    {nullptr, 0, false},
};

const config_enum_entry blob_keys_options[] = {
    {"session", static_cast<int>(BlobKeysAt::session), false},
    {"agent", static_cast<int>(BlobKeysAt::agent), false},
    {nullptr, 0, false},
};

// The setting that was refused where this process has loaded the library itself.
const char* refused_name = nullptr;

bool is_default_at_login(const char* name) {
    const config_generic* setting = find_setting(name);
    return setting == nullptr || setting->reset_source == PGC_S_DEFAULT;
}

// Parallel workers have a login of their own, but take the mode from their leader.
void refuse() {
    (void)set_config_option("kms.mode", "refused", PGC_SUSET, PGC_S_OVERRIDE, GUC_ACTION_SET, true,
                            0, false);
}

// A login's setting cannot be refused without losing the login, and a refused one would leave
// another binding in force: so it is taken, as a list that binds nothing.
bool refusable(GucSource source) {
    const bool at_login = source >= PGC_S_GLOBAL && source <= PGC_S_DATABASE_USER;
    return !loading && !at_login && !IsParallelWorker();
}

bool explain(const KeyListProblem& problem) {
    GUC_check_errcode(ERRCODE_INVALID_PARAMETER_VALUE);
    GUC_check_errdetail("At byte %zu: %s.", problem.position + 1, problem.what);
    GUC_check_errhint(
        "Write bindings as \"1=customer-pii, 2=a%%2Cb\", every byte of an identifier outside "
        "A-Za-z0-9._/:@- as %%XX.");
    return false;
}

bool check_keys(char** value, void** extra, GucSource source) {
    const std::string_view text = *value != nullptr ? *value : "";
    void* block = allocate_extra(key_list_size(text));
    if (block == nullptr) {
        return false;
    }
    const auto problem = parse_key_list(text, block);
    if (problem && refusable(source)) {
        free_extra(block);
        return explain(*problem);
    }
    *extra = block;
    return true;
}

void assign_keys(const char* /*value*/, void* extra) {
    current_keys = extra != nullptr ? static_cast<const KeyList*>(extra) : &no_keys;
    ++generation;
}

void note_number(int /*value*/, void* /*extra*/) {
    ++generation;
}

void note_text(const char* /*value*/, void* /*extra*/) {
    ++generation;
}

// Less than half a second is 0, and is not to become the opposite of what was asked for.
bool check_ttl(int* value, void** /*extra*/, GucSource /*source*/) {
    if (*value == 0) {
        GUC_check_errdetail("It is one second or more; -1 holds keys until the session ends.");
    }
    return *value != 0;
}

// A worker may be the first of its query to load the library, in the middle of it, where a setting
// would be refused the value that the leader has sent.
constexpr int at_load = settable_in_parallel;

struct Text {
    char** value;
    const char* by_default;
    GucStringCheckHook check;
    GucStringAssignHook assign;
};

struct Number {
    int* value;
    int by_default;
    int least;
    int most;
    GucIntCheckHook check;
    GucIntAssignHook assign;
};

struct Choice {
    int* value;
    const config_enum_entry* options;  // the first is the default
    GucEnumAssignHook assign;
};

struct Flag {
    bool* value;
    bool by_default;
};

// What becomes of one that a login brings before the library is loaded, and whose role may not set
// it, or that the server has a wrong value of: PostgreSQL refuses it at load and takes our default,
// and not the value that the server or the superuser wanted.
enum class Refused { ends_use, is_harmless };

struct Setting {
    const char* name;
    std::variant<Text, Number, Choice, Flag> value;
    GucContext who;
    int flags;
    Refused refused;
    const char* what;
    const char* more;  // nullptr: nothing
};

// A setting is a row here, its variable above and what reads it below; and a row of doc/sql.md.
const Setting settings[] = {
    {"kms.command", Text{&command_value, "", nullptr, note_text}, PGC_SUSET, GUC_SUPERUSER_ONLY,
     Refused::ends_use, "Shell command that starts the key agent of a session.",
     "Spoken to on its standard input and output. A change restarts the agent at its next use."},
    {"kms.mode", Choice{&mode_value, mode_options, note_number}, PGC_SUSET, 0, Refused::ends_use,
     "Where keys are used.",
     "local: data keys are fetched and held by the session. remote: the key agent encrypts and "
     "decrypts. envelope: the key agent unwraps the data keys that the database stores."},
    {"kms.start_timeout", Number{&start_timeout_value, 5000, 1, INT_MAX, nullptr, nullptr},
     PGC_SUSET, GUC_UNIT_MS, Refused::ends_use,
     "Time for the key agent to start and to shake hands.", nullptr},
    {"kms.request_timeout", Number{&request_timeout_value, 10000, 1, INT_MAX, nullptr, nullptr},
     PGC_SUSET, GUC_UNIT_MS, Refused::ends_use, "Time for the key agent to answer a request.",
     nullptr},
    {keys_name, Text{&keys_value, "", check_keys, assign_keys}, PGC_USERSET, 0,
     Refused::is_harmless, "The session's keys by local id.",
     "A list such as \"1=customer-pii, 2=archive\"."},
    {"kms.cache_ttl", Number{&cache_ttl_value, 300, no_end, most_ttl, check_ttl, note_number},
     PGC_SUSET, GUC_UNIT_S, Refused::ends_use, "Time for which a fetched data key is held.",
     "It is wiped then and asked for again at its next use. -1 holds it until the session ends."},
    {"kms.max_cached_keys", Number{&max_cached_keys_value, 1000, 1, 1000000, nullptr, nullptr},
     PGC_SUSET, 0, Refused::ends_use, "Data keys that a session holds at most.",
     "The one that was used least recently is wiped for a new one."},
    {"kms.max_age", Number{&max_age_value, 0, 0, INT_MAX, nullptr, nullptr}, PGC_SUSET, GUC_UNIT_S,
     Refused::ends_use, "Age of a key version that is warned about.",
     "Of the version that seals. 0 warns about none."},
    {"kms.blob_keys", Choice{&blob_keys_value, blob_keys_options, nullptr}, PGC_SUSET, 0,
     Refused::ends_use, "Who has the keys of blobs with kms.mode = remote.",
     "session: a session that works on a blob holds its key meanwhile. agent: no key enters "
     "PostgreSQL, and all contents go through the key agent."},
    {"kms.allow_drop", Flag{&allow_drop_value, false}, PGC_SUSET, 0, Refused::is_harmless,
     "Whether the extension can be dropped with what it holds.",
     "Data keys, blobs and registered columns are lost with it, and values that only those data "
     "keys open."},
};

void define_as(const Setting& row, const Text& text) {
    DefineCustomStringVariable(row.name, row.what, row.more, text.value, text.by_default, row.who,
                               row.flags | at_load, text.check, text.assign, nullptr);
}

void define_as(const Setting& row, const Number& number) {
    DefineCustomIntVariable(row.name, row.what, row.more, number.value, number.by_default,
                            number.least, number.most, row.who, row.flags | at_load, number.check,
                            number.assign, nullptr);
}

void define_as(const Setting& row, const Choice& choice) {
    DefineCustomEnumVariable(row.name, row.what, row.more, choice.value, choice.options->val,
                             choice.options, row.who, row.flags | at_load, nullptr, choice.assign,
                             nullptr);
}

void define_as(const Setting& row, const Flag& flag) {
    DefineCustomBoolVariable(row.name, row.what, row.more, flag.value, flag.by_default, row.who,
                             row.flags | at_load, nullptr, nullptr, nullptr);
}

// What a login has brought and is refused here is noted and not raised: the login would be lost.
void define(const Setting& row) {
    const bool is_brought = !is_default_at_login(row.name);
    std::visit([&](const auto& value) { define_as(row, value); }, row.value);
    if (row.refused == Refused::ends_use && is_brought && is_default_at_login(row.name)) {
        refused_name = row.name;
    }
}

}  // namespace

void define_settings() {
    loading = true;
    std::ranges::for_each(settings, define);
    loading = false;
    if (refused_name != nullptr) {
        refuse();
    }
    for (const Setting& row : settings) {
        find_setting(row.name)->flags &= ~at_load;
    }
    reserve_setting_prefix("kms");
}

void require_settings() {
    if (refused_name != nullptr || mode() == Mode::refused) {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("%s was refused when the kms library was loaded",
                        refused_name != nullptr ? refused_name : "a setting"),
                 errdetail("This session's login brought a value that its role may not set, or "
                           "that is none for this setting. No key is used in this session."),
                 errhint("Take it out of the login's options, or correct postgresql.conf.")));
    }
}

Mode mode() {
    return static_cast<Mode>(mode_value);
}

const char* mode_name() {
    return mode_options[mode_value].name;
}

BlobKeysAt blob_keys_at() {
    return static_cast<BlobKeysAt>(blob_keys_value);
}

const char* command() {
    return command_value;
}

Deadlines deadlines() {
    return {milliseconds(start_timeout_value), milliseconds(request_timeout_value)};
}

std::chrono::seconds cache_ttl() {
    return std::chrono::seconds(cache_ttl_value == no_end ? 0 : cache_ttl_value);
}

bool allow_drop() {
    return allow_drop_value;
}

std::chrono::seconds max_age() {
    return std::chrono::seconds(max_age_value);
}

std::size_t max_cached_keys() {
    return static_cast<std::size_t>(max_cached_keys_value);
}

const KeyList& key_list() {
    if (!current_keys->valid) {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("the value of kms.keys cannot be read, so no key is bound"),
                 errdetail("It was set before the kms library was loaded, or for the login."),
                 errhint("Set kms.keys again; where it is the login's, ALTER ROLE ... SET "
                         "kms.keys to what is meant, and connect anew.")));
    }
    return *current_keys;
}

const KeyList& key_list_unchecked() {
    return *current_keys;
}

std::uint64_t settings_generation() {
    return generation;
}

void require_settable(bool is_local) {
    const config_generic* setting = find_setting(keys_name);
    if (!is_local && setting != nullptr && has_local_value(setting)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("kms.keys has a local value, which a binding for the session would keep"),
                 errdetail("SET LOCAL, a function's SET clause or set_key(..., is_local => true) "
                           "set it in this transaction."),
                 errhint("Bind with is_local => true, or after the end of the transaction.")));
    }
}

void set_key_list(const char* text, bool is_local) {
    (void)set_config_option(keys_name, text, PGC_USERSET, PGC_S_SESSION,
                            is_local ? GUC_ACTION_LOCAL : GUC_ACTION_SET, true, 0, false);
}

}  // namespace kms::pg
