#include "blob/download.hpp"

#include <algorithm>

#include "base/secret.hpp"
#include "blob/pieces.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// One that is written here, one that arrives, one that the server works on, and one to spare.
constexpr std::size_t most_in_flight = 4;

}  // namespace

Status Download::begin() {
    KMS_TRY(connection_.ask({"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}));
    return {};
}

Result<std::uint64_t> Download::copy(const std::string& id, const std::optional<Range>& range) {
    KMS_ASSIGN(const Extent extent, find(id, range));
    next_ = extent.start;
    end_ = extent.end;
    Progress progress(!quiet_, extent.end - extent.start);
    // Of an empty blob, too: what is there of it must be authentic.
    KMS_TRY(ask(id, first_read_length));
    KMS_TRY(ask_ahead(id));
    for (std::uint64_t done = 0; !asked_.empty(); progress.show(done)) {
        done += asked_.front();
        KMS_TRY(take_piece(id));
        KMS_TRY(ask_ahead(id));
    }
    return extent.end - extent.start;
}

Result<Extent> Download::find(const std::string& id, const std::optional<Range>& range) {
    KMS_ASSIGN(const Answer answer,
               connection_.ask({"SELECT (kms.blob_meta($1)).size", {uuid_parameter(id)}}));
    const auto size = static_cast<std::uint64_t>(answer.number(0, 0));
    return range ? extent_in(*range, size) : Extent{0, size};
}

Status Download::ask(const std::string& id, std::uint64_t most) {
    const std::uint64_t length = std::min(most, end_ - next_);
    KMS_TRY(
        connection_.send({"SELECT kms.blob_read($1, $2, $3)",
                          {uuid_parameter(id), bigint_parameter(static_cast<std::int64_t>(next_)),
                           bigint_parameter(static_cast<std::int64_t>(length))},
                          Format::binary}));
    next_ += length;
    asked_.push_back(length);
    return {};
}

Status Download::ask_ahead(const std::string& id) {
    while (asked_.size() < most_in_flight && next_ < end_) {
        KMS_TRY(ask(id, read_length));
    }
    return connection_.flush();
}

Status Download::take_piece(const std::string& id) {
    KMS_ASSIGN(const Answer answer, connection_.receive());
    const ByteSpan piece = answer.bytes(0, 0);
    if (piece.size() != asked_.front()) {
        return Error{Code::failed, "the blob " + id + " was cut short"};
    }
    asked_.pop_front();
    Status written = output_.write(piece);
    wipe(piece);
    return written;
}

}  // namespace kms::blob
