#include "pg/server/wall.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "base/escape.hpp"
#include "pg/server/pg.hpp"

namespace kms::pg {
namespace {

constexpr std::size_t shown_identifier = 200;

// What each Code is in SQL (doc/sql.md, "Errors").
struct Report {
    Code code;
    char sqlstate[6];
    const char* reason;
    const char* hint;
};

constexpr Report reports[] = {
    // The first stands for every Code that has no row of its own.
    {Code::internal, "XX000", "internal error", ""},
    {Code::failed, "KM007", "the key agent failed",
     "The server's log has the agent's own messages."},
    {Code::not_found, "KM002", "key not found",
     "kms.list_keys() shows the agent's keys, and the view kms.data_keys those of the database, "
     "which kms.mode = remote does not use."},
    {Code::denied, "KM003", "denied by the key agent",
     "A key made with no-export is used with kms.mode = remote; data keys and kms.wrap() need one "
     "made with purpose => 'wrap', which does nothing else."},
    {Code::wrong_key, "KM004", "sealed under another key or version",
     "kms.session_keys shows which key is bound, kms.inspect() the key tag of the value, and "
     "kms.list_keys() and kms.data_keys whose it is."},
    {Code::corrupt, "KM005", "tampered with, or sealed with another context",
     "Give the context that it was sealed with: that of its own row, where rows have theirs."},
    {Code::damaged_key, "XX001", "what is stored of the data key is damaged",
     "Restore its row of kms.data_key from a backup, in the place of the one that is there."},
    {Code::malformed, "KM006", "not a kms ciphertext",
     "kms.looks_sealed() tells plaintexts in the column, which kms.encode() would have sealed."},
    {Code::not_text, "22021", "the plaintext is not text in the database's encoding",
     "Use kms.decode, which returns bytea."},
    {Code::unavailable, "KM007", "key agent unavailable",
     "Check kms.command and the server's log, where the agent's own messages are."},
    {Code::io, "KM007", "key agent unavailable", "The server's log has the agent's own messages."},
    {Code::timed_out, "KM008", "the key agent did not answer in time",
     "The deadlines are kms.start_timeout and kms.request_timeout. Where a start asks for a "
     "passphrase, kms-agent serve --remember-for, run once before, warms the next starts up."},
    {Code::protocol, "KM009", "the key agent broke the protocol",
     "kms.command must start an agent that speaks kms/1, as kms-agent serve does."},
    {Code::unsupported, "KM010", "not offered by this key agent, mode or key",
     "kms.status() shows what the agent offers, and kms.list_keys() of what algorithm a key is."},
    {Code::disabled, "KM011", "key version disabled or destroyed",
     "kms.list_keys() and kms.data_keys show which; what is disabled can be enabled again, what is "
     "destroyed is gone. Where it is the current version, enable it, or rotate the key."},
    {Code::invalid, "22023", "refused as invalid", ""},
    {Code::too_large, "54000", "too large", ""},
};

const Report& report_of(Code code) {
    const Report* found = std::find_if(std::begin(reports), std::end(reports),
                                       [&](const Report& report) { return report.code == code; });
    return found != std::end(reports) ? *found : reports[0];
}

template <std::size_t N>
void copy_text(char (&out)[N], std::string_view text) {
    const std::size_t length = std::min(text.size(), N - 1);
    std::memcpy(out, text.data(), length);
    out[length] = '\0';
}

std::string shown(ByteView identifier) {
    std::string text = escape(Alphabet::identifier, identifier);
    if (text.size() > shown_identifier) {
        text.resize(shown_identifier);
        text += "...";
    }
    return text;
}

std::string describe(const Subject& subject) {
    std::string text = std::string("could not ") + subject.action;
    if (subject.local_id != 0) {
        text += " with local id " + std::to_string(subject.local_id);
    }
    if (!subject.identifier.empty()) {
        const std::string quoted = '"' + shown(subject.identifier) + '"';
        text += subject.local_id != 0 ? " (key " + quoted + ")" : " " + quoted;
    }
    return text;
}

bool pending_error = false;

struct Texts {
    std::string_view message;
    std::string_view detail;
    std::string_view hint;
    bool is_of_agent = false;
};

void fill(Failure& failure, Code code, const char* sqlstate, const Texts& texts) {
    failure.failed = true;
    failure.cause.code = code;
    failure.cause.is_of_agent = texts.is_of_agent;
    failure.cause.sqlstate =
        MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
    copy_text(failure.cause.message, texts.message);
    copy_text(failure.cause.detail, texts.detail);
    copy_text(failure.cause.hint, texts.hint);
}

std::string hint_for(const Error& error, const char* hint) {
    const auto left = error.left_alone.count();
    return left == 0 ? std::string(hint)
                     : "It is tried again in " + std::to_string(left) + " ms at the earliest." +
                           (hint[0] != '\0' ? " " : "") + hint;
}

void report(Failure& failure, const Error& error, const Subject& subject) {
    const Report& row = report_of(error.code);
    const std::string message = describe(subject) + ": " + row.reason;
    const std::string hint = hint_for(error, row.hint);
    fill(failure, error.code, row.sqlstate, {message, error.text, hint, error.of_agent});
}

}  // namespace

const char* reason_of(Code code) {
    return report_of(code).reason;
}

void note_pending_error() noexcept {
    pending_error = true;
}

bool has_pending_error() noexcept {
    return pending_error;
}

[[gnu::hot]] void run_guarded(Failure& failure, const Subject& subject, Status (*body)(void*),
                              void* state) noexcept {
    try {
        if (Status status = body(state); !status) {
            report(failure, status.error(), subject);
        }
    } catch (const std::bad_alloc&) {
        fill(failure, Code::internal, "53200", {"out of memory", {}, {}});
    } catch (const std::exception& unexpected) {
        fill(failure, Code::internal, "XX000", {unexpected.what(), {}, {}});
    } catch (...) {
        fill(failure, Code::internal, "XX000", {"unknown C++ exception", {}, {}});
    }
    if (pending_error) {
        pending_error = false;
        failure.failed = failure.pending = true;
    }
}

bool may_see_command() {
    return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS) &&
           has_privs_of_role(GetOuterUserId(), ROLE_PG_READ_ALL_SETTINGS);
}

void raise(const Failure& failure) {
    if (failure.pending) {
        PG_RE_THROW();
    }
    const Failure::Cause& cause = failure.cause;
    const bool for_log_only = cause.is_of_agent && !may_see_command();
    ereport(ERROR, (errcode(cause.sqlstate), errmsg("%s", cause.message),
                    cause.detail[0] == '\0' ? 0
                    : for_log_only          ? errdetail_log("%s", cause.detail)
                                            : errdetail("%s", cause.detail),
                    cause.hint[0] != '\0' ? errhint("%s", cause.hint) : 0));
    pg_unreachable();
}

void raise_error(const Subject& subject, Code code, const char* detail) {
    const Failure failure = guarded(subject, [&]() -> Status {
        return Error{code, std::string(detail)};
    });
    raise(failure);
}

}  // namespace kms::pg
