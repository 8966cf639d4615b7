#include "blob/prefix.hpp"

#include <algorithm>

#include "base/hex.hpp"
#include "blob/pieces.hpp"
#include "crypto/sha256.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// Of the first `size` bytes, in hex.
Result<std::string> hash_input(Input& input, std::uint64_t size, bool show_progress) {
    KMS_ASSIGN(Sha256 hash, Sha256::start());
    SecretBytes piece;
    Progress progress(show_progress, size);
    for (std::uint64_t done = 0; done < size; done += piece.size()) {
        KMS_TRY(input.read(piece, std::min(read_length, size - done)));
        if (piece.empty()) {
            return Error{Code::denied, input.path() + " has " + std::to_string(done) +
                                           " bytes, of the blob " + std::to_string(size) +
                                           " are stored"};
        }
        KMS_TRY(hash.add(piece.view()));
        progress.show(done);
    }
    KMS_ASSIGN(const Sha256Digest digest, hash.finish());
    return to_hex(digest);
}

}  // namespace

Result<Stored> look_up(Connection& connection, const std::string& id) {
    KMS_ASSIGN(const Answer answer,
               connection.ask({"SELECT (m).size, (m).version, (m).complete"
                               " FROM (SELECT kms.blob_meta($1) AS m OFFSET 0) s",
                               {uuid_parameter(id)}}));
    return Stored{static_cast<std::uint64_t>(answer.number(0, 0)), answer.number(0, 1),
                  answer.flag(0, 2)};
}

Status check_prefix(Connection& connection, const std::string& id, const Stored& stored,
                    Input& input, bool show_progress) {
    KMS_TRY(
        connection.send({"SELECT size, pg_catalog.encode(sha256, 'hex') FROM kms.blob_verify($1)",
                         {uuid_parameter(id)}}));
    KMS_TRY(connection.flush());
    KMS_ASSIGN(const std::string hash, hash_input(input, stored.size, show_progress));
    KMS_ASSIGN(const Answer verified, connection.receive());
    if (static_cast<std::uint64_t>(verified.number(0, 0)) != stored.size) {
        return Error{Code::denied, "the blob " + id + " has just been changed"};
    }
    if (verified.text(0, 1) != hash) {
        return Error{Code::denied, input.path() + " does not begin with the " +
                                       std::to_string(stored.size) +
                                       " bytes that are stored of the blob " + id};
    }
    return {};
}

}  // namespace kms::blob
