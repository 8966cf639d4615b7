// What a child process sees of its parent (nothing), and how it is ended.
#include "client/link/child.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <system_error>
#include <thread>

#include "agent_harness.hpp"

namespace kms::test {
namespace {

using namespace std::chrono_literals;

// All that comes until the end of the stream.
std::string read_all(const UniqueFd& fd) {
    std::string text;
    for (;;) {
        pollfd descriptor{fd.get(), POLLIN, 0};
        if (::poll(&descriptor, 1, 20'000) <= 0) {
            return text + "(nothing came)";
        }
        char bytes[4096];
        const ssize_t count = ::read(fd.get(), bytes, sizeof bytes);
        if (count <= 0) {
            return text;
        }
        text.append(bytes, static_cast<std::size_t>(count));
    }
}

int wait_for(pid_t pid) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    return status;
}

std::string output_of(const std::string& command, const std::string& input = {}) {
    auto child = spawn(command);
    if (!child) {
        return child.error().text;
    }
    EXPECT_EQ(::write(child->in.get(), input.data(), input.size()),
              static_cast<ssize_t>(input.size()));
    child->in.reset();
    const std::string text = read_all(child->out) + read_all(child->err);
    wait_for(child->pid);
    return text;
}

// Runs `body` in a process of its own, which may ruin itself; true where it says so.
template <typename Body>
bool in_own_process(Body body) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::_exit(body() ? 0 : 1);
    }
    return wait_for(pid) == 0;
}

TEST(Child, HasThreePipes) {
    EXPECT_EQ(output_of("cat; echo end; echo wrong >&2", "text "), "text end\nwrong\n");
    EXPECT_EQ(output_of("cat /dev/stdin > /dev/stdout; echo x > /dev/stderr", "text"), "textx\n");
    EXPECT_EQ(output_of("for i in 0 1 2; do readlink /proc/self/fd/$i | cut -d: -f1; done >&2"),
              "pipe\npipe\npipe\n");
}

TEST(Child, HasLargePipesWhereTheSystemAllows) {
    constexpr int large = 256 * 1024;
    int probe[2];
    ASSERT_EQ(::pipe2(probe, O_CLOEXEC), 0);
    const UniqueFd ends[] = {UniqueFd(probe[0]), UniqueFd(probe[1])};
    if (::fcntl(ends[0].get(), F_SETPIPE_SZ, large) < large) {
        GTEST_SKIP() << "this user's pipes are at their limit";
    }
    auto child = spawn("cat");
    ASSERT_TRUE(child);
    EXPECT_GE(::fcntl(child->in.get(), F_GETPIPE_SZ), large);
    EXPECT_GE(::fcntl(child->out.get(), F_GETPIPE_SZ), large);
    child->in.reset();
    wait_for(child->pid);
}

TEST(Child, GetsTheCommandAsItIs) {
    EXPECT_EQ(output_of("printf '%s|' \"$0\" \"$#\" 'a  b' \"it's\""), "sh|0|a  b|it's|");
}

TEST(Child, NeedsNoShellForAPlainCommand) {
    for (const char* command : {"/bin/cat /proc/self/stat", "exec  /bin/cat /proc/self/stat "}) {
        auto child = spawn(command);
        ASSERT_TRUE(child);
        EXPECT_TRUE(read_all(child->out).starts_with(std::to_string(child->pid) + " (cat) "));
        wait_for(child->pid);
    }
}

TEST(Child, GetsAPlainCommandsWordsAsAShellSplitsThem) {
    EXPECT_EQ(output_of("  /bin/echo  a=b   -c,d @%+: ./e "), "a=b -c,d @%+: ./e\n");
}

// The shell has the words for what cannot be run, and runs a script that does not say by what.
TEST(Child, IsLeftToTheShellWhereItCannotBeStartedWithout) {
    EXPECT_NE(output_of("/no/such/program a").find("not found"), std::string::npos);
    EXPECT_NE(output_of("/etc/passwd").find("ermission denied"), std::string::npos);
    char path[] = "/tmp/kms-child-test-XXXXXX";
    {
        const UniqueFd script(::mkstemp(path));
        ASSERT_EQ(::write(script.get(), "echo $1\n", 8), 8);
        ASSERT_EQ(::fchmod(script.get(), 0700), 0);
    }
    EXPECT_EQ(output_of(std::string(path) + " word"), "word\n");
    ::unlink(path);
}

TEST(Child, HasItsOwnSession) {
    const auto child = spawn("cat");
    ASSERT_TRUE(child);
    EXPECT_EQ(::getsid(child->pid), child->pid);
    EXPECT_EQ(::getpgid(child->pid), child->pid);
    EXPECT_NE(::getsid(0), child->pid);
    ::kill(child->pid, SIGKILL);
    wait_for(child->pid);
}

TEST(Child, InheritsNeitherDispositionsNorMask) {
    EXPECT_TRUE(in_own_process([] {
        for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD}) {
            std::signal(signal, SIG_IGN);
        }
        sigset_t all;
        sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, nullptr);
        std::signal(SIGCHLD, SIG_DFL);
        // The C library keeps 32 and 33 to itself.
        const std::string blocked = output_of("sed -n 's/^SigBlk:.//p' /proc/self/status");
        const std::string ignored = output_of("sed -n 's/^SigIgn:.//p' /proc/self/status");
        return std::stoull(blocked, nullptr, 16) == 0 &&
               (std::stoull(ignored, nullptr, 16) & ~0x180000000ULL) == 0;
    }));
}

TEST(Child, InheritsNoDescriptor) {
    EXPECT_TRUE(in_own_process([] {
        const int file = ::open("/dev/null", O_RDONLY);
        ::dup2(file, 3);
        ::dup2(file, 77);
        ::dup2(file, 1000);
        // No pipe of the shell's own, and it stays the parent of ls.
        return output_of("ls /proc/$$/fd; true") == "0\n1\n2\n";
    }));
}

TEST(Child, WorksWhereTheParentHasClosedItsOwn) {
    for (int closed = 1; closed < 8; ++closed) {
        EXPECT_TRUE(in_own_process([closed] {
            for (int fd = 0; fd < 3; ++fd) {
                if ((closed >> fd & 1) != 0) {
                    ::close(fd);
                }
            }
            return output_of("cat; echo wrong >&2", "text\n") == "text\nwrong\n";
        })) << closed;
    }
}

TEST(Child, LeavesOurEndsNonBlockingAndCloseOnExec) {
    const auto child = spawn("cat");
    ASSERT_TRUE(child);
    for (const UniqueFd* fd : {&child->in, &child->out, &child->err}) {
        EXPECT_NE(::fcntl(fd->get(), F_GETFL) & O_NONBLOCK, 0);
        EXPECT_NE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
    }
    EXPECT_EQ(output_of("exec 3<&0; [ -p /dev/stdin ] && echo blocking"), "blocking\n");
    ::kill(child->pid, SIGKILL);
    wait_for(child->pid);
}

TEST(Child, SaysWhyItCannotStart) {
    const int before = open_descriptors();
    EXPECT_TRUE(in_own_process([] {
        // UBSan needs descriptors to look at a virtual table that it has not seen yet.
        EXPECT_FALSE(std::generic_category().message(EMFILE).empty());
        const rlimit none{10, 10};
        ::setrlimit(RLIMIT_NOFILE, &none);
        while (::dup(0) >= 0) {
        }
        const auto child = spawn("cat");
        return !child && child.error().code == Code::unavailable &&
               child.error().text.find("Too many open files") != std::string::npos;
    }));
    const auto child = spawn(std::string(1 << 20, 'x'));
    ASSERT_FALSE(child);
    EXPECT_EQ(child.error().text, "could not start a process: Argument list too long");
    EXPECT_EQ(open_descriptors(), before);
}

class EndingTest : public testing::Test {
  protected:
    // A child that is there: it has said so.
    pid_t begin(const std::string& command) {
        auto child = spawn(command);
        EXPECT_TRUE(child);
        pollfd descriptor{child->out.get(), POLLIN, 0};
        EXPECT_EQ(::poll(&descriptor, 1, 20'000), 1);
        return child->pid;
    }

    pid_t number_from(const Child& child) {
        char text[32] = {};
        pollfd descriptor{child.out.get(), POLLIN, 0};
        ::poll(&descriptor, 1, 20'000);
        EXPECT_GT(::read(child.out.get(), text, sizeof text - 1), 0);
        return static_cast<pid_t>(std::stol(text));
    }

    bool ends(pid_t pid, TimePoint then) {
        for (int i = 0; i < 2000 && ending.size() != 0; ++i) {
            ending.advance(then);
            std::this_thread::sleep_for(5ms);
        }
        return ending.empty() && ::kill(pid, 0) != 0;
    }

    EndingChildren ending;
    TimePoint now = Clock::now();
    static constexpr milliseconds grace = EndingChildren::grace;
};

TEST_F(EndingTest, IsReapedWhereItEndsByItself) {
    const pid_t pid = begin("echo; cat");
    ending.add(pid, now);
    EXPECT_TRUE(ends(pid, now));
    EXPECT_EQ(ending.take_stubborn(), -1);
}

TEST_F(EndingTest, HasItsGraceAndIsThenTerminated) {
    const pid_t pid = begin("echo; exec sleep 60");
    ending.add(pid, now);
    ending.advance(now + grace - 1ms);
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(::kill(pid, 0), 0);
    EXPECT_TRUE(ends(pid, now + grace));
}

TEST_F(EndingTest, IsWaitedForByAProcessThatEnds) {
    const pid_t pid = begin("echo; cat >/dev/null; exec sleep 0.1");
    ending.add(pid, now);
    ending.wait_for_all();
    EXPECT_TRUE(ending.empty() && ::kill(pid, 0) != 0);
}

TEST_F(EndingTest, IsEndedByAProcessThatEnds) {
    const pid_t pid = begin("trap '' TERM; echo; while :; do sleep 0.1; done 2>/dev/null");
    ending.add(pid, now);
    ending.wait_for_all();
    EXPECT_TRUE(ending.empty() && ::kill(pid, 0) != 0);
    EXPECT_GE(Clock::now() - now, 2 * grace);
}

TEST_F(EndingTest, IsKilledWhereItIgnoresTheRest) {
    const pid_t pid = begin("trap '' TERM; echo; while :; do sleep 0.1; done 2>/dev/null");
    ending.add(pid, now);
    ending.advance(now + grace);
    std::this_thread::sleep_for(50ms);
    ending.advance(now + grace);
    EXPECT_EQ(ending.size(), 1u);
    EXPECT_TRUE(ends(pid, now + 2 * grace));
    EXPECT_EQ(ending.take_stubborn(), -1);
}

// Nobody's parent hears of what an agent has started itself.
TEST_F(EndingTest, TakesItsWholeGroupAlong) {
    auto child = spawn("sleep 60 & echo $!; wait");
    ASSERT_TRUE(child);
    const pid_t grandchild = number_from(*child);
    ending.add(child->pid, now);
    EXPECT_TRUE(ends(child->pid, now + grace));
    EXPECT_NE(::kill(grandchild, 0), 0);
}

TEST_F(EndingTest, OutlivesTheOneWhoStartedTheGroup) {
    auto child = spawn("sleep 60 & echo $!");
    ASSERT_TRUE(child);
    const pid_t grandchild = number_from(*child);
    wait_for(child->pid);
    ending.add(child->pid, now);
    EXPECT_EQ(ending.size(), 1u);
    EXPECT_EQ(::kill(grandchild, 0), 0);
    EXPECT_TRUE(ends(child->pid, now + grace));
    EXPECT_NE(::kill(grandchild, 0), 0);
}

TEST_F(EndingTest, NeverBlocksOnWhatItMaySignalNot) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs root, to have a child of another user";
    }
    EXPECT_TRUE(in_own_process([this] {
        auto child = spawn("echo; exec sleep 60");
        pollfd descriptor{child->out.get(), POLLIN, 0};
        ::poll(&descriptor, 1, 20'000);
        const bool dropped = ::setresuid(65534, 65534, 0) == 0;
        ending.add(child->pid, now);
        ending.advance(now + grace);
        const bool told = ending.take_stubborn() == child->pid && ending.take_stubborn() == -1;
        ending.advance(now + 5 * grace);
        const bool quiet = ending.size() == 1 && ending.take_stubborn() == -1;
        ending.wait_for_all();
        const bool patient = ending.size() == 1 && !ending.is_full() &&
                             Clock::now() - now >= EndingChildren::patience;
        const bool alive = ::kill(child->pid, 0) != 0 && errno == EPERM;
        const bool back = ::setresuid(0, 0, 0) == 0 && ::kill(child->pid, SIGKILL) == 0;
        return dropped && told && quiet && patient && alive && back && ends(child->pid, now);
    }));
}

TEST_F(EndingTest, IsFullWhereThereAreTooMany) {
    std::vector<pid_t> pids;
    for (int i = 0; i < 256; ++i) {
        EXPECT_FALSE(ending.is_full());
        pids.push_back(begin("echo; exec sleep 60"));
        ending.add(pids.back(), now);
    }
    EXPECT_TRUE(ending.is_full());
    EXPECT_TRUE(ends(pids[255], now + grace));
}

TEST_F(EndingTest, KeepsErrnoAndForgetsWhatOthersReaped) {
    const pid_t pid = begin("echo");
    wait_for(pid);
    ending.add(pid, now);
    EXPECT_TRUE(ending.empty());
    const pid_t other = begin("echo; exec sleep 60");
    ending.add(other, now);
    ::kill(other, SIGKILL);
    wait_for(other);
    errno = E2BIG;
    ending.advance(now);
    EXPECT_EQ(errno, E2BIG);
    EXPECT_TRUE(ending.empty());
}

}  // namespace
}  // namespace kms::test
