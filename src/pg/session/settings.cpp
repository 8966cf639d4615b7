#include "pg/session/settings.hpp"

#include <algorithm>
#include <climits>

#include "pg/server/pg.hpp"

namespace kms::pg {
namespace {

constexpr const char* keys_name = "kms.keys";
constexpr const char* allow_drop_name = "kms.allow_drop";
constexpr int most_ttl = INT_MAX / 1000;  // seconds whose milliseconds fit a timer

char* command_value = nullptr;
int mode_value = static_cast<int>(Mode::local);
char* keys_value = nullptr;
int start_timeout_value = 5000;
int request_timeout_value = 10000;
int cache_ttl_value = 300;
constexpr int no_end = -1;
int max_cached_keys_value = 1000;
int max_age_value = 0;
bool allow_drop_value = false;
int blob_keys_value = static_cast<int>(BlobKeysAt::session);

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

// What only a superuser may set. Where a login brings such a setting before the library is loaded,
// or the server a value that cannot be, PostgreSQL refuses it at load and takes our default, not
// the value that the server or the superuser wanted.
constexpr const char* guarded_names[] = {"kms.command",       "kms.mode",
                                         "kms.start_timeout", "kms.request_timeout",
                                         "kms.cache_ttl",     "kms.max_cached_keys",
                                         "kms.max_age",       "kms.blob_keys"};
constexpr std::size_t guarded_count = std::size(guarded_names);
const char* refused_name = nullptr;  // where this process has loaded the library itself

bool is_default_at_login(const char* name) {
    const config_generic* setting = find_setting(name);
    return setting == nullptr || setting->reset_source == PGC_S_DEFAULT;
}

// Parallel workers have a login of their own, but take the mode from their leader.
void refuse(const char* name) {
    refused_name = name;
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

void assign_mode(int /*value*/, void* /*extra*/) {
    ++generation;
}

void assign_command(const char* /*value*/, void* /*extra*/) {
    ++generation;
}

// Less than half a second is 0, and is not to become the opposite of what was asked for.
bool check_ttl(int* value, void** /*extra*/, GucSource /*source*/) {
    if (*value == 0) {
        GUC_check_errdetail("It is one second or more; -1 holds keys until the session ends.");
    }
    return *value != 0;
}

void assign_ttl(int /*value*/, void* /*extra*/) {
    ++generation;
}

// A worker may be the first of its query to load the library, in the middle of it, where a setting
// would be refused the value that the leader has sent.
constexpr int at_load = settable_in_parallel;

void end_load(const char* name) {
    find_setting(name)->flags &= ~at_load;
}

void define_agent_settings() {
    DefineCustomStringVariable(
        "kms.command", "Shell command that starts the key agent of a session.",
        "Spoken to on its standard input and output. A change restarts the agent at its next use.",
        &command_value, "", PGC_SUSET, GUC_SUPERUSER_ONLY | at_load, nullptr, assign_command,
        nullptr);
    DefineCustomEnumVariable(
        "kms.mode", "Where keys are used.",
        "local: data keys are fetched and held by the session. remote: the key agent encrypts and "
        "decrypts. envelope: the key agent unwraps the data keys that the database stores.",
        &mode_value, static_cast<int>(Mode::local), mode_options, PGC_SUSET, at_load, nullptr,
        assign_mode, nullptr);
    DefineCustomIntVariable("kms.start_timeout",
                            "Time for the key agent to start and to shake hands.", nullptr,
                            &start_timeout_value, 5000, 1, INT_MAX, PGC_SUSET,
                            GUC_UNIT_MS | at_load, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("kms.request_timeout", "Time for the key agent to answer a request.",
                            nullptr, &request_timeout_value, 10000, 1, INT_MAX, PGC_SUSET,
                            GUC_UNIT_MS | at_load, nullptr, nullptr, nullptr);
}

void define_key_settings() {
    DefineCustomStringVariable("kms.keys", "The session's keys by local id.",
                               "A list such as \"1=customer-pii, 2=archive\".", &keys_value, "",
                               PGC_USERSET, at_load, check_keys, assign_keys, nullptr);
    DefineCustomIntVariable(
        "kms.cache_ttl", "Time for which a fetched data key is held.",
        "It is wiped then and asked for again at its next use. -1 holds it until the session ends.",
        &cache_ttl_value, 300, no_end, most_ttl, PGC_SUSET, GUC_UNIT_S | at_load, check_ttl,
        assign_ttl, nullptr);
    DefineCustomIntVariable("kms.max_cached_keys", "Data keys that a session holds at most.",
                            "The one that was used least recently is wiped for a new one.",
                            &max_cached_keys_value, 1000, 1, 1000000, PGC_SUSET, at_load, nullptr,
                            nullptr, nullptr);
    DefineCustomIntVariable("kms.max_age", "Age of a key version that is warned about.",
                            "Of the version that seals. 0 warns about none.", &max_age_value, 0, 0,
                            INT_MAX, PGC_SUSET, GUC_UNIT_S | at_load, nullptr, nullptr, nullptr);
    DefineCustomEnumVariable(
        "kms.blob_keys", "Who has the keys of blobs with kms.mode = remote.",
        "session: a session that works on a blob holds its key meanwhile. agent: no key enters "
        "PostgreSQL, and all contents go through the key agent.",
        &blob_keys_value, static_cast<int>(BlobKeysAt::session), blob_keys_options, PGC_SUSET,
        at_load, nullptr, nullptr, nullptr);
}

void define_guard_setting() {
    DefineCustomBoolVariable(
        allow_drop_name, "Whether the extension can be dropped with what it holds.",
        "Data keys, blobs and registered columns are lost with it, and values that only those data "
        "keys open.",
        &allow_drop_value, false, PGC_SUSET, at_load, nullptr, nullptr, nullptr);
}

}  // namespace

void define_settings() {
    bool brought[guarded_count];
    for (std::size_t i = 0; i < guarded_count; ++i) {
        brought[i] = !is_default_at_login(guarded_names[i]);
    }
    loading = true;
    define_agent_settings();
    define_key_settings();
    define_guard_setting();
    loading = false;
    for (std::size_t i = 0; i < guarded_count; ++i) {
        if (brought[i] && is_default_at_login(guarded_names[i])) {
            refuse(guarded_names[i]);
        }
    }
    std::ranges::for_each(guarded_names, end_load);
    end_load(keys_name);
    end_load(allow_drop_name);
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
