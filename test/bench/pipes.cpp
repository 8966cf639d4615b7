// What goes over two pipes in a second, by itself: pipes ping-pong COUNT
//                                                  pipes pipelined COUNT AGENT-COMMAND
//
// ping-pong: 64 bytes to a child and 64 back, COUNT times: the least that a remote call can cost.
// Prints microseconds each. pipelined: COUNT `encrypt` requests of 32 bytes, written as fast as the
// agent takes them while the replies are read. Prints requests a second. The child and its pipes
// are made by the code that makes the extension's.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "client/link/child.hpp"
#include "wire/frame.hpp"

namespace {

using kms::Byte;
using kms::ByteSpan;
using kms::ByteView;

constexpr std::size_t message_size = 64;
constexpr std::size_t value_size = 32;

[[noreturn]] void give_up(std::string_view why) {
    std::fprintf(stderr, "pipes: %.*s\n", static_cast<int>(why.size()), why.data());
    std::_Exit(1);
}

void make_blocking(int fd) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        give_up("fcntl failed");
    }
}

// False at the end of input.
bool read_all(int fd, ByteSpan bytes) {
    while (!bytes.empty()) {
        const ssize_t count = read(fd, bytes.data(), bytes.size());
        if (count <= 0) {
            return false;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return true;
}

void write_all(int fd, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t count = write(fd, bytes.data(), bytes.size());
        if (count <= 0) {
            give_up("cannot write to the child");
        }
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
}

ByteView bytes_of(std::string_view text) {
    return {reinterpret_cast<const Byte*>(text.data()), text.size()};
}

kms::Child start(const std::string& command) {
    kms::Result<kms::Child> child = kms::spawn(command);
    if (!child) {
        give_up(child.error().text);
    }
    make_blocking(child->in.get());
    make_blocking(child->out.get());
    return std::move(*child);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int answer_pings() {
    std::array<Byte, message_size> message;
    while (read_all(STDIN_FILENO, message)) {
        write_all(STDOUT_FILENO, message);
    }
    return 0;
}

void ping_pong(const kms::Child& child, std::size_t count) {
    std::array<Byte, message_size> message{};
    for (std::size_t i = 0; i < count; ++i) {
        write_all(child.in.get(), message);
        if (!read_all(child.out.get(), message)) {
            give_up("the child has gone");
        }
    }
}

int measure_ping_pong(std::size_t count, const std::string& self) {
    const kms::Child child = start("exec '" + self + "' pong");
    ping_pong(child, count / 10 + 1);  // until both processes are warm
    const auto start = std::chrono::steady_clock::now();
    ping_pong(child, count);
    std::printf("%.4f\n", seconds_since(start) * 1e6 / static_cast<double>(count));
    return 0;
}

std::string encrypt_requests(std::size_t count) {
    std::string requests;
    const std::string value(value_size, 'v');
    for (std::size_t i = 0; i < count; ++i) {
        requests += "encrypt " + std::to_string(i + 2) + " 32 bench 0\n" + value;
    }
    return requests;
}

// Reads `count` replies, all of which must be `ok`.
void read_replies(int fd, std::size_t count) {
    kms::wire::FrameReader reader;
    while (count > 0) {
        const ByteSpan space = reader.space();
        const ssize_t arrived = read(fd, space.data(), space.size());
        if (arrived <= 0) {
            give_up("the agent has gone");
        }
        reader.commit(static_cast<std::size_t>(arrived));
        for (auto head = reader.head(); head && *head != nullptr && reader.body_complete();
             head = reader.head()) {
            if ((*head)->verb != "ok") {
                give_up("the agent refused a request");
            }
            reader.pop();
            --count;
        }
    }
}

int measure_pipelined(std::size_t count, const std::string& command) {
    const kms::Child agent = start(command);
    write_all(agent.in.get(), bytes_of("hello 0 0 kms/1\ncreate 1 0 bench xaes-256-gcm\n"));
    read_replies(agent.out.get(), 2);
    const std::string requests = encrypt_requests(count);
    const auto start = std::chrono::steady_clock::now();
    std::thread writer([&] { write_all(agent.in.get(), bytes_of(requests)); });
    read_replies(agent.out.get(), count);
    writer.join();
    std::printf("%.0f\n", static_cast<double>(count) / seconds_since(start));
    return 0;
}

std::size_t number(std::string_view text) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value == 0) {
        give_up("COUNT is a positive number");
    }
    return value;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    if (mode == "pong") {
        return answer_pings();
    }
    if (mode == "ping-pong" && argc == 3) {
        return measure_ping_pong(number(argv[2]), argv[0]);
    }
    if (mode == "pipelined" && argc == 4) {
        return measure_pipelined(number(argv[2]), argv[3]);
    }
    give_up("usage: pipes ping-pong COUNT | pipelined COUNT AGENT-COMMAND");
}
