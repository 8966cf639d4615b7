#include <fcntl.h>
#include <sys/socket.h>

#include <csignal>
#include <thread>

#include "conversation.hpp"

namespace kms::agent {
namespace {

// The agent's end of a pair of sockets, in a thread.
class Living {
  public:
    explicit Living(int extra_flags = 0) {
        int ends[2];
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        ours_ = UniqueFd(ends[0]);
        theirs_ = UniqueFd(ends[1]);
        fcntl(ends[1], F_SETFL, extra_flags);
        thread_ = std::thread(
            [this] { status_ = serve(theirs_.get(), theirs_.get(), store_, offered_); });
    }
    ~Living() { EXPECT_FALSE(thread_.joinable()); }

    int fd() const { return ours_.get(); }

    Status end() {
        if (thread_.joinable()) {
            shutdown(ours_.get(), SHUT_WR);
            thread_.join();
        }
        return std::move(status_);
    }

    std::string receive(std::size_t at_least) const {
        std::string text;
        while (text.size() < at_least) {
            char buffer[4096];
            const ssize_t count = read(fd(), buffer, sizeof buffer);
            if (count <= 0) {
                break;
            }
            text.append(buffer, static_cast<std::size_t>(count));
        }
        return text;
    }

    void send(std::string_view text) const {
        EXPECT_EQ(write(fd(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }

  private:
    KeyringStore store_;
    OfferedVerbs offered_;
    UniqueFd ours_;
    UniqueFd theirs_;
    std::thread thread_;
    Status status_;
};

TEST(Serve, AnswersAsSoonAsARequestIsComplete) {
    Living agent(O_NONBLOCK);
    agent.send("hello 0 0 kms/1");
    agent.send("\n");
    EXPECT_TRUE(agent.receive(1).starts_with("ok 0 "));
    for (const char byte : std::string("ping 1 0\n")) {
        agent.send({&byte, 1});
    }
    EXPECT_EQ(agent.receive(1), "ok 1 0\n");
    agent.send("ping 2 0\nping 3 0\nping 4");
    EXPECT_EQ(agent.receive(14), "ok 2 0\nok 3 0\n");
    agent.send(" 0\n");
    EXPECT_EQ(agent.receive(1), "ok 4 0\n");
    EXPECT_TRUE(agent.end());
}

TEST(Serve, StopsReadingWhileNobodyReadsItsReplies) {
    signal(SIGPIPE, SIG_IGN);
    Living agent;
    agent.send(hello);
    agent.receive(1);
    agent.send("create 1 0 a xaes-256-gcm\n");
    agent.receive(1);
    fcntl(agent.fd(), F_SETFL, O_NONBLOCK);
    const std::string body(100000, 'x');
    std::size_t sent = 0;
    std::uint64_t id = 2;
    std::string pending;
    for (int idle = 0; idle < 20;) {
        if (pending.empty()) {
            pending = request("encrypt", id++, "a 0", body);
        }
        const ssize_t count = write(agent.fd(), pending.data(), pending.size());
        if (count > 0) {
            sent += static_cast<std::size_t>(count);
            pending.erase(0, static_cast<std::size_t>(count));
            idle = 0;
        } else {
            ++idle;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
    }
    EXPECT_LT(sent, 8u << 20);
    shutdown(agent.fd(), SHUT_RDWR);
    EXPECT_FALSE(agent.end());
}

TEST(Serve, ARefusalReachesTheClient) {
    const UniqueFd in(memfd_create("in", MFD_CLOEXEC));
    const UniqueFd out(memfd_create("out", MFD_CLOEXEC));
    ASSERT_EQ(write(in.get(), "hello 0 5 kms/1\nab=c\n", 21), 21);
    lseek(in.get(), 0, SEEK_SET);
    ASSERT_TRUE(refuse_to_serve(in.get(), out.get(), {Code::unavailable, "no keyring"}));
    lseek(out.get(), 0, SEEK_SET);
    EXPECT_EQ(text_of(read_all(out.get(), 100, "out")->view()),
              "error 0 10 unavailable\nno keyring");
    ASSERT_TRUE(refuse_to_serve(in.get(), out.get(), {Code::unavailable, "no keyring"}));
}

}  // namespace
}  // namespace kms::agent
