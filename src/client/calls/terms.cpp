#include "client/calls/terms.hpp"

#include <optional>
#include <string>

#include "base/hex.hpp"
#include "client/link/reply_words.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

// `mac`, once for each version; without tags once, for the current one.
class TermErrand : public Errand {
  public:
    TermErrand(const TermWish& wish, std::span<const KeyTag> tags, std::span<FullTerm> terms)
        : wish_(wish),
          tags_(tags),
          terms_(terms),
          use_(wire::blind_index_word(wish.bits)),
          length_(std::to_string(wish.context.size())) {}

    std::size_t count() const override { return terms_.size(); }

    Request request(std::size_t index) override {
        Request request{.verb = wire::verb::mac,
                        .words = {wish_.key, bytes_of(use_)},
                        .body = {wish_.context, wish_.data},
                        .reply_limit = full_term_length};
        if (!tags_.empty()) {
            tag_ = to_hex(tags_[index]);
            request.words.push_back(bytes_of(tag_));
        }
        request.words.push_back(bytes_of(length_));
        return request;
    }

    // An error of the agent is an answer; the others are taken all the same.
    Status take(std::size_t index, const Result<Reply>& reply) override {
        if (!reply) {
            if (!failure_) {
                failure_ = reply.error();
            }
            return {};
        }
        KMS_TRY(check(*reply, index));
        copy_bytes(reply->body, terms_[index]);
        return {};
    }

    // VERSION and TAG may be left out, but not be wrong.
    Status check(const Reply& reply, std::size_t index) const {
        KMS_TRY(read_version_or_first(reply.head));
        if (reply.head.words.size() > 1) {
            KMS_ASSIGN(const KeyTag tag, read_tag(reply.head.raw_word(1)));
            if (!tags_.empty() && tag != tags_[index]) {
                return violation("a search term is of another version than was asked for");
            }
        }
        if (reply.body.size() != full_term_length) {
            return violation("a search term has not 32 bytes");
        }
        return {};
    }

    Status outcome() const { return failure_ ? Status(*failure_) : Status(); }

  private:
    const TermWish& wish_;
    std::span<const KeyTag> tags_;
    std::span<FullTerm> terms_;
    std::string use_;
    std::string length_;
    std::string tag_;
    std::optional<Error> failure_;
};

Status run(Line line, TermErrand& errand) {
    KMS_TRY(line.agent.exchange(errand, line.deadlines, line.waiter));
    return errand.outcome();
}

}  // namespace

Result<FullTerm> make_term(Line line, const TermWish& wish) {
    FullTerm term{};
    TermErrand errand(wish, {}, {&term, 1});
    KMS_TRY(run(line, errand));
    return term;
}

Status make_terms(Line line, const TermWish& wish, std::span<const KeyTag> tags,
                  std::span<FullTerm> terms) {
    TermErrand errand(wish, tags, terms);
    return tags.empty() ? Status() : run(line, errand);
}

}  // namespace kms
