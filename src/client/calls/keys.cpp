#include "client/calls/keys.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "client/link/reply_words.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::uint64_t most_list = 16 * 1024 * 1024;

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

Result<WrappedSecret> parse_secret(const Reply& reply) {
    KMS_ASSIGN(const std::uint32_t version, read_version_or_first(reply.head));
    return WrappedSecret{version, SecretBytes::copy_of(reply.body)};
}

Result<WrappedSecret> parse_wrapped(const Reply& reply) {
    if (reply.body.empty()) {
        return violation("a wrapped key is empty");
    }
    return parse_secret(reply);
}

Result<DescribedKey> parse_described(const Reply& reply) {
    KMS_ASSIGN(const std::uint32_t version, read_version(reply.head));
    KMS_ASSIGN(const Algorithm algorithm, read_algorithm(reply.head));
    KMS_ASSIGN(const KeyTag tag, read_tag(reply.head.raw_word(2)));
    return DescribedKey{version, algorithm, tag,
                        wire::parse_uses(reply.head.raw_word(3), reply.head.raw_word(4))};
}

// Numbers are never used twice, and a tag tells a version: whichever line came first would decide.
template <typename Value>
bool comes_twice(const std::vector<wire::ListedVersion>& versions,
                 Value wire::ListedVersion::*value) {
    std::vector<std::pair<std::string_view, Value>> all;
    all.reserve(versions.size());
    for (const wire::ListedVersion& version : versions) {
        all.emplace_back(version.key, version.*value);
    }
    std::ranges::sort(all);
    return std::ranges::adjacent_find(all) != all.end();
}

Result<std::vector<wire::ListedVersion>> parse_list(const Reply& reply) {
    KMS_ASSIGN(auto versions, wire::parse_listed(reply.body));
    const auto count = wire::parse_number(reply.head.raw_word(0), most_list);
    if (!count || *count != versions.size()) {
        return violation("a list has not as many lines as it says");
    }
    if (comes_twice(versions, &wire::ListedVersion::version) ||
        comes_twice(versions, &wire::ListedVersion::tag)) {
        return violation("a list has a version of a key twice");
    }
    return versions;
}

std::string purpose_choice(wire::Purpose purpose) {
    return std::string(wire::capability::purpose) + '=' + std::string(wire::purpose_word(purpose));
}

Status check_offered(Line line, const KeyWish& wish) {
    const bool needs_purpose = wish.purpose != wire::Purpose::seal;
    const std::string_view needed =
        needs_purpose ? wire::capability::purpose : wire::capability::no_export;
    return needs_purpose || !wish.exportable ? line.agent.require(needed) : Status();
}

std::string after_word(std::uint32_t after) {
    return std::string(wire::capability::after) + '=' + std::to_string(after);
}

bool says_after(Line line, std::uint32_t after) {
    return after != 0 && line.agent.offers(wire::capability::after);
}

}  // namespace

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
    return secret ? std::move(secret) : opening_failure(std::move(secret.error()));
}

Result<DescribedKey> describe_key(Line line, ByteView key) {
    const Request request{.verb = wire::verb::describe, .words = {key}};
    return Call<DescribedKey>::make(line, request, parse_described);
}

Result<DescribedKey> create_key(Line line, ByteView key, const KeyWish& wish) {
    KMS_TRY(check_offered(line, wish));
    const std::string purpose = purpose_choice(wish.purpose);
    const std::string number = after_word(wish.after);
    Request request{.verb = wire::verb::create,
                    .words = {key, bytes_of(info_of(wish.algorithm).name)}};
    if (wish.purpose != wire::Purpose::seal) {
        request.words.push_back(bytes_of(purpose));
    } else if (!wish.exportable) {
        request.words.push_back(bytes_of(wire::capability::no_export));
    }
    if (says_after(line, wish.after)) {
        request.words.push_back(bytes_of(number));
    }
    return Call<DescribedKey>::make(line, request, parse_described);
}

Status import_version(Line line, const wire::ListedVersion& listed, ByteView key) {
    const std::string number = std::to_string(listed.version);
    const std::string tag = wire::tag_word(listed.tag);
    std::string created;
    wire::append_time(created, listed.created);
    const Request request{
        .verb = wire::verb::import,
        .words = {bytes_of(listed.key), bytes_of(number), bytes_of(listed.algorithm), bytes_of(tag),
                  bytes_of(wire::state_word(listed.state)), bytes_of(created)},
        .body = {key}};
    KMS_ASSIGN(const DescribedKey imported,
               Call<DescribedKey>::make(line, request, parse_described));
    if (imported.version != listed.version || imported.tag != listed.tag ||
        info_of(imported.algorithm).name != listed.algorithm) {
        return violation("a version was imported as another");
    }
    return {};
}

Result<DescribedKey> rotate_key(Line line, ByteView key, std::uint32_t after) {
    const std::string number = after_word(after);
    Request request{.verb = wire::verb::rotate, .words = {key}};
    if (says_after(line, after)) {
        request.words.push_back(bytes_of(number));
    }
    return Call<DescribedKey>::make(line, request, parse_described);
}

Status ping(Line line) {
    const Request request{.verb = wire::verb::ping};
    return Call<void>::make(line, request, [](const Reply&) { return Status(); });
}

Result<std::vector<wire::ListedVersion>> list_keys(Line line, ByteView prefix) {
    Request request{.verb = wire::verb::list, .reply_limit = most_list};
    if (!prefix.empty()) {
        request.words.push_back(prefix);
    }
    return Call<std::vector<wire::ListedVersion>>::make(line, request, parse_list);
}

Result<std::vector<wire::ListedVersion>> list_versions(Line line, ByteView key) {
    const Request request{.verb = wire::verb::list,
                          .words = {key, bytes_of(wire::exact_word)},
                          .reply_limit = most_list};
    return Call<std::vector<wire::ListedVersion>>::make(line, request, parse_list);
}

Status change_version(Line line, std::string_view verb, ByteView key, std::uint32_t version) {
    const std::string number = std::to_string(version);
    const Request request{.verb = verb, .words = {key, bytes_of(number)}};
    return Call<void>::make(line, request, [](const Reply&) { return Status(); });
}

}  // namespace kms
