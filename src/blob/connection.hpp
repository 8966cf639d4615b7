// A connection to the server, in libpq's pipeline mode: statements are sent without waiting for the
// answers to those before, and each is a transaction of its own unless BEGIN was sent.
//
// What follows one that fails is carried out nevertheless. So whatever is sent without waiting says
// itself what it needs of those before.
#pragma once

#include <memory>
#include <string>
#include <vector>

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
    std::string sslmode;
    Password password = Password::when_asked_for;
};

class Connection {
  public:
    // May ask for a password on the terminal. Code::unavailable.
    static Result<Connection> open(const Target& target);

    // Copies the statement; it goes out while answers are awaited, or by flush().
    Status send(const Statement& statement);

    // The same of statements that are one transaction, and have one answer: that of the first, when
    // all have been carried out, or the first error.
    Status send_together(const std::vector<Statement>& statements);

    // Until all is with the server, or with the kernel.
    Status flush();

    // Reads what has come, without waiting. Whether receive() would not wait, if an answer is to
    // come.
    Result<bool> has_answer();

    // The answer to the first statement that has none yet, when it is committed. What the server
    // refuses, then too, is an Error.
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
    void cancel();

    std::unique_ptr<PGconn, Close> connection_;
};

}  // namespace kms::blob
