#include "blob/upload.hpp"

#include "blob/pieces.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// What the server has before it: one that it works on, one that arrives.
constexpr std::size_t most_in_flight = 2;

constexpr std::int64_t first_version = 1;

// A piece is taken only where it belongs, behind all that was sent before it. The version that it
// is appended to is known to the session, as its own last append returned it: were it counted here,
// a piece might be taken behind that of somebody else.
constexpr const char* append =
    "SELECT pg_catalog.set_config('kms_blob.version', kms.blob_append($1, $2,"
    " if_version => pg_catalog.current_setting('kms_blob.version')::pg_catalog.int8,"
    " complete => $3, at => $4)::pg_catalog.text, false)";

Statement start_at(std::int64_t version) {
    return {"SELECT pg_catalog.set_config('kms_blob.version', $1, false)",
            {text_parameter(std::to_string(version))}};
}

// What the server says in its own words has an effect that is known.
bool is_known(const Error& failure) {
    return failure.code != Code::unavailable && failure.code != Code::interrupted;
}

}  // namespace

Status Upload::put() {
    SecretBytes piece;
    KMS_TRY(input_.read(piece, piece_length(0)));
    if (piece.size() < piece_length(0)) {
        return put_whole(piece);
    }
    KMS_TRY(put_first(piece));
    Progress progress(!options_.quiet, input_.size());
    return append_rest(progress);
}

Status Upload::resume(const std::string& id) {
    KMS_ASSIGN(const Stored stored, look_up(connection_, id));
    KMS_TRY(check_prefix(connection_, id, stored, input_, !options_.quiet));
    sent_ = stored_ = stored.size;
    if (stored.complete) {
        return check_end(id);
    }
    KMS_TRY(connection_.ask(start_at(stored.version)));
    id_ = id;
    beginning_ = Beginning::stored;
    Progress progress(!options_.quiet, input_.size(), sent_);
    return append_rest(progress);
}

// A small one goes in one round trip.
Status Upload::put_whole(const SecretBytes& piece) {
    const auto answer = connection_.ask(put_statement(piece, true));
    if (!answer) {
        beginning_ = is_known(answer.error()) ? Beginning::gone : Beginning::unnamed;
        return answer.error();
    }
    id_ = answer->text(0, 0);
    stored_ = piece.size();
    return {};
}

// Committed only when the id is known here: no blob is left behind that nobody could go on with.
Status Upload::put_first(const SecretBytes& piece) {
    KMS_TRY(connection_.ask({"BEGIN"}));
    KMS_TRY(connection_.send_together({put_statement(piece, false), start_at(first_version)}));
    KMS_ASSIGN(const Answer answer, connection_.receive());
    id_ = answer.text(0, 0);
    beginning_ = Beginning::unknown;
    if (const auto committed = connection_.ask({"COMMIT"}); !committed) {
        return note_failure(committed.error());
    }
    beginning_ = Beginning::stored;
    sent_ = stored_ = piece.size();
    return {};
}

Status Upload::append_rest(Progress& progress) {
    SecretBytes piece;
    bool last = false;
    while (!last) {
        const std::uint64_t length = piece_length(sent_);
        KMS_TRY(input_.read(piece, length));
        last = piece.size() < length;
        KMS_TRY(settle_what_is_there());
        KMS_TRY(send_piece(piece, last));
        KMS_TRY(connection_.flush());
        KMS_TRY(settle(most_in_flight));
        progress.show(stored_);
    }
    return settle(0);
}

// To append is to modify: only after the last piece the file's own time stays.
Status Upload::send_piece(const SecretBytes& piece, bool last) {
    std::vector<Statement> statements{append_statement(piece, last)};
    if (last && input_.modified()) {
        statements.push_back({"SELECT kms.blob_set_meta($1, last_modified => $2)",
                              {uuid_parameter(id_), time_parameter(input_.modified())}});
    }
    KMS_TRY(connection_.send_together(statements));
    in_flight_.push_back(piece.size());
    sent_ += piece.size();
    return {};
}

// Until at most so many answers are outstanding.
Status Upload::settle(std::size_t most) {
    while (in_flight_.size() > most) {
        KMS_TRY(take_answer());
    }
    return {};
}

// A server that has gone is noticed here, with its reasons, and not by what is sent to it.
Status Upload::settle_what_is_there() {
    for (;;) {
        KMS_ASSIGN(const bool ready, connection_.has_answer());
        if (!ready || in_flight_.empty()) {
            return {};
        }
        KMS_TRY(take_answer());
    }
}

Status Upload::take_answer() {
    if (const auto answer = connection_.receive(); !answer) {
        return note_failure(answer.error());
    }
    stored_ += in_flight_.front();
    in_flight_.pop_front();
    return {};
}

Statement Upload::put_statement(const SecretBytes& piece, bool complete) const {
    return {
        "SELECT kms.blob_put(local_id => $1, data => $2, name => $3, content_type => $4, "
        "metadata => $5, expire_in => $6, last_modified => $7, complete => $8)",
        {int_parameter(options_.local_id), bytes_parameter(piece.view()),
         text_parameter(options_.name ? options_.name : input_.name()),
         text_parameter(options_.type), json_parameter(options_.metadata),
         interval_parameter(options_.expire_in), time_parameter(input_.modified()),
         bool_parameter(complete)}};
}

Statement Upload::append_statement(const SecretBytes& piece, bool complete) const {
    return {append,
            {uuid_parameter(id_), bytes_parameter(piece.view()), bool_parameter(complete),
             bigint_parameter(static_cast<std::int64_t>(sent_))}};
}

// A first piece that the server refuses is not there, and what somebody else has changed or deleted
// is not how the input begins.
Error Upload::note_failure(Error failure) {
    const bool is_another = failure.code == Code::denied || failure.code == Code::not_found;
    if (is_another || (is_known(failure) && beginning_ == Beginning::unknown)) {
        beginning_ = Beginning::gone;
    }
    return failure;
}

// A complete blob that has all of the input is what resuming is for: an answer may have been lost.
Status Upload::check_end(const std::string& id) {
    SecretBytes more;
    KMS_TRY(input_.read(more, 1));
    if (!more.empty()) {
        return Error{Code::denied, "the blob " + id + " is complete, and " + input_.path() +
                                       " goes on behind its " + std::to_string(stored_) + " bytes"};
    }
    id_ = id;
    return {};
}

}  // namespace kms::blob
