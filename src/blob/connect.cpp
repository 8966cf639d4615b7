// Opening a connection, as psql does it.
#include <sys/socket.h>

#include <array>
#include <cstdio>

#include "base/output.hpp"
#include "base/terminal.hpp"
#include "blob/connection.hpp"
#include "blob/report.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

constexpr std::size_t longest_password = 1023;

const char* or_none(const std::string& text) {
    return text.empty() ? nullptr : text.c_str();
}

// `database` may itself be a connection string; what is beside it holds nevertheless.
PGconn* connect(const Target& target, const char* password) {
    const std::array names{"dbname",
                           "host",
                           "port",
                           "user",
                           "password",
                           "sslmode",
                           "client_encoding",
                           "fallback_application_name",
                           static_cast<const char*>(nullptr)};
    const std::array values{or_none(target.database),
                            or_none(target.host),
                            or_none(target.port),
                            or_none(target.user),
                            password,
                            or_none(target.sslmode),
                            "UTF8",
                            "kms-blob",
                            static_cast<const char*>(nullptr)};
    return PQconnectdbParams(names.data(), values.data(), 1);
}

std::optional<SecretBytes> ask_for_password(const std::string& user) {
    if (!has_terminal()) {
        return std::nullopt;
    }
    const std::string prompt = user.empty() ? "Password: " : "Password for user " + user + ": ";
    auto password = ask_on_terminal(prompt.c_str(), longest_password, Asking::once);
    if (password) {
        password->append(bytes_of(std::string_view("\0", 1)));
    }
    return password;
}

PGconn* connect_with_password(const Target& target, const std::string& user) {
    const auto password = ask_for_password(user);
    return connect(target, password ? reinterpret_cast<const char*>(password->data()) : nullptr);
}

struct FreeOptions {
    void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

std::string sslmode_of(PGconn* connection) {
    const std::unique_ptr<PQconninfoOption, FreeOptions> options(PQconninfo(connection));
    for (const PQconninfoOption* option = options.get();
         option != nullptr && option->keyword != nullptr; ++option) {
        if (std::string_view(option->keyword) == "sslmode" && option->val != nullptr) {
            return option->val;
        }
    }
    return "";
}

bool is_local(PGconn* connection) {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    return getpeername(PQsocket(connection), reinterpret_cast<sockaddr*>(&peer), &length) == 0 &&
           peer.ss_family == AF_UNIX;
}

// libpq's default is to do without TLS when the server, or somebody on the way, says that there is
// none.
void warn_of_chance(PGconn* connection) {
    const std::string sslmode = sslmode_of(connection);
    if (is_local(connection) || PQgssEncInUse(connection) == 1 ||
        (sslmode != "prefer" && sslmode != "allow")) {
        return;
    }
    complain(std::string("warning: ") +
             (PQsslInUse(connection) == 1
                  ? "sslmode " + sslmode +
                        " neither insists on TLS nor checks who the server is: --sslmode "
                        "verify-full does"
                  : "the connection is not encrypted, and plaintext goes over it: --sslmode "
                    "verify-full insists on TLS, --sslmode disable says that this is meant"));
}

void pass_notice(void*, const char* message) {
    complain(message);
}

}  // namespace

Result<Connection> Connection::open(const Target& target) {
    Connection opened(target.password == Password::first
                          ? connect_with_password(target, target.user)
                          : connect(target, nullptr));
    if (target.password == Password::when_asked_for &&
        PQconnectionNeedsPassword(opened.connection_.get()) != 0) {
        const std::string user = PQuser(opened.connection_.get());
        opened = Connection(connect_with_password(target, user));
    }
    if (PQstatus(opened.connection_.get()) != CONNECTION_OK) {
        return connection_error(opened.connection_.get());
    }
    warn_of_chance(opened.connection_.get());
    PQsetNoticeProcessor(opened.connection_.get(), pass_notice, nullptr);
    KMS_TRY(opened.begin_pipeline());
    return opened;
}

}  // namespace kms::blob
