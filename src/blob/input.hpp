// The file, or standard input, that is put.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "base/unique_fd.hpp"

namespace kms::blob {

// All of a short file, or of standard input ("-"), without the newline at its end: what should not
// stand in a command line. Code::io; Code::invalid for more than 2 MiB.
Result<std::string> read_words(const std::string& path);

class Input {
  public:
    // "-": standard input. Code::io.
    static Result<Input> open(const std::string& path);

    // `length` bytes, fewer only where the input ends. Code::io, Code::interrupted.
    Status read(SecretBytes& piece, std::uint64_t length);

    const std::string& path() const { return path_; }
    bool is_standard_input() const { return path_ == "-"; }

    // The last part of the path; none of standard input.
    std::optional<std::string> name() const;

    // Of a regular file.
    std::optional<std::uint64_t> size() const { return size_; }

    // Microseconds since 1970, of a regular file; none of a time that the server cannot store.
    std::optional<std::int64_t> modified() const { return modified_; }

  private:
    explicit Input(std::string path) : path_(std::move(path)) {}
    int fd() const;
    Status look();

    std::string path_;
    UniqueFd file_;
    std::optional<std::uint64_t> size_;
    std::optional<std::int64_t> modified_;
};

}  // namespace kms::blob
