// A connection to the server, in libpq's pipeline mode: statements are sent without waiting for the
// answers to those before, and each is a transaction of its own unless BEGIN was sent.
#pragma once

#include <memory>
#include <string>

#include "base/result.hpp"
#include "blob/answer.hpp"
#include "blob/statement.hpp"

namespace kms::blob {

enum class Password { when_asked_for, never, first };

// As psql's options; what is empty is left to libpq, and so to its environment variables.
struct Target {
    std::string host;
    std::string port;
    std::string user;
    std::string database;  // or a connection string, or a URI
    Password password = Password::when_asked_for;
};

class Connection {
  public:
    // May ask for a password on the terminal. Code::unavailable.
    static Result<Connection> open(const Target& target);

    // Copies the statement; it goes out while answers are awaited, or by flush().
    Status send(const Statement& statement);

    // Until all is with the server, or with the kernel.
    Status flush();

    // Reads what has come, without waiting. Whether receive() would not wait, if an answer is to
    // come.
    Result<bool> has_answer();

    // The answer to the first statement that has none yet. What the server refuses is an Error.
    Result<Answer> receive();

    // send() and receive(), where nothing else is under way.
    Result<Answer> ask(const Statement& statement);

  private:
    struct Close {
        void operator()(PGconn* connection) const { PQfinish(connection); }
    };

    explicit Connection(PGconn* connection) : connection_(connection) {}

    Status begin_pipeline();
    Status wait_for_server();
    Status wait_for_result();
    Result<OwnedResult> next_result();
    Status skip_to_end();
    void cancel();

    std::unique_ptr<PGconn, Close> connection_;
};

}  // namespace kms::blob
