// What takes too long, or too much memory, under the sanitizers: ten thousand restarts, and bounds
// of memory that the sanitizers' own would hide.
#include <thread>

#include "agent_harness.hpp"

namespace kms::test {
namespace {

using namespace std::chrono_literals;

class Counting : public Replies {
  public:
    using Replies::Replies;
    std::size_t bytes = 0;
    Status take(std::size_t, const Result<Reply>& reply) override {
        bytes += reply ? reply->body.size() : 0;
        return {};
    }
};

using AgentSlowTest = AgentTest;

TEST_F(AgentSlowTest, LeavesNothingBehindAfterTenThousandRestarts) {
    const std::string command =
        "read -r l; echo ok 0 0 kms/1 ping; while read -r v i n; do echo ok $i 0; done";
    deadlines.start = 60000ms;
    identity = {};
    ASSERT_TRUE(start(command));
    const int descriptors = open_descriptors();
    const long memory = status_line("VmRSS");
    std::size_t most_ending = 0;
    for (int i = 0; i < 10'000; ++i) {
        if (i % 2 == 0) {
            ::kill(agent.pid(), SIGKILL);
            wait_for_end(agent.pid());
        } else {
            agent.stop(waiter);
        }
        // A change of the command takes the back-off away, which has its own test.
        ASSERT_TRUE(start(command + "; " + (i % 2 == 0 ? ":" : "true"))) << i;
        most_ending = std::max(most_ending, agent.ending().size());
    }
    ASSERT_TRUE(ask("ping"));
    EXPECT_EQ(open_descriptors(), descriptors);
    EXPECT_LT(status_line("VmRSS"), memory + 4096);
    EXPECT_LT(most_ending, 32u);
    agent.stop(waiter);
    for (int i = 0; i < 1000 && !agent.ending().empty(); ++i) {
        agent.ending().advance(Clock::now());
        std::this_thread::sleep_for(5ms);
    }
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
}

TEST_F(AgentSlowTest, HoldsLittleMoreThanOneReply) {
    ASSERT_TRUE(start(faulty("normal")));
    const std::string body(1 << 20, 'b');
    const std::vector<Request> requests(
        64, Request{.verb = "echo", .body = {bytes_of(body), {}}, .reply_limit = 1 << 20});
    const long before = status_line("VmHWM");
    Counting counted(requests);
    ASSERT_TRUE(agent.exchange(counted, deadlines, waiter));
    EXPECT_EQ(counted.bytes, std::size_t{64} << 20);
    EXPECT_LT(status_line("VmHWM"), before + 8192);
}

TEST_F(AgentSlowTest, DropsALateReplyInLittleMemory) {
    ASSERT_TRUE(start(faulty("late", {"0.2"})));
    const pid_t pid = agent.pid();
    deadlines.request = 50ms;
    const std::string_view size = "200000000";
    const Request large{.verb = "source", .words = {bytes_of(size)}, .reply_limit = 1 << 30};
    EXPECT_TRUE(fails(ask_all({large}), Code::timed_out));
    const long before = status_line("VmHWM");
    deadlines.request = 20000ms;
    works();
    EXPECT_EQ(agent.pid(), pid);
    EXPECT_LT(status_line("VmHWM"), before + 4096);
}

TEST_F(AgentSlowTest, PipelinesManySmallRequests) {
    ASSERT_TRUE(start(faulty("normal")));
    const std::string body(32, 'b');
    const std::vector<Request> requests(
        200'000, Request{.verb = "echo", .body = {bytes_of(body), {}}, .reply_limit = 32});
    Counting counted(requests);
    const long before = status_line("VmHWM");
    ASSERT_TRUE(agent.exchange(counted, deadlines, waiter));
    EXPECT_EQ(counted.bytes, 200'000u * 32);
    EXPECT_LT(status_line("VmHWM"), before + 4096);
}

}  // namespace
}  // namespace kms::test
