// Where a blob's bytes go: standard output, or a file that gets its name when it has all of them.
// Until then nobody else may read it. Then it has the mode that a new file has, or that of the file
// that it replaces, and its owner and group where they can be given. It replaces what was there in
// the beginning, and nothing that has come since.
#pragma once

#include <string>

#include "base/bytes.hpp"
#include "base/place.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace kms::blob {

enum class Replace { no, yes };

class OutputFile {
  public:
    // Empty: standard output. Code::denied where `path` is there and `replace` does not allow it,
    // or is anything but a regular file. Code::io.
    static Result<OutputFile> open(const std::string& path, Replace replace);

    // Removes what was not finished.
    ~OutputFile();
    OutputFile(OutputFile&& other) noexcept;
    OutputFile& operator=(OutputFile&&) = delete;

    // Code::io.
    Status write(ByteView bytes);

    // Durable, under its name. Code::denied where somebody else has meanwhile made something of
    // that name, or taken away what was to be replaced. Code::io.
    Status finish();

  private:
    explicit OutputFile(std::string path) : path_(std::move(path)) {}

    bool is_standard_output() const { return path_.empty(); }
    Error cannot_write() const;
    Status find_replaced(Replace replace);
    Status make_temporary();
    bool make_temporary(const std::string& name);
    Status take_mode();
    Status check_replaced() const;
    Status take_name();
    Status take_free_name();
    Status keep_in_folder() const;

    int folder() const { return place_.folder.get(); }

    std::string path_;
    Place place_;            // of a file; all happens in the folder that it was in at first
    UniqueFd replaced_;      // what was there: held, so that no other file can get its number
    std::string temporary_;  // its name; empty: there is none
    UniqueFd file_;
};

}  // namespace kms::blob
