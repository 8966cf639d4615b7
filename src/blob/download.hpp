// Blobs on their way out, all as they were at one moment.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "blob/connection.hpp"
#include "blob/output_file.hpp"
#include "blob/progress.hpp"
#include "blob/range.hpp"

namespace kms::blob {

class Download {
  public:
    // Both must outlive it.
    Download(Connection& connection, OutputFile& output, bool quiet)
        : connection_(connection), output_(output), quiet_(quiet) {}

    // Before the first copy().
    Status begin();

    // The bytes written. Everything written is authentic; an error means that there may be less of
    // it than was asked for.
    Result<std::uint64_t> copy(const std::string& id, const std::optional<Range>& range);

  private:
    Result<Extent> find(const std::string& id, const std::optional<Range>& range);
    Status ask(const std::string& id, std::uint64_t most);
    Status ask_ahead(const std::string& id);
    Status take_piece(const std::string& id);

    Connection& connection_;
    OutputFile& output_;
    bool quiet_;
    std::uint64_t next_ = 0;  // the first byte that was not asked for
    std::uint64_t end_ = 0;
    std::deque<std::uint64_t> asked_;  // how many bytes each answer to come should have
};

}  // namespace kms::blob
