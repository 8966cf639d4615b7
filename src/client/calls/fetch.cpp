#include "client/calls/fetch.hpp"

#include <algorithm>

#include "client/link/reply_words.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::uint64_t most_key = 64;

Result<Algorithm> algorithm_of_key(const Reply& reply) {
    if (reply.head.words.size() > 1) {
        return read_algorithm(reply.head);
    }
    const auto algorithm = algorithm_for_key_length(reply.body.size());
    if (!algorithm) {
        return violation("a key has a length that no algorithm has");
    }
    return *algorithm;
}

Result<KeyTag> tag_of_key(const Reply& reply, Algorithm algorithm) {
    if (reply.body.size() != info_of(algorithm).key_length) {
        return violation("a key has not the length of its algorithm");
    }
    if (std::ranges::all_of(reply.body, [](Byte byte) { return byte == 0; })) {
        return violation("a key is nothing but zeros");
    }
    KMS_ASSIGN(const KeyTag computed, compute_key_tag(algorithm, reply.body));
    if (reply.head.words.size() > 2) {
        KMS_ASSIGN(const KeyTag said, read_tag(reply.head.raw_word(2)));
        if (said != computed) {
            return violation("a key has not the tag that the key agent says");
        }
    }
    return computed;
}

// One verb, asked for each key of a list.
class Fetching : public Errand {
  public:
    Fetching(std::size_t count, const TakeKey& take) : count_(count), take_(take) {}

    // What stands behind a request that cannot be sent is asked for in another exchange.
    Status run(Line line) {
        while (count() != 0) {
            asked_at_ = Clock::now();
            KMS_TRY(line.agent.exchange(*this, line.deadlines, line.waiter));
            first_ += taken_;
            taken_ = 0;
        }
        return {};
    }

    std::size_t count() const override { return count_ - first_; }
    Request request(std::size_t index) override { return ask(first_ + index); }

    Status take(std::size_t index, const Result<Reply>& reply) override {
        auto key = read(first_ + index, reply);
        if (!key && key.error().code == Code::protocol) {
            return key.error();
        }
        if (key) {
            key->asked_at = asked_at_;
        }
        ++taken_;
        return take_(first_ + index, std::move(key));
    }

  protected:
    virtual Request ask(std::size_t index) = 0;
    virtual Result<FetchedKey> read(std::size_t index, const Result<Reply>& reply) const = 0;

  private:
    const std::size_t count_;
    const TakeKey& take_;
    std::size_t first_ = 0;  // that the exchange asks for
    std::size_t taken_ = 0;
    TimePoint asked_at_;
};

class Getting : public Fetching {
  public:
    Getting(std::span<const WantedKey> wanted, const TakeKey& take)
        : Fetching(wanted.size(), take), wanted_(wanted) {}

  private:
    Request ask(std::size_t index) override {
        const auto& [identifier, tag] = wanted_[index];
        Request request{.verb = wire::verb::get, .words = {identifier}, .reply_limit = most_key};
        if (tag) {
            tag_word_ = wire::tag_word(*tag);
            request.words.push_back(bytes_of(tag_word_));
        }
        return request;
    }

    Result<FetchedKey> read(std::size_t index, const Result<Reply>& reply) const override {
        if (!reply) {
            return reply.error();
        }
        KMS_ASSIGN(const std::uint32_t version, read_version_or_first(reply->head));
        KMS_ASSIGN(const Algorithm algorithm, algorithm_of_key(*reply));
        KMS_ASSIGN(const KeyTag tag, tag_of_key(*reply, algorithm));
        if (wanted_[index].tag.value_or(tag) != tag) {
            return Error{Code::wrong_key, "the key agent has no version of this key with that tag"};
        }
        return FetchedKey{version, algorithm, tag, SecretBytes::copy_of(reply->body)};
    }

    std::span<const WantedKey> wanted_;
    std::string tag_word_;
};

class Unwrapping : public Fetching {
  public:
    Unwrapping(std::span<const WrappedKey> wrapped, const TakeKey& take)
        : Fetching(wrapped.size(), take), wrapped_(wrapped) {}

  private:
    Request ask(std::size_t index) override {
        const WrappedKey& key = wrapped_[index];
        length_ = std::to_string(key.context.size());
        return {.verb = wire::verb::unwrap,
                .words = {key.kek, bytes_of(length_)},
                .body = {bytes_of(key.context), key.wrapped},
                .reply_limit = most_key};
    }

    Result<FetchedKey> read(std::size_t index, const Result<Reply>& reply) const override {
        if (!reply) {
            return opening_failure(reply.error());
        }
        std::uint32_t kek_version = 0;
        if (!reply->head.words.empty()) {
            KMS_ASSIGN(kek_version, read_version(reply->head));
        }
        const WrappedKey& key = wrapped_[index];
        if (reply->body.size() != info_of(key.algorithm).key_length) {
            return Error{Code::corrupt, "an unwrapped key has not the length of its algorithm"};
        }
        KMS_ASSIGN(const KeyTag tag, compute_key_tag(key.algorithm, reply->body));
        if (tag != key.tag) {
            return Error{Code::corrupt, "an unwrapped key has not the tag that is stored with it"};
        }
        return FetchedKey{key.version, key.algorithm, tag, SecretBytes::copy_of(reply->body),
                          kek_version};
    }

    std::span<const WrappedKey> wrapped_;
    std::string length_;
};

// The one key of a fetch.
template <typename Wanted>
Result<FetchedKey> fetch_one(Status (*fetch)(Line, std::span<const Wanted>, const TakeKey&),
                             Line line, const Wanted& wanted) {
    Result<FetchedKey> fetched = Error{Code::internal, {}};
    KMS_TRY(fetch(line, {&wanted, 1}, [&](std::size_t, Result<FetchedKey> key) {
        fetched = std::move(key);
        return Status();
    }));
    return fetched;
}

}  // namespace

bool may_open_in_other_form(Code failure) {
    return failure == Code::not_found || failure == Code::disabled || failure == Code::wrong_key ||
           failure == Code::malformed || failure == Code::corrupt;
}

Status get_keys(Line line, std::span<const WantedKey> wanted, const TakeKey& take) {
    return Getting(wanted, take).run(line);
}

Status unwrap_keys(Line line, std::span<const WrappedKey> wrapped, const TakeKey& take) {
    return Unwrapping(wrapped, take).run(line);
}

Result<FetchedKey> get_key(Line line, ByteView key, const std::optional<KeyTag>& tag) {
    return fetch_one(get_keys, line, WantedKey{key, tag});
}

Result<FetchedKey> unwrap_data_key(Line line, const WrappedKey& wrapped) {
    return fetch_one(unwrap_keys, line, wrapped);
}

}  // namespace kms
