// An input on its way into a blob.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "blob/connection.hpp"
#include "blob/input.hpp"
#include "blob/options.hpp"
#include "blob/prefix.hpp"
#include "blob/progress.hpp"

namespace kms::blob {

class Upload {
  public:
    // All three must outlive it.
    Upload(Connection& connection, Input& input, const Options& options)
        : connection_(connection), input_(input), options_(options) {}

    // As a new blob.
    Status put();

    // Goes on with a blob that was not completed.
    Status resume(const std::string& id);

    // Empty while there is none.
    const std::string& id() const { return id_; }

    // Whether the blob is there, and what it has is how the input begins; of one that is sent
    // whole, whether it may be there under an id that has not arrived.
    enum class Beginning { gone, unknown, stored, unnamed };
    Beginning beginning() const { return beginning_; }

    // Bytes of which the server has said that it keeps them.
    std::uint64_t stored() const { return stored_; }

  private:
    Status put_whole(const SecretBytes& piece);
    Status put_first(const SecretBytes& piece);
    Status append_rest(Progress& progress);
    Status send_piece(const SecretBytes& piece, bool last);
    Status settle(std::size_t most);
    Status settle_what_is_there();
    Status take_answer();
    Statement put_statement(const SecretBytes& piece, bool complete) const;
    Statement append_statement(const SecretBytes& piece, bool complete) const;
    Error note_failure(Error failure);
    Status check_end(const std::string& id);

    Connection& connection_;
    Input& input_;
    const Options& options_;
    std::string id_;
    Beginning beginning_ = Beginning::gone;
    std::uint64_t sent_ = 0;
    std::uint64_t stored_ = 0;
    std::deque<std::uint64_t> in_flight_;  // bytes that each answer to come confirms
};

}  // namespace kms::blob
