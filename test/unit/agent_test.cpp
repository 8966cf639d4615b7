// Starting an agent, knowing who asks, noticing that it is gone, starting it again.
#include "client/link/agent.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <thread>

#include "agent_harness.hpp"

namespace kms::test {
namespace {

using namespace std::chrono_literals;

// What an agent and its test tell each other.
class Slip {
  public:
    Slip() { ::close(::mkstemp(path_)); }
    ~Slip() { ::unlink(path_); }
    Slip(const Slip&) = delete;
    Slip& operator=(const Slip&) = delete;

    const char* path() const { return path_; }
    void write(const std::string& text) { std::ofstream(path_) << text; }
    std::string read() {
        std::ifstream in(path_);
        return {std::istreambuf_iterator<char>(in), {}};
    }

  private:
    char path_[32] = "/tmp/kms_slip.XXXXXX";
};

class StartTest : public AgentTest {
  protected:
    void kill_agent() {
        ::kill(agent.pid(), SIGKILL);
        wait_for_end(agent.pid());
    }

    std::string all_logged() {
        std::string text;
        for (const std::string& line : agent.take_log()) {
            text += line + "\n";
        }
        return text;
    }

    // Whether calls that come before `pause` has passed start nothing, fail at once, and say why.
    testing::AssertionResult is_left_alone(milliseconds pause, const std::string& why) {
        const TimePoint began = failed_at_;
        const std::uint64_t starts = agent.statistics().starts;
        for (;;) {
            const Status status = start_again();
            failed_at_ = Clock::now();
            if (agent.statistics().starts != starts) {
                break;
            }
            const auto early = fails(status, Code::unavailable, why.c_str());
            if (!early || status.error().left_alone <= 0ms || status.error().left_alone > pause) {
                return testing::AssertionFailure() << status_text(status);
            }
            std::this_thread::sleep_for(5ms);
        }
        return Clock::now() - began >= pause
                   ? testing::AssertionSuccess()
                   : testing::AssertionFailure() << "it was started too early";
    }

    TimePoint failed_at_ = Clock::now();
    Slip slip_;
};

TEST_F(StartTest, DoesSomethingElseMeanwhile) {
    static int times;
    times = 0;
    const auto count = [] { ++times; };
    for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(agent.ensure(faulty("normal"), identity, deadlines, waiter, count));
        EXPECT_EQ(times, 1);
    }
    works();
}

TEST_F(StartTest, ShakesHands) {
    ASSERT_TRUE(start(faulty("normal")));
    EXPECT_TRUE(agent.running());
    EXPECT_EQ(agent.product(), "faulty/1");
    EXPECT_TRUE(agent.offers("identify"));
    EXPECT_FALSE(agent.offers("kms/1"));
    EXPECT_EQ(answer("pid"), std::to_string(agent.pid()));
    EXPECT_EQ(answer("whoami"), "role=alice\ndatabase=a%20b\n");
    EXPECT_EQ(agent.statistics().starts, 1u);
    EXPECT_EQ(agent.statistics().requests, 3u);
    EXPECT_EQ(agent.statistics().errors, 0u);
}

TEST_F(StartTest, SaysWhatIsWrongWithTheCommand) {
    EXPECT_TRUE(fails(start(""), Code::unavailable, "kms.command is not set"));
    EXPECT_TRUE(fails(start("no-such-program serve"), Code::unavailable,
                      "exited with status 127 (the command was not found), before the handshake"));
    EXPECT_TRUE(fails(start("/dev/null"), Code::unavailable,
                      "exited with status 126 (the command could not be executed), before"));
    EXPECT_TRUE(fails(start(faulty("leave", {"3", "first\\nno keyring here\\n\\n"})),
                      Code::unavailable,
                      "exited with status 3, before the handshake was complete; on its "
                      "standard error: first ... no keyring here"));
    EXPECT_TRUE(fails(start(faulty("leave", {"0", ""})), Code::unavailable, "with status 0"));
    EXPECT_TRUE(fails(start(faulty("die")), Code::unavailable, "was killed by signal 9"));
    EXPECT_TRUE(fails(start(faulty("close_output")), Code::unavailable, "closed its input or out"));
    EXPECT_FALSE(agent.running());
    EXPECT_EQ(agent.pid(), -1);
    EXPECT_EQ(agent.product(), "");
    EXPECT_TRUE(fails(ask("echo"), Code::unavailable, "not running"));
}

TEST_F(StartTest, ShowsNothingUnprintable) {
    const Status status =
        start(faulty("leave", {"1", "\\x1b[31m\\r\\x00end" + std::string(900, 'x')}));
    ASSERT_TRUE(fails(status, Code::unavailable, "?[31m??end"));
    EXPECT_LT(status.error().text.size(), 700u);
}

TEST_F(StartTest, HasADeadline) {
    deadlines.start = 300ms;
    const TimePoint began = Clock::now();
    EXPECT_TRUE(fails(start(faulty("silent")), Code::timed_out, "did not answer within 300 ms"));
    EXPECT_GE(Clock::now() - began, 300ms);
    EXPECT_LT(Clock::now() - began, 3000ms);
    EXPECT_FALSE(agent.running());
}

TEST_F(StartTest, TakesOnlyAProperHello) {
    for (const char* hello :
         {"ok 1 0 kms/1\\n", "ok 0 0\\n", "ok 0 0 kms/2\\n", "ok 0 0 kms/1.0\\n", "OK 0 0 kms/1\\n",
          "hello 0 0 kms/1\\n", "ok 0 65537 kms/1\\n", "ok 0 5 kms/1\\nagent", "Welcome!\\n",
          "ok 0 11 kms/1\\nmax-body=x\\n", "ok 0 12 kms/1\\nmax-body=01\\n",
          "ok 0 20 kms/1\\nmax-body=1073741825\\n", "ok 0 16 kms/1\\nmax-in-flight=0\\n",
          "error 0 0\\n", "error 0 0 timed-out\\n", "error 0 4097 failed\\n",
          "ok 0 0 kms/1\\nok 1 0\\n", "ok 0 0 kms/1\\nx", "ok 0 0 get kms/1\\n"}) {
        EXPECT_TRUE(fails(start(faulty("greet", {hello})), Code::protocol, "before the handsh"))
            << hello;
        EXPECT_FALSE(agent.running());
    }
    EXPECT_TRUE(start(faulty("greet", {"ok 0 0 kms/1\\n"})));
    EXPECT_TRUE(start(
        faulty("greet", {"ok 0 25 kms/1 new-verb x%20y\\nmax-body=0\\nx=y\\nx=z\\nq=%20\\n"})));
    EXPECT_EQ(agent.capabilities(), (std::vector<std::string>{"new-verb", "x%20y"}));
}

TEST_F(StartTest, HandsOnARefusal) {
    EXPECT_TRUE(
        fails(start(faulty("greet", {"error 0 7 denied\\nnot you"})), Code::denied, "not you"));
    EXPECT_TRUE(fails(start(faulty("greet", {"error 0 0 unsupported\\n"})), Code::unsupported));
    EXPECT_FALSE(agent.running());
    EXPECT_EQ(agent.statistics().errors, 2u);
    EXPECT_EQ(agent.statistics().last_error->text, "not you");
    EXPECT_TRUE(agent.statistics().last_error->of_agent);
}

TEST_F(StartTest, IsInterruptedAtEveryWait) {
    const int before = open_descriptors();
    int number = 0;
    for (bool started = false; !started; ++number) {
        waiter.waits = 0;
        waiter.interrupt_at = number;
        const Status status = start(faulty("normal"));
        started = static_cast<bool>(status);
        EXPECT_TRUE(started || fails(status, Code::interrupted));
        EXPECT_TRUE(agent.running());
    }
    EXPECT_GE(number, 2);
    EXPECT_EQ(agent.statistics().starts, 1u);
    waiter.interrupt_at = -1;
    works();
    agent.stop(waiter);
    EXPECT_EQ(open_descriptors(), before);
}

TEST_F(StartTest, AsksForInterruptsBeforeItDiagnosesAnEnd) {
    waiter.before = [this] {
        if (agent.pid() > 0) {
            wait_for_end(agent.pid());
        }
    };
    waiter.interrupt_at = 1;  // the first wait finds the end of its output
    EXPECT_TRUE(fails(start(faulty("leave", {"3", ""})), Code::interrupted));
}

TEST_F(StartTest, IdentifiesAnewWhereThatIsOffered) {
    ASSERT_TRUE(start(faulty("normal")));
    const pid_t pid = agent.pid();
    identity = {{"role", "bob"}, {"database", "a b"}};
    ASSERT_TRUE(start(faulty("normal")));
    EXPECT_EQ(agent.pid(), pid);
    EXPECT_EQ(answer("whoami"), "role=bob\ndatabase=a%20b\n");
    const std::uint64_t requests = agent.statistics().requests;
    ASSERT_TRUE(start(faulty("normal")));
    EXPECT_EQ(agent.statistics().requests, requests);
}

TEST_F(StartTest, StartsAFreshAgentForAnotherIdentityWhereThatIsNotOffered) {
    const std::string command = faulty("offer", {"whoami", "agent=x\\n"});
    ASSERT_TRUE(start(command));
    const pid_t pid = agent.pid();
    ASSERT_TRUE(start(command));
    EXPECT_EQ(agent.pid(), pid);
    identity = {{"role", "bob"}, {"database", "a b"}};
    ASSERT_TRUE(start(command));
    EXPECT_NE(agent.pid(), pid);
    EXPECT_EQ(answer("whoami"), "role=bob\ndatabase=a%20b\n");
    EXPECT_EQ(waiter.longest_sleep, 0ms);
}

TEST_F(StartTest, DoesNotTrustAnIdentityThatWasNotAcknowledged) {
    ASSERT_TRUE(start(faulty("say", {"error {id} 0 denied\\n"})));
    identity = {{"role", "bob"}, {"database", "a b"}};
    EXPECT_TRUE(fails(start(faulty("say", {"error {id} 0 denied\\n"})), Code::denied));
    ASSERT_TRUE(start(faulty("say", {"error {id} 0 denied\\n"})));
    EXPECT_EQ(answer("whoami"), "role=bob\ndatabase=a%20b\n");

    identity = {{"role", "carol"}, {"database", "a b"}};
    waiter.waits = 0;
    waiter.interrupt_at = 0;
    EXPECT_TRUE(fails(start(faulty("say", {"error {id} 0 denied\\n"})), Code::interrupted));
    waiter.interrupt_at = -1;
    identity = {{"role", "bob"}, {"database", "a b"}};  // the agent may know carol by now
    ASSERT_TRUE(start(faulty("say", {"error {id} 0 denied\\n"})));
    EXPECT_EQ(answer("whoami"), "role=bob\ndatabase=a%20b\n");
}

TEST_F(StartTest, RestartsForAnotherCommand) {
    ASSERT_TRUE(start(faulty("normal")));
    const pid_t pid = agent.pid();
    ASSERT_TRUE(start(faulty("normal", {"other"})));
    EXPECT_NE(agent.pid(), pid);
    EXPECT_GE(waiter.forgotten, 1);
    EXPECT_TRUE(fails(start(""), Code::unavailable));
    EXPECT_FALSE(agent.running());
}

TEST_F(StartTest, NoticesADeathBetweenTwoUses) {
    ASSERT_TRUE(start(faulty("normal")));
    const pid_t pid = agent.pid();
    kill_agent();
    std::this_thread::sleep_for(1ms);  // an agent in use is not looked after
    ASSERT_TRUE(start(faulty("normal")));
    EXPECT_NE(agent.pid(), pid);
    EXPECT_EQ(waiter.longest_sleep, 0ms);  // the first restart is immediate
    works();
}

TEST_F(StartTest, NoticesWhatWasNotAskedFor) {
    ASSERT_TRUE(start(faulty("normal")));
    const std::string path = "/proc/" + std::to_string(agent.pid()) + "/fd/1";
    std::ofstream(path) << "x" << std::flush;
    std::this_thread::sleep_for(1ms);  // an agent in use is not looked after
    EXPECT_TRUE(fails(start(faulty("normal")), Code::protocol, "without being asked"));
    EXPECT_FALSE(agent.running());
    ASSERT_TRUE(start(faulty("normal")));
    works();
}

TEST_F(StartTest, BacksOffFromAnAgentThatDoesNotStart) {
    const std::string command = "exit 1";
    const char* why = "the key agent exited with status 1, before the handshake was complete";
    EXPECT_TRUE(fails(start(command), Code::unavailable, why));
    for (const milliseconds pause : {100ms, 200ms, 400ms}) {
        EXPECT_TRUE(is_left_alone(pause, why));
    }
    EXPECT_EQ(agent.statistics().starts, 4u);
    agent.try_again();
    EXPECT_TRUE(fails(start(command), Code::unavailable, why));
    EXPECT_TRUE(start(faulty("normal")));
    EXPECT_EQ(agent.statistics().starts, 6u);
}

TEST_F(StartTest, BacksOffFromARefusalForWhomItWas) {
    const std::string command = faulty("greet", {"error 0 7 denied\\nnot you"});
    EXPECT_TRUE(fails(start(command), Code::denied, "not you"));
    EXPECT_TRUE(fails(start(command), Code::denied, "not you"));
    EXPECT_EQ(agent.statistics().starts, 1u);
    identity = {{"role", "bob"}, {"database", "a b"}};
    EXPECT_TRUE(fails(start(command), Code::denied, "not you"));
    EXPECT_EQ(agent.statistics().starts, 2u);
    EXPECT_TRUE(fails(start(command), Code::denied, "not you"));
    EXPECT_EQ(agent.statistics().starts, 2u);
}

TEST_F(StartTest, BacksOffFromAnAgentThatIsLostAgainAndAgain) {
    const std::string command =
        "read -r v i n w; head -c $n >/dev/null; echo ok 0 0 kms/1 echo; read -r v i n w; exit 7";
    const char* why = "the key agent exited with status 7";
    ASSERT_TRUE(start(command));
    for (const milliseconds pause : {0ms, 100ms, 200ms}) {
        EXPECT_TRUE(fails(ask("echo"), Code::unavailable, why));
        EXPECT_FALSE(agent.running());
        ASSERT_TRUE(is_left_alone(pause, why));
    }
    EXPECT_EQ(agent.statistics().errors, 3u);
    EXPECT_EQ(agent.statistics().last_error->text, why);
    EXPECT_FALSE(agent.statistics().last_error->of_agent);
}

// Whoever is interrupted while it starts does not throw it away: the next use goes on with it.
TEST_F(StartTest, GoesOnWithAStartThatWasInterrupted) {
    const std::string go = quoted(slip_.path());
    const std::string command =
        "read -r v i n w; head -c $n >/dev/null; printf 'ok 0 0'; while [ ! -s " + go +
        " ]; do sleep 0.01; done; echo ' kms/1 get'; while read -r v i n w; do echo ok $i 0; done";
    waiter.interrupt_at = 1;
    EXPECT_TRUE(fails(start(command), Code::interrupted));
    const pid_t first = agent.pid();
    waiter.interrupt_at = 0;
    for (int i = 0; i < 3; ++i) {
        waiter.waits = 0;
        EXPECT_TRUE(fails(start_again(), Code::interrupted));
        EXPECT_EQ(agent.pid(), first);
    }
    slip_.write("go\n");
    waiter.interrupt_at = -1;
    ASSERT_TRUE(start_again());
    EXPECT_EQ(agent.pid(), first);
    EXPECT_EQ(agent.statistics().starts, 1u);
    EXPECT_TRUE(ask("get"));
}

// It has the deadline that it had.
TEST_F(StartTest, IsStartedOnceMoreWhereTheInterruptedOneDoesNotCome) {
    deadlines.start = 200ms;
    waiter.interrupt_at = 0;
    EXPECT_TRUE(fails(start("read -r line; sleep 60"), Code::interrupted));
    waiter.interrupt_at = -1;
    EXPECT_TRUE(fails(start_again(), Code::timed_out));
    EXPECT_FALSE(agent.running());
    EXPECT_EQ(agent.statistics().starts, 1u);
}

// Whoever does not answer in time has until the next use.
TEST_F(StartTest, ReplacesAnAgentThatHangs) {
    ASSERT_TRUE(start(faulty("normal")));
    works();
    const pid_t stuck = agent.pid();
    ::kill(stuck, SIGSTOP);
    deadlines.request = 100ms;
    EXPECT_TRUE(fails(ask("echo"), Code::timed_out));
    deadlines.request = 20000ms;
    ASSERT_TRUE(start_again());
    EXPECT_NE(agent.pid(), stuck);
    works();
    ::kill(stuck, SIGKILL);
}

TEST_F(StartTest, KeepsAnAgentThatWasLate) {
    const std::string go = quoted(slip_.path());
    ASSERT_TRUE(
        start("read -r v i n w; head -c $n >/dev/null; echo ok 0 0 kms/1 get; "
              "while read -r v i n w; do while [ ! -s " +
              go +
              " ]; do sleep 0.01; done; "
              "echo ok $i 0; echo answered >>" +
              go + "; done"));
    const pid_t late = agent.pid();
    deadlines.request = 100ms;
    EXPECT_TRUE(fails(ask("get"), Code::timed_out));
    deadlines.request = 20000ms;
    slip_.write("go\n");
    while (slip_.read() == "go\n") {
        std::this_thread::sleep_for(5ms);
    }
    ASSERT_TRUE(start_again());
    EXPECT_EQ(agent.pid(), late);
    EXPECT_TRUE(ask("get"));
}

TEST_F(StartTest, ReplacesAnAgentThatLacksWhatAModeNeeds) {
    slip_.write("list\n");
    ASSERT_TRUE(start("read -r v i n w; head -c $n >/dev/null; echo ok 0 0 kms/1 $(cat " +
                      quoted(slip_.path()) + "); while read -r v i n w; do echo ok $i 0; done"));
    const pid_t poor = agent.pid();
    EXPECT_TRUE(fails(ask("mac"), Code::unsupported));
    std::this_thread::sleep_for(Backoff::soon);
    ASSERT_TRUE(start_again());
    EXPECT_EQ(agent.pid(), poor);
    EXPECT_TRUE(fails(ask("get"), Code::unsupported));
    slip_.write("get\n");
    ASSERT_TRUE(start_again());
    EXPECT_NE(agent.pid(), poor);
    EXPECT_TRUE(ask("get"));
}

TEST_F(StartTest, LogsLinesOfStandardError) {
    ASSERT_TRUE(start(faulty("grumble", {"one\\n\\ntwo\\x07\\nth"})));
    works();
    agent.drain_log();
    EXPECT_EQ(all_logged(), "one\ntwo?\nthone\ntwo?\n");
    EXPECT_EQ(all_logged(), "");
    agent.stop(waiter);
    EXPECT_EQ(all_logged(), "th\n");
}

TEST_F(StartTest, BoundsTheLog) {
    ASSERT_TRUE(start(faulty("flood", {"1000000"})));
    works();
    agent.drain_log();
    const auto lines = agent.take_log();
    ASSERT_EQ(lines.size(), 65u);
    EXPECT_EQ(lines[0], std::string(99, 'x'));
    EXPECT_NE(lines[64].find("more lines were dropped"), std::string::npos);
    LogLines log;
    log.append(bytes_of(std::string(5000, 'l') + "\nnext\n"));
    EXPECT_EQ(log.take(), (std::vector<std::string>{std::string(512, 'l'), "next"}));
}

TEST_F(StartTest, DoesWithoutStandardError) {
    ASSERT_TRUE(start(faulty("close_errors")));
    works();
    works();
    ASSERT_TRUE(start(faulty("close_errors")));
    works();
}

TEST_F(StartTest, LeavesNothingBehind) {
    const int before = open_descriptors();
    ASSERT_TRUE(start(faulty("normal")));
    agent.stop(waiter);
    EXPECT_FALSE(agent.running());
    EXPECT_EQ(open_descriptors(), before);
    for (int i = 0; i < 2000 && !agent.ending().empty(); ++i) {
        agent.ending().advance(Clock::now());
        std::this_thread::sleep_for(5ms);
    }
    EXPECT_TRUE(agent.ending().empty());
    ASSERT_TRUE(start(faulty("stubborn")));
    const pid_t pid = agent.pid();
    agent.abandon();
    EXPECT_FALSE(agent.running());
    EXPECT_EQ(open_descriptors(), before);
    while (!agent.ending().empty()) {
        agent.ending().advance(Clock::now());
        std::this_thread::sleep_for(50ms);
    }
    EXPECT_NE(::kill(pid, 0), 0);
}

}  // namespace
}  // namespace kms::test
