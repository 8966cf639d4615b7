// Requests and replies of a running agent: whatever it answers, nothing is believed that is not
// kms/1, and no cancel or deadline leaves a connection in doubt.
#include <algorithm>
#include <numeric>
#include <thread>

#include "agent_harness.hpp"

namespace kms::test {
namespace {

using namespace std::chrono_literals;

class ExchangeTest : public AgentTest {
  protected:
    // `echo` requests with these bodies, all in one exchange.
    Status echo(const std::vector<std::string>& bodies) {
        std::vector<Request> requests;
        for (const std::string& body : bodies) {
            const ByteView bytes = bytes_of(body);
            requests.push_back(
                {.verb = "echo",
                 .body = {bytes.first(bytes.size() / 3), bytes.subspan(bytes.size() / 3)},
                 .reply_limit = body.size()});
        }
        return ask_all(std::move(requests));
    }

    // One request, left as soon as it is sent.
    testing::AssertionResult is_cancelled(std::string_view verb, std::string_view body,
                                          std::string_view word = {}) {
        waiter.waits = 0;
        waiter.interrupt_at = 0;
        const Status status = ask(verb, body, word);
        waiter.interrupt_at = -1;
        return fails(status, Code::interrupted);
    }

    void expect_echoed(const std::vector<std::string>& bodies) {
        ASSERT_EQ(replies.bodies.size(), bodies.size());
        for (std::size_t i = 0; i < bodies.size(); ++i) {
            EXPECT_TRUE(replies.bodies[i] == bodies[i]) << i;
        }
    }

    // A shell that shakes hands and then does as `then` says.
    static std::string shell_agent(const std::string& capabilities, const std::string& then) {
        return "read -r v i n w; head -c $n >/dev/null; echo ok 0 0 kms/1 " + capabilities + "; " +
               then;
    }

    static std::vector<std::string> bodies_of(const std::vector<std::size_t>& sizes) {
        std::vector<std::string> bodies;
        for (const std::size_t size : sizes) {
            bodies.emplace_back(size, static_cast<char>('a' + bodies.size() % 26));
        }
        return bodies;
    }
};

TEST_F(ExchangeTest, AnswersARequestInOneWait) {
    ASSERT_TRUE(start(faulty("normal")));
    for (const std::size_t size : {0u, 1u, 32u, 60'000u}) {
        waiter.waits = 0;
        const std::string body(size, 'b');
        EXPECT_EQ(answer("echo", body), body);
        EXPECT_TRUE(waiter.waits == 1 || size > 32) << waiter.waits;
    }
    EXPECT_GT(agent.statistics().bytes_sent, 60'000u);
    EXPECT_GT(agent.statistics().bytes_received, 60'000u);
    EXPECT_TRUE(echo({}));
}

TEST_F(ExchangeTest, KeepsTheOrderOfManyRequests) {
    ASSERT_TRUE(start(faulty("normal")));
    std::vector<std::string> bodies;
    for (int i = 0; i < 20'000; ++i) {
        bodies.push_back(std::to_string(i));
    }
    ASSERT_TRUE(echo(bodies));
    expect_echoed(bodies);
    EXPECT_TRUE(std::is_sorted(replies.order.begin(), replies.order.end()));
}

TEST_F(ExchangeTest, PumpsLargeBodiesBothWays) {
    ASSERT_TRUE(start(faulty("normal")));
    const auto many = bodies_of(std::vector<std::size_t>(64, 1 << 20));
    ASSERT_TRUE(echo(many));
    expect_echoed(many);
    const auto mixed =
        bodies_of({0, 65'536, 65'537, 1, 20'000'000, 70'000, 3, 65'535, 262'144, 64 << 20, 5});
    ASSERT_TRUE(echo(mixed));
    expect_echoed(mixed);
}

TEST_F(ExchangeTest, TakesRepliesByteByByte) {
    ASSERT_TRUE(start(faulty("slow")));
    EXPECT_EQ(answer("echo", "slow but sure"), "slow but sure");
}

TEST_F(ExchangeTest, AsksOnlyForWhatIsOffered) {
    ASSERT_TRUE(start(faulty("offer", {"echo", "max-body=10\\n"})));
    EXPECT_TRUE(fails(ask("get"), Code::unsupported, "does not offer get"));
    EXPECT_EQ(answer("echo", "0123456789"), "0123456789");
    ASSERT_TRUE(ask("echo", "0123456789a"));
    EXPECT_TRUE(fails(replies.errors.at(0), Code::too_large, "at most 10 bytes"));
    ASSERT_TRUE(ask("echo", "a", std::string(1025, 'w')));
    EXPECT_TRUE(fails(replies.errors.at(0), Code::invalid, "1 to 1024"));
    EXPECT_EQ(agent.statistics().requests, 2u);
    EXPECT_EQ(answer("echo", "a"), "a");
}

TEST_F(ExchangeTest, KeepsWithinMaxInFlight) {
    for (const std::string most : {"1", "3", "64"}) {
        ASSERT_TRUE(start(faulty("in_flight", {most})));
        ASSERT_TRUE(echo(std::vector<std::string>(100)));
        EXPECT_EQ(replies.bodies.size(), 100u);
        EXPECT_TRUE(replies.errors.empty());
    }
}

TEST_F(ExchangeTest, TakesUnorderedRepliesByTheirIds) {
    ASSERT_TRUE(start(faulty("unordered", {"5"})));
    const auto bodies = bodies_of(std::vector<std::size_t>(50, 1000));
    ASSERT_TRUE(echo(bodies));
    expect_echoed(bodies);
    EXPECT_EQ(std::vector<std::size_t>(replies.order.begin(), replies.order.begin() + 6),
              (std::vector<std::size_t>{4, 3, 2, 1, 0, 9}));
}

TEST_F(ExchangeTest, GivesUpAConnectionThatBreaksTheProtocol) {
    const std::vector<std::string> texts = {"ok {next} 0\\n",
                                            "ok 0 0\\n",
                                            "ok 1 0\\nok 1 0\\n",
                                            "ok 1 0\\nok 2 0\\n",
                                            "ok 1 0\\nx",
                                            "OK 1 0\\n",
                                            "yes 1 0\\n",
                                            "ok 01 0\\n",
                                            "ok 1 -1\\n",
                                            "ok 1 1048577\\n",
                                            "ok 1 1073741824\\n",
                                            "ok 1 99999999999\\n",
                                            "ok 1 0 \\n",
                                            "ok  1 0\\n",
                                            "ok 1 0\\r\\n",
                                            "ok 1 0 %zz\\n",
                                            "error 1 0\\n",
                                            "error 1 0 nonsense\\n",
                                            "error 1 0 Denied\\n",
                                            "error 1 4097 failed\\n",
                                            "\\n",
                                            std::string(4096, 'x'),
                                            "hello 1 0\\n",
                                            "echo 1 4\\nbody"};
    for (const std::string& text : texts) {
        ASSERT_TRUE(start(faulty("say", {text})));
        EXPECT_TRUE(fails(ask("echo", "body"), Code::protocol)) << text;
        EXPECT_FALSE(agent.running()) << text;
    }
    EXPECT_EQ(agent.statistics().errors, texts.size());
}

TEST_F(ExchangeTest, GivesUpAnUnorderedConnectionWithWrongIds) {
    for (const char* ids : {"2 2", "2 0", "9", "1 2 3 4"}) {
        std::string lines;
        for (const char* id = ids; *id != '\0'; ++id) {
            lines += *id == ' ' ? std::string() : std::string("ok ") + *id + " 0\\n";
        }
        ASSERT_TRUE(start(shell_agent("unordered echo",
                                      "read -r l; printf '" + lines + "'; exec cat >/dev/null")));
        EXPECT_TRUE(fails(echo({"", "", ""}), Code::protocol)) << ids;
        EXPECT_FALSE(agent.running());
    }
}

TEST_F(ExchangeTest, KnowsATruncatedReplyAtEveryByte) {
    const std::string reply = "ok 1 4 word\\nbody";
    ASSERT_TRUE(start(faulty("say", {reply})));
    EXPECT_EQ(answer("echo", "body"), "body");
    for (std::size_t length = 0; length < reply.size(); ++length) {
        if (reply[length - (length > 0 ? 1 : 0)] == '\\') {
            continue;
        }
        ASSERT_TRUE(start(faulty("say_and_exit", {reply.substr(0, length), "5"}) + " " +
                          std::to_string(length)));
        EXPECT_TRUE(fails(ask("echo", "body"), Code::unavailable, "exited with status 5"));
        EXPECT_FALSE(agent.running());
    }
}

TEST_F(ExchangeTest, TakesTheLastWordsOfAnAgentThatEnds) {
    ASSERT_TRUE(start(faulty("say_and_exit", {"ok {id} 2\\nhi", "0"})));
    EXPECT_EQ(answer("echo"), "hi");
    ASSERT_TRUE(start(faulty("close_input")));
    EXPECT_TRUE(fails(echo(bodies_of({5, 3'000'000, 5})), Code::unavailable));
    EXPECT_EQ(replies.bodies[0], "aaaaa");
    EXPECT_FALSE(agent.running());
}

TEST_F(ExchangeTest, HandsOnErrorsAndGoesOn) {
    ASSERT_TRUE(start(faulty("say", {"error {id} 8 denied\\nno\\nfor\\xe4y",
                                     "error {id} 300 failed extra\\n" + std::string(300, 'f')})));
    ASSERT_TRUE(echo({"a", "b", "c"}));
    EXPECT_EQ(replies.errors.at(0).code, Code::denied);
    EXPECT_EQ(replies.errors.at(0).text, "no?for?y");
    EXPECT_EQ(replies.errors.at(1).code, Code::failed);
    EXPECT_EQ(replies.errors.at(1).text, std::string(256, 'f'));
    EXPECT_EQ(replies.bodies.at(2), "c");
    EXPECT_EQ(agent.statistics().errors, 2u);
}

TEST_F(ExchangeTest, EndsWhereTheHandlerTurnsAReplyDown) {
    ASSERT_TRUE(start(faulty("normal")));
    const pid_t pid = agent.pid();
    const std::vector<Request> requests(5, Request{.verb = "echo"});
    replies = Replies(requests);
    replies.fail_at = 1;
    EXPECT_TRUE(fails(agent.exchange(replies, deadlines, waiter), Code::failed));
    EXPECT_EQ(replies.order.size(), 2u);
    works();
    EXPECT_EQ(agent.pid(), pid);
    replies = Replies(requests);
    replies.fail_at = 0;
    replies.fail_with = Code::protocol;
    EXPECT_TRUE(fails(agent.exchange(replies, deadlines, waiter), Code::protocol));
    EXPECT_FALSE(agent.running());
}

// Whatever had been written when the reply came, the agent is not given up for it.
TEST_F(ExchangeTest, WritesACutRequestToItsEndAfterAReplyThatIsTurnedDown) {
    ASSERT_TRUE(start(faulty("normal")));
    const pid_t pid = agent.pid();
    for (const std::size_t size : {10u, 1'000u, 16'433u, 70'000u, 300'000u, 5'000'000u}) {
        const std::string body(size, 'b');
        const std::vector<Request> requests(
            30, Request{.verb = "echo", .body = {bytes_of(body), {}}, .reply_limit = size});
        for (const std::size_t fail_at : {0u, 1u, 20u, 29u}) {
            replies = Replies(requests);
            replies.fail_at = fail_at;
            EXPECT_TRUE(fails(agent.exchange(replies, deadlines, waiter), Code::failed));
            EXPECT_EQ(replies.order.size(), fail_at + 1) << size;
        }
        works();
        EXPECT_EQ(agent.pid(), pid) << size;
    }
}

TEST_F(ExchangeTest, WaitsForNobodyLongerThanItsDeadlineToWriteACutRequest) {
    ASSERT_TRUE(start(shell_agent("echo",
                                  "read -r v i n w; head -c $n >/dev/null; echo error $i 2 failed; "
                                  "printf no; exec sleep 30")));
    deadlines.request = 200ms;
    const auto bodies = bodies_of({10, 4'000'000});
    std::vector<Request> requests;
    for (const std::string& body : bodies) {
        requests.push_back({.verb = "echo", .body = {bytes_of(body), {}}, .reply_limit = 10});
    }
    replies = Replies(requests);
    replies.fail_at = 0;
    EXPECT_TRUE(fails(agent.exchange(replies, deadlines, waiter), Code::failed));
    EXPECT_FALSE(agent.running());
}

TEST_F(ExchangeTest, SurvivesAnExceptionOfTheHandler) {
    class Throwing : public Replies {
      public:
        using Replies::Replies;
        Status take(std::size_t, const Result<Reply>&) override { throw std::bad_alloc(); }
    };
    ASSERT_TRUE(start(faulty("normal")));
    const pid_t pid = agent.pid();
    Throwing errand(std::vector<Request>(3, Request{.verb = "echo"}));
    EXPECT_THROW(static_cast<void>(agent.exchange(errand, deadlines, waiter)), std::bad_alloc);
    ASSERT_TRUE(start(faulty("normal")));
    works();
    EXPECT_EQ(agent.pid(), pid);
}

TEST_F(ExchangeTest, LivesOnAfterACancelAndDropsTheLateReply) {
    ASSERT_TRUE(start(faulty("late", {"0.4"})));
    const pid_t pid = agent.pid();
    EXPECT_TRUE(is_cancelled("echo", "late"));
    ASSERT_TRUE(start_again());
    works();
    std::this_thread::sleep_for(10ms);
    ASSERT_TRUE(start_again());
    works();
    EXPECT_EQ(agent.pid(), pid);
}

TEST_F(ExchangeTest, DropsALateReplyBetweenTwoUses) {
    ASSERT_TRUE(start(faulty("late", {"0.2"})));
    const pid_t pid = agent.pid();
    EXPECT_TRUE(is_cancelled("source", "", "1000000"));
    for (int i = 0; i < 30; ++i) {
        std::this_thread::sleep_for(10ms);
        ASSERT_TRUE(start_again());
    }
    works();
    EXPECT_EQ(agent.pid(), pid);
}

TEST_F(ExchangeTest, GoesOnWithAnAgentThatHasLostARequest) {
    ASSERT_TRUE(start(faulty("lose", {"unordered", "max-in-flight=4\n", "0"})));
    const pid_t pid = agent.pid();
    EXPECT_TRUE(is_cancelled("echo", "lost"));
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(start_again());
        works();
    }
    EXPECT_EQ(agent.pid(), pid);
}

TEST_F(ExchangeTest, RenewsTheDeadlineBehindALostRequest) {
    ASSERT_TRUE(start(faulty("lose", {"unordered", "", "0.04"})));
    deadlines.request = 500ms;
    EXPECT_TRUE(is_cancelled("echo", "lost"));
    ASSERT_TRUE(echo(std::vector<std::string>(20, "each in time")));
}

// Whether it is busy or idle meanwhile, and whether anything could be sent.
TEST_F(ExchangeTest, GivesUpAnAgentThatHasLostARequest) {
    for (const std::string capability : {"unordered", ""}) {
        ASSERT_TRUE(start(faulty("lose", {capability, "max-in-flight=1\\n", "0"})));
        const pid_t pid = agent.pid();
        deadlines.request = 500ms;
        EXPECT_TRUE(is_cancelled("echo", "lost"));
        ASSERT_TRUE(start_again());
        EXPECT_EQ(agent.pid(), pid);
        EXPECT_TRUE(fails(ask("echo", "kept from being sent"), Code::timed_out));
        ASSERT_TRUE(start_again());
        works();
        EXPECT_NE(agent.pid(), pid);
        const pid_t second = agent.pid();
        EXPECT_TRUE(is_cancelled("echo", "lost"));
        std::this_thread::sleep_for(deadlines.request);
        agent.try_again();
        ASSERT_TRUE(start_again());
        works();
        EXPECT_NE(agent.pid(), second);
    }
}

TEST_F(ExchangeTest, GivesUpNoAgentThatWorksOffWhatWasAbandoned) {
    ASSERT_TRUE(start(faulty("lose", {"", "", "0.1"})));
    const pid_t pid = agent.pid();
    deadlines.request = 300ms;
    waiter.waits = 0;
    waiter.interrupt_at = 0;
    EXPECT_TRUE(fails(echo(std::vector<std::string>(8)), Code::interrupted));
    waiter.interrupt_at = -1;
    for (int i = 0; i < 9; ++i) {
        std::this_thread::sleep_for(100ms);
        ASSERT_TRUE(start_again());
    }
    works();
    EXPECT_EQ(agent.pid(), pid);
}

TEST_F(ExchangeTest, RenewsTheDeadlineWithEachAnswer) {
    ASSERT_TRUE(start(faulty("slow")));
    deadlines.request = 700ms;
    const TimePoint began = Clock::now();
    ASSERT_TRUE(echo(bodies_of(std::vector<std::size_t>(20, 80))));  // at least 40 ms each
    EXPECT_EQ(replies.bodies.size(), 20u);
    EXPECT_GT(Clock::now() - began, 700ms);
}

TEST_F(ExchangeTest, LosesTheConnectionWithARequestThatWasCut) {
    const std::string stalled = shell_agent("echo", "exec sleep 30");
    ASSERT_TRUE(start(stalled));
    deadlines.request = 100ms;
    EXPECT_TRUE(fails(echo(bodies_of({4'000'000})), Code::timed_out));
    EXPECT_FALSE(agent.running());
    ASSERT_TRUE(start(stalled));
    EXPECT_TRUE(fails(echo({"small"}), Code::timed_out));
    EXPECT_TRUE(agent.running());
    waiter.waits = 0;
    waiter.interrupt_at = 0;
    EXPECT_TRUE(fails(echo(bodies_of({10, 4'000'000})), Code::interrupted));
    EXPECT_FALSE(agent.running());
}

TEST_F(ExchangeTest, MayBeAnsweredBeforeABodyIsWritten) {
    ASSERT_TRUE(start(faulty("answer_early")));
    const pid_t pid = agent.pid();
    for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(echo(bodies_of({2'000'000, 10, 500'000})));
        EXPECT_EQ(replies.errors.size(), 3u);
    }
    EXPECT_EQ(agent.pid(), pid);
}

// Waits are where a cancel is noticed: so each of them is cancelled once.
TEST_F(ExchangeTest, IsInterruptedAtEveryWait) {
    const auto bodies = bodies_of({10, 300'000, 0, 1'000'000, 65'536, 100'000, 7});
    const int before = open_descriptors();
    int number = 0;
    for (bool done = false; !done; ++number) {
        ASSERT_TRUE(start(faulty("normal")));
        waiter.waits = 0;
        waiter.interrupt_at = number;
        const Status status = echo(bodies);
        waiter.interrupt_at = -1;
        done = static_cast<bool>(status);
        if (done) {
            expect_echoed(bodies);
        } else {
            ASSERT_TRUE(fails(status, Code::interrupted));
            agent.try_again();
        }
        ASSERT_TRUE(start(faulty("normal")));
        works();
    }
    EXPECT_GE(number, 4);
    agent.stop(waiter);
    EXPECT_EQ(open_descriptors(), before);
}

TEST_F(ExchangeTest, AsksForInterruptsBeforeItDiagnosesAnEnd) {
    ASSERT_TRUE(start(faulty("say_and_exit", {"", "1"})));
    waiter.before = [this] { wait_for_end(agent.pid()); };
    waiter.waits = 0;
    waiter.interrupt_at = 1;
    EXPECT_TRUE(fails(ask("echo"), Code::interrupted));
    EXPECT_FALSE(agent.running());
}

TEST_F(ExchangeTest, IsNotBlockedByStandardError) {
    ASSERT_TRUE(start(faulty("flood", {"5000000"})));
    works();
    ASSERT_TRUE(start(faulty("endless")));
    deadlines.request = 200ms;
    const TimePoint began = Clock::now();
    EXPECT_TRUE(fails(ask("echo"), Code::timed_out));
    EXPECT_LT(Clock::now() - began, 5000ms);
}

TEST_F(ExchangeTest, HasADeadlineWhereAnotherProcessHoldsThePipes) {
    ASSERT_TRUE(start(faulty("grandchild", {"3"})));
    deadlines.request = 200ms;
    EXPECT_TRUE(fails(ask("echo"), Code::timed_out));
    ASSERT_TRUE(start(faulty("normal")));
    works();
}

TEST_F(ExchangeTest, SendsUnknownVerbs) {
    one_unknown_verb_in = 1;
    ASSERT_TRUE(start(faulty("normal")));
    for (int i = 0; i < 20; ++i) {
        const auto bodies = bodies_of({1, 2, 3});
        ASSERT_TRUE(echo(bodies));
        expect_echoed(bodies);
    }
    ASSERT_TRUE(start(shell_agent("echo",
                                  "while read -r v i n w; do head -c $n >/dev/null; "
                                  "echo ok $i 0; done")));
    EXPECT_TRUE(fails(ask("echo"), Code::protocol, "unknown verb"));
}

}  // namespace
}  // namespace kms::test
