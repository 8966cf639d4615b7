// A key agent under test, the replies that it gave, and the faulty agents to start.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "client/calls/keys.hpp"
#include "client/link/unknown_verbs.hpp"
#include "poll_waiter.hpp"

namespace kms::test {

inline std::string agents_folder() {
    return (std::filesystem::absolute(__FILE__).parent_path().parent_path() / "agents").string();
}

inline std::string quoted(const std::string& text) {
    return "'" + text + "'";  // no text here has a single quote
}

// The command of test/agents/faulty.py in a mode.
inline std::string faulty(const std::string& mode, const std::vector<std::string>& arguments = {}) {
    std::string command = "exec /usr/bin/python3 -IS " + quoted(agents_folder() + "/faulty.py");
    command += " " + mode;
    for (const std::string& argument : arguments) {
        command += " " + quoted(argument);
    }
    return command;
}

inline int open_descriptors() {
    int count = 0;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
        ++count;
    }
    return count;
}

// The file's KiB of a line such as VmHWM.
inline long status_line(const std::string& name, const std::string& process = "self") {
    std::ifstream status("/proc/" + process + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(name + ":")) {
            return std::stol(line.substr(name.size() + 1));
        }
    }
    return -1;
}

// Until the process has ended, without reaping it.
inline void wait_for_end(pid_t pid) {
    siginfo_t info;
    ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
}

// Asks what it is given, and keeps what it is answered.
class Replies : public Errand {
  public:
    explicit Replies(std::vector<Request> asked = {}) : requests(std::move(asked)) {}

    std::vector<Request> requests;
    std::vector<std::size_t> order;
    std::map<std::size_t, std::string> bodies;
    std::map<std::size_t, Error> errors;
    std::size_t fail_at = SIZE_MAX;  // index of the reply that take() turns down
    Code fail_with = Code::failed;

    std::size_t count() const override { return requests.size(); }
    Request request(std::size_t index) override { return requests[index]; }
    Status take(std::size_t index, const Result<Reply>& reply) override {
        order.push_back(index);
        if (index == fail_at) {
            return Error{fail_with, "turned down"};
        }
        if (reply) {
            bodies[index] = text_of(reply->body);
        } else {
            errors.insert({index, reply.error()});
        }
        return {};
    }
};

class AgentTest : public testing::Test {
  public:
    AgentTest() {
        std::signal(SIGPIPE, SIG_IGN);
        one_unknown_verb_in = 0;  // ids and waits are counted
    }
    ~AgentTest() override {
        one_unknown_verb_in = 8;
        // One that hangs would not see that its input ends.
        if (agent.pid() > 0) {
            ::kill(-agent.pid(), SIGKILL);
        }
    }

    Status start(const std::string& command) {
        command_ = command;
        return agent.ensure(command, identity, deadlines, waiter);
    }

    // As before each use: the same agent, unless something is wrong with it.
    Status start_again() { return start(command_); }

    // An agent whose first answer behind the handshake is `reply`.
    void answering(const std::string& reply) {
        ASSERT_TRUE(start(faulty("say", {reply}) + " " + std::to_string(++agents_)));
    }

    // A shell agent that offers everything and answers each request with what it was sent: the
    // line as an error's text.
    std::string mirror() {
        return "read -r v i n w; head -c $n >/dev/null; echo ok 0 0 kms/1 get encrypt decrypt "
               "wrap unwrap describe create import rotate list enable disable destroy; "
               "while read -r v i n w; do t=\"$v $n $w \"; t=\"$t\"$(head -c $n); "
               "echo error $i ${#t} failed; printf %s \"$t\"; done";
    }

    Line line() { return {agent, deadlines, waiter}; }

    // One request in a fresh set of replies.
    Status ask(std::string_view verb, std::string_view body = {}, std::string_view word = {}) {
        Request request{.verb = verb, .body = {bytes_of(body), {}}};
        if (!word.empty()) {
            request.words.push_back(bytes_of(word));
        }
        request.reply_limit = 1 << 20;
        return ask_all({request});
    }

    Status ask_all(std::vector<Request> requests) {
        replies = Replies(std::move(requests));
        return agent.exchange(replies, deadlines, waiter);
    }

    // The body of the reply to one request that must succeed.
    std::string answer(std::string_view verb, std::string_view body = {},
                       std::string_view word = {}) {
        const Status status = ask(verb, body, word);
        EXPECT_TRUE(status) << status_text(status);
        return replies.bodies[0];
    }

    void works() { EXPECT_EQ(answer("echo", "it works"), "it works"); }

    static std::string status_text(const Status& status) {
        return status ? "success" : status.error().text;
    }

    KeyAgent agent;
    Identity identity{{"role", "alice"}, {"database", "a b"}};
    Deadlines deadlines{milliseconds(20000), milliseconds(20000)};
    PollWaiter waiter;
    Replies replies;

  private:
    std::string command_;
    int agents_ = 0;  // that answer: each has a command of its own
};

// An operation failed with this code, and its text has these words.
inline testing::AssertionResult fails(const Status& status, Code code, const char* words = "") {
    if (status) {
        return testing::AssertionFailure() << "no failure";
    }
    if (status.error().code != code || status.error().text.find(words) == std::string::npos) {
        return testing::AssertionFailure()
               << "code " << static_cast<int>(status.error().code) << ": " << status.error().text;
    }
    return testing::AssertionSuccess();
}

}  // namespace kms::test
