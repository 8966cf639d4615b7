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

    void begin() { last_.clear(); }  // of another stream
    void append(ByteView bytes);

    // The stream has ended: an unfinished line is a line.
    void finish();

    // Adds a whole line, which may be one of our own.
    void note(std::string line);

    // Lines since the last call, and where some were dropped one that counts them.
    std::vector<std::string> take();

    // The last line of this stream that is not empty; "" where there is none.
    const std::string& last() const { return last_; }

  private:
    void end_line();

    std::vector<std::string> lines_;
    std::string unfinished_;
    std::string last_;
    std::size_t dropped_ = 0;
};

}  // namespace kms
