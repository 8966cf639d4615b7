// Bytes that forked children report, to compare them with the parent's.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "base/bytes.hpp"

namespace kms::test {

// What `make` wrote into `size` bytes in a child of its own. `make` returns whether it worked.
template <typename Make>
std::vector<Byte> in_child(std::size_t size, Make make) {
    std::vector<Byte> out(size);
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        const bool told =
            make(ByteSpan(out)) && write(ends[1], out.data(), size) == static_cast<ssize_t>(size);
        _exit(told ? 0 : 1);
    }
    close(ends[1]);
    EXPECT_EQ(read(ends[0], out.data(), size), static_cast<ssize_t>(size));
    close(ends[0]);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    return out;
}

}  // namespace kms::test
