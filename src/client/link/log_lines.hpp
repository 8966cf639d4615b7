// What an agent writes to its standard error, as lines for a log: bounded, printable.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.hpp"

namespace kms {

// `bytes` with a question mark for each that is not printable ASCII, cut to `most`.
std::string printable(ByteView bytes, std::size_t most);

class LogLines {
  public:
    static constexpr std::size_t most_bytes = 512;  // of a line
    static constexpr std::size_t most_lines = 64;   // kept until they are taken

    // Of another stream.
    void begin() {
        first_.clear();
        last_.clear();
    }
    void append(ByteView bytes);

    // The stream has ended: an unfinished line is a line.
    void finish();

    // Adds a whole line, which may be one of our own.
    void note(std::string line);

    // Lines since the last call, and where some were dropped one that counts them.
    std::vector<std::string> take();

    // The first line of this stream that is not empty, and the last where that is another, each cut
    // to `most`; "" where there is none. Of a chain of programs the first to fail says why, the
    // last only that it did.
    std::string first_and_last(std::size_t most) const;

  private:
    void end_line();

    std::vector<std::string> lines_;
    std::string unfinished_;
    std::string first_;
    std::string last_;
    std::size_t dropped_ = 0;
};

}  // namespace kms
