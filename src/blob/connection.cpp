#include "blob/connection.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <vector>

#include "blob/interruption.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// Parameters as libpq takes them.
struct Arguments {
    explicit Arguments(const std::vector<Parameter>& parameters) {
        for (const Parameter& parameter : parameters) {
            add(parameter);
        }
    }

    void add(const Parameter& parameter) {
        const ByteView bytes = parameter.text ? bytes_of(*parameter.text) : parameter.bytes;
        const bool null = !parameter.text && parameter.format == Format::text;
        // An empty value is not NULL, and an empty span may have no address.
        const char* value = bytes.data() != nullptr ? text_of(bytes).data() : "";
        types.push_back(parameter.type);
        values.push_back(null ? nullptr : value);
        lengths.push_back(static_cast<int>(bytes.size()));
        formats.push_back(static_cast<int>(parameter.format));
    }

    std::vector<Oid> types;
    std::vector<const char*> values;
    std::vector<int> lengths;
    std::vector<int> formats;
};

bool is_success(const PGresult* result) {
    const ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

}  // namespace

Status Connection::begin_pipeline() {
    if (PQsetnonblocking(connection_.get(), 1) != 0 ||
        PQenterPipelineMode(connection_.get()) != 1) {
        return connection_error(connection_.get());
    }
    return {};
}

Status Connection::send(const Statement& statement) {
    return send_together({statement});
}

// The server commits at a synchronisation, and passes over what stands between an error and that.
Status Connection::send_together(const std::vector<Statement>& statements) {
    for (const Statement& statement : statements) {
        const Arguments arguments(statement.parameters);
        if (PQsendQueryParams(connection_.get(), statement.sql,
                              static_cast<int>(arguments.values.size()), arguments.types.data(),
                              arguments.values.data(), arguments.lengths.data(),
                              arguments.formats.data(), static_cast<int>(statement.results)) != 1) {
            return connection_error(connection_.get());
        }
    }
    return PQpipelineSync(connection_.get()) == 1 ? Status() : connection_error(connection_.get());
}

// The server may stop reading until its answers are read: both directions move.
Status Connection::wait_for_server() {
    const int unsent = PQflush(connection_.get());
    if (unsent < 0) {
        return connection_error(connection_.get());
    }
    Status ready = await(PQsocket(connection_.get()),
                         static_cast<short>(POLLIN | (unsent == 1 ? POLLOUT : 0)));
    if (!ready) {
        cancel();
        return ready;
    }
    if (PQconsumeInput(connection_.get()) != 1) {
        return connection_error(connection_.get());
    }
    return {};
}

Status Connection::flush() {
    int unsent = PQflush(connection_.get());
    while (unsent == 1) {
        KMS_TRY(wait_for_server());
        unsent = PQflush(connection_.get());
    }
    return unsent < 0 ? connection_error(connection_.get()) : Status();
}

Status Connection::wait_for_result() {
    while (PQisBusy(connection_.get()) == 1) {
        KMS_TRY(wait_for_server());
    }
    return {};
}

// Holds nullptr between the results of two statements.
Result<OwnedResult> Connection::next_result() {
    KMS_TRY(wait_for_result());
    return OwnedResult(PQgetResult(connection_.get()));
}

Result<bool> Connection::has_answer() {
    const bool connected = PQconsumeInput(connection_.get()) == 1;
    const Error loss = connection_error(connection_.get());
    // What the server said last, without being asked, becomes a notice here.
    const bool ready = PQisBusy(connection_.get()) == 0;
    if (!connected) {
        return loss;
    }
    return ready;
}

// Results end with that of the synchronisation. An error may still come before it: that of the
// commit.
Result<Answer> Connection::receive() {
    OwnedResult answer;
    Status done;
    do {
        KMS_ASSIGN(OwnedResult result, next_result());
        if (PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC) {
            return done ? Result<Answer>(Answer(std::move(answer))) : done.error();
        }
        if (done && result != nullptr && !is_success(result.get())) {
            done = server_error(result.get());
        }
        answer = answer != nullptr ? std::move(answer) : std::move(result);
    } while (answer != nullptr && PQstatus(connection_.get()) == CONNECTION_OK);
    return done ? connection_error(connection_.get()) : done.error();
}

Result<Answer> Connection::ask(const Statement& statement) {
    KMS_TRY(send(statement));
    return receive();
}

// The server need not finish what nobody waits for.
// PQcancel waits for its answer as long as there is none, and no signal moves it: so it is called
// by a process of its own, which an alarm ends.
void Connection::cancel() {
    constexpr unsigned patience = 5;  // seconds
    PGcancel* request = PQgetCancel(connection_.get());
    const pid_t pid = fork();
    if (pid == 0) {
        std::signal(SIGALRM, SIG_DFL);
        alarm(patience);
        std::array<char, 256> reason;
        PQcancel(request, reason.data(), reason.size());
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    PQfreeCancel(request);
}

}  // namespace kms::blob
