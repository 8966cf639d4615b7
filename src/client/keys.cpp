#include "client/keys.hpp"

#include <string>

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::uint64_t most_key = 64;
constexpr std::uint64_t most_list = 16 * 1024 * 1024;

Error violation(const char* what) {
    return {Code::protocol, what};
}

// One request; its reply is read by `parse` while it is there.
template <typename T>
class Call : public Errand {
  public:
    using Parse = Result<T> (*)(const Reply&);

    static Result<T> make(Line line, const Request& request, Parse parse) {
        Call call(request, parse);
        KMS_TRY(line.agent.exchange(call, line.deadlines, line.waiter));
        return std::move(call.outcome_);
    }

    std::size_t count() const override { return 1; }
    Request request(std::size_t) override { return request_; }

    // An error of the agent is an answer; only a reply that is none of kms/1 ends the exchange.
    Status take(std::size_t, const Result<Reply>& reply) override {
        outcome_ = reply ? parse_(*reply) : Result<T>(reply.error());
        if (!outcome_ && outcome_.error().code == Code::protocol) {
            return outcome_.error();
        }
        return {};
    }

  private:
    Call(const Request& request, Parse parse) : request_(request), parse_(parse) {}

    Request request_;
    Parse parse_;
    Result<T> outcome_ = Error{Code::internal, {}};
};

Result<std::uint32_t> parse_version(const wire::Head& head) {
    const auto version = wire::parse_number(head.raw_word(0), wire::max_version);
    if (!version || *version == 0) {
        return violation("a reply has no proper key version");
    }
    return static_cast<std::uint32_t>(*version);
}

Result<Algorithm> parse_algorithm(const wire::Head& head) {
    const std::string_view name = head.raw_word(1);
    if (name.empty()) {
        return violation("a reply names no algorithm");
    }
    const auto algorithm = algorithm_named(name);
    if (!algorithm) {
        // Not shown: an agent that mistakes the order of words may have put the key there.
        return Error{Code::unsupported, "the key agent names an algorithm that is not known here"};
    }
    return *algorithm;
}

Result<KeyTag> parse_tag(std::string_view word) {
    const auto tag = wire::parse_tag(word);
    if (!tag) {
        return violation("a reply has no proper key tag");
    }
    return *tag;
}

Result<Algorithm> algorithm_of_key(const Reply& reply) {
    if (reply.head.words.size() > 1) {
        return parse_algorithm(reply.head);
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
    KMS_ASSIGN(const KeyTag computed, compute_key_tag(algorithm, reply.body));
    if (reply.head.words.size() > 2) {
        KMS_ASSIGN(const KeyTag said, parse_tag(reply.head.raw_word(2)));
        if (said != computed) {
            return violation("a key has not the tag that the key agent says");
        }
    }
    return computed;
}

// Of a reply that may leave it out.
Result<std::uint32_t> version_or_first(const wire::Head& head) {
    return head.words.empty() ? Result<std::uint32_t>(1) : parse_version(head);
}

Result<FetchedKey> parse_fetched(const Reply& reply) {
    KMS_ASSIGN(const std::uint32_t version, version_or_first(reply.head));
    KMS_ASSIGN(const Algorithm algorithm, algorithm_of_key(reply));
    KMS_ASSIGN(const KeyTag tag, tag_of_key(reply, algorithm));
    return FetchedKey{version, algorithm, tag, SecretBytes::copy_of(reply.body)};
}

Result<WrappedSecret> parse_secret(const Reply& reply) {
    KMS_ASSIGN(const std::uint32_t version, version_or_first(reply.head));
    return WrappedSecret{version, SecretBytes::copy_of(reply.body)};
}

Result<WrappedSecret> parse_wrapped(const Reply& reply) {
    if (reply.body.empty()) {
        return violation("a wrapped key is empty");
    }
    return parse_secret(reply);
}

Result<DescribedKey> parse_described(const Reply& reply) {
    KMS_ASSIGN(const std::uint32_t version, parse_version(reply.head));
    KMS_ASSIGN(const Algorithm algorithm, parse_algorithm(reply.head));
    KMS_ASSIGN(const KeyTag tag, parse_tag(reply.head.raw_word(2)));
    return DescribedKey{version, algorithm, tag};
}

Result<std::vector<wire::ListedVersion>> parse_list(const Reply& reply) {
    KMS_ASSIGN(auto versions, wire::parse_listed(reply.body));
    const auto count = wire::parse_number(reply.head.raw_word(0), most_list);
    if (!count || *count != versions.size()) {
        return violation("a list has not as many lines as it says");
    }
    return versions;
}

}  // namespace

Result<FetchedKey> get_key(Line line, ByteView key, const std::optional<KeyTag>& tag) {
    Request request{.verb = wire::verb::get, .words = {key}, .reply_limit = most_key};
    const std::string word = tag ? wire::tag_word(*tag) : std::string();
    if (tag) {
        request.words.push_back(bytes_of(word));
    }
    KMS_ASSIGN(FetchedKey fetched, Call<FetchedKey>::make(line, request, parse_fetched));
    if (tag && fetched.tag != *tag) {
        return Error{Code::wrong_key, "the key agent has no version of this key with that tag"};
    }
    return fetched;
}

Result<WrappedSecret> wrap_key(Line line, ByteView kek, ByteView context, ByteView secret) {
    const std::string length = std::to_string(context.size());
    const Request request{.verb = wire::verb::wrap,
                          .words = {kek, bytes_of(length)},
                          .body = {context, secret},
                          .reply_limit = sealed_limit(context.size() + secret.size())};
    return Call<WrappedSecret>::make(line, request, parse_wrapped);
}

Result<WrappedSecret> unwrap_key(Line line, ByteView kek, ByteView context, ByteView wrapped,
                                 std::uint64_t longest) {
    const std::string length = std::to_string(context.size());
    const Request request{.verb = wire::verb::unwrap,
                          .words = {kek, bytes_of(length)},
                          .body = {context, wrapped},
                          .reply_limit = longest};
    auto secret = Call<WrappedSecret>::make(line, request, parse_secret);
    if (!secret && secret.error().code == Code::invalid) {
        secret.error().code = Code::malformed;
    }
    return secret;
}

Status check_encrypted(const wire::Head& head) {
    if (!head.words.empty()) {
        KMS_TRY(parse_version(head));
    }
    if (head.words.size() > 1) {
        KMS_TRY(parse_tag(head.raw_word(1)));
    }
    return {};
}

Result<DescribedKey> describe_key(Line line, ByteView key) {
    const Request request{.verb = wire::verb::describe, .words = {key}};
    return Call<DescribedKey>::make(line, request, parse_described);
}

Result<DescribedKey> create_key(Line line, ByteView key, std::string_view algorithm) {
    const Request request{.verb = wire::verb::create, .words = {key, bytes_of(algorithm)}};
    return Call<DescribedKey>::make(line, request, parse_described);
}

Result<DescribedKey> rotate_key(Line line, ByteView key) {
    const Request request{.verb = wire::verb::rotate, .words = {key}};
    return Call<DescribedKey>::make(line, request, parse_described);
}

Result<std::vector<wire::ListedVersion>> list_keys(Line line, ByteView prefix) {
    Request request{.verb = wire::verb::list, .reply_limit = most_list};
    if (!prefix.empty()) {
        request.words.push_back(prefix);
    }
    return Call<std::vector<wire::ListedVersion>>::make(line, request, parse_list);
}

Status change_version(Line line, std::string_view verb, ByteView key, std::uint32_t version) {
    const std::string number = std::to_string(version);
    const Request request{.verb = verb, .words = {key, bytes_of(number)}};
    return Call<void>::make(line, request, [](const Reply&) { return Status(); });
}

}  // namespace kms
