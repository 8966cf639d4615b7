#include "agent/service/requests.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "agent/service/request_words.hpp"
#include "base/hex.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

using wire::Head;
using wire::VersionState;

constexpr std::size_t most_listed = std::size_t{16} << 20;  // bytes that a client takes
constexpr std::size_t longest_error = 1024;

// A number as a word, without allocating.
class NumberWord {
  public:
    explicit NumberWord(std::uint64_t number)
        : end_(std::to_chars(digits_.data(), digits_.data() + digits_.size(), number).ptr) {}
    ByteView word() const {
        return bytes_of({digits_.data(), static_cast<std::size_t>(end_ - digits_.data())});
    }

  private:
    std::array<char, 20> digits_;
    char* end_;
};

// A key tag as a word, without allocating.
class TagWord {
  public:
    explicit TagWord(const KeyTag& tag) { write_hex(tag, digits_.data()); }
    ByteView word() const { return bytes_of({digits_.data(), digits_.size()}); }

  private:
    std::array<char, 2 * key_tag_length> digits_;
};

// VERSION ALGORITHM TAG.
class VersionWords {
  public:
    explicit VersionWords(const KeyVersion& version)
        : number_(version.version),
          tag_(version.tag),
          all_{number_.word(), bytes_of(info_of(version.algorithm).name), tag_.word()} {}
    VersionWords(const VersionWords&) = delete;
    VersionWords& operator=(const VersionWords&) = delete;
    std::span<const ByteView> all() const { return all_; }

  private:
    NumberWord number_;
    TagWord tag_;
    std::array<ByteView, 3> all_;
};

constexpr std::string_view ok = "ok";

// Lets a store write its body straight into the buffer of replies, behind the reply's line.
class BodyInPlace : public ReplyBody {
  public:
    BodyInPlace(SecretBytes& replies, std::uint64_t id, std::size_t said)
        : replies_(replies), id_(id), said_(said) {}

    Result<ByteSpan> allot(std::size_t length, const KeyVersion* used) override {
        if (length > wire::max_body_ceiling) {
            return Error{Code::too_large, "the reply would have more than 1 GiB"};
        }
        if (used == nullptr || said_ == 0) {
            KMS_TRY(wire::append_head(replies_, ok, id_, length, {}));
        } else {
            const NumberWord version(used->version);
            const TagWord tag(used->tag);
            const ByteView words[] = {version.word(), tag.word()};
            KMS_TRY(wire::append_head(replies_, ok, id_, length, std::span(words).first(said_)));
        }
        return replies_.extend(length);
    }

  private:
    SecretBytes& replies_;
    std::uint64_t id_;
    std::size_t said_;
};

}  // namespace

Status append_refusal(SecretBytes& replies, std::uint64_t id, const Error& error) {
    const std::string_view text = std::string_view(error.text).substr(0, longest_error);
    const ByteView code[] = {bytes_of(wire::error_word(error.code))};
    KMS_TRY(wire::append_head(replies, "error", id, text.size(), code));
    replies.append(bytes_of(text));
    return {};
}

struct Requests::Verb {
    std::string_view name;
    Handler handler;
};

// Those that come by the thousand are found first.
const Requests::Verb Requests::verbs[] = {
    {wire::verb::encrypt, &Requests::encrypt}, {wire::verb::decrypt, &Requests::decrypt},
    {wire::verb::get, &Requests::get},         {wire::verb::wrap, &Requests::wrap},
    {wire::verb::unwrap, &Requests::unwrap},   {wire::verb::encrypt_as, &Requests::encrypt_as},
    {wire::verb::mac, &Requests::mac},         {wire::verb::describe, &Requests::describe},
    {wire::verb::ping, &Requests::ping},       {wire::verb::identify, &Requests::identify},
    {wire::verb::create, &Requests::create},   {wire::verb::import, &Requests::import_version},
    {wire::verb::rotate, &Requests::rotate},   {wire::verb::list, &Requests::list},
    {wire::verb::enable, &Requests::enable},   {wire::verb::disable, &Requests::disable},
    {wire::verb::destroy, &Requests::destroy}, {wire::verb::hello, &Requests::hello},
};

const Requests::Verb* Requests::find(std::string_view name) {
    const auto* found = std::ranges::find(verbs, name, &Verb::name);
    return found == std::end(verbs) ? nullptr : found;
}

Status Requests::answer(const Verb& verb, const Head& head, ByteView body) {
    const std::size_t start = replies_.size();
    const Status answered = carry_out(verb, head, body);
    if (answered) {
        return {};
    }
    replies_.resize(start);
    return append_refusal(replies_, head.id, answered.error());
}

// Whoever was refused as somebody is not served as who was there before.
Status Requests::carry_out(const Verb& verb, const Head& head, ByteView body) {
    if (!offered_.includes(verb.name)) {
        return Error{Code::unsupported, "this agent does not offer the verb"};
    }
    if (!identified_ && verb.name != wire::verb::hello && verb.name != wire::verb::identify) {
        return Error{Code::denied, "the last identity was refused"};
    }
    return (this->*verb.handler)(head, body);
}

Status Requests::learn_identity(ByteView body) {
    identified_ = false;
    const auto fields = wire::parse_fields(body);
    if (!fields) {
        return invalid(fields.error().text);
    }
    store_.identify(*fields);
    identified_ = true;
    return {};
}

Status Requests::refuse_verb(std::uint64_t id) {
    return append_refusal(replies_, id, {Code::unsupported, "this agent does not know the verb"});
}

Result<ByteView> Requests::key_word(const Head& head) {
    const std::string_view raw = head.raw_word(0);
    if (raw.empty()) {
        return invalid("the request names no key");
    }
    if (raw.find('%') == std::string_view::npos) {
        return bytes_of(raw);
    }
    unescaped_key_ = head.word(0).value_or(std::string());
    return bytes_of(unescaped_key_);
}

Status Requests::hello(const Head& head, ByteView body) {
    const auto& versions = head.words;
    if (std::ranges::find(versions, wire::protocol_version) == versions.end()) {
        return Error{Code::unsupported, "this agent speaks kms/1"};
    }
    KMS_TRY(learn_identity(body));
    std::vector<ByteView> words = {bytes_of(wire::protocol_version), bytes_of(wire::verb::identify),
                                   bytes_of(wire::verb::ping)};
    for (const std::string_view capability : store_.capabilities()) {
        if (offered_.includes(capability)) {
            words.push_back(bytes_of(capability));
        }
    }
    const std::string about =
        wire::write_fields({{"agent", "kms-agent/" KMS_VERSION},
                            {"max-body", std::to_string(wire::max_body_ceiling)}});
    KMS_TRY(reply(head.id, words, bytes_of(about)));
    greeted_ = true;
    return {};
}

Status Requests::identify(const Head& head, ByteView body) {
    KMS_TRY(learn_identity(body));
    return reply(head.id, {}, {});
}

Status Requests::ping(const Head& head, ByteView) {
    return reply(head.id, {}, {});
}

Status Requests::describe(const Head& head, ByteView) {
    KMS_ASSIGN(const ByteView key, key_word(head));
    KMS_ASSIGN(const DescribedVersion described, store_.describe(key));
    const VersionWords words(described.version);
    std::vector<ByteView> all(words.all().begin(), words.all().end());
    if (!described.uses.purpose.empty()) {
        all.push_back(bytes_of(described.uses.purpose));
    }
    if (!described.uses.purpose.empty() && described.uses.exportable) {
        all.push_back(bytes_of(wire::export_word(*described.uses.exportable)));
    }
    return reply(head.id, all, {});
}

Status Requests::get(const Head& head, ByteView) {
    KMS_ASSIGN(const ByteView key, key_word(head));
    KMS_ASSIGN(const auto tag, tag_word_at(head, 1));
    KMS_ASSIGN(const StoredKey stored, store_.get(key, tag));
    return reply_version(head.id, stored.version, stored.key.view());
}

Status Requests::encrypt(const Head& head, ByteView body) {
    return transform(head, body, &KeyStore::encrypt, 2);
}

Status Requests::decrypt(const Head& head, ByteView body) {
    return transform(head, body, &KeyStore::decrypt, 0);
}

Status Requests::wrap(const Head& head, ByteView body) {
    return transform(head, body, &KeyStore::wrap, 1);
}

Status Requests::unwrap(const Head& head, ByteView body) {
    return transform(head, body, &KeyStore::unwrap, 1);
}

Status Requests::encrypt_as(const Head& head, ByteView body) {
    KMS_ASSIGN(const ByteView key, key_word(head));
    const auto tag = wire::parse_tag(head.raw_word(1));
    if (!tag) {
        return invalid("the key tag is missing, or not 16 lower-case hex digits");
    }
    KMS_ASSIGN(const ContextAndData parts, split_context(head, body, 2));
    BodyInPlace out(replies_, head.id, 2);
    return store_.encrypt_as(key, *tag, parts.context, parts.data, out);
}

// A tag has more digits than a length can have.
Status Requests::mac(const Head& head, ByteView body) {
    KMS_ASSIGN(const ByteView key, key_word(head));
    const auto bits = wire::parse_blind_index(head.raw_word(1));
    if (!bits) {
        return Error{Code::unsupported, "this agent makes blind-index/1 to blind-index/256"};
    }
    const auto tag = wire::parse_tag(head.raw_word(2));
    KMS_ASSIGN(const ContextAndData parts, split_context(head, body, tag ? 3 : 2));
    BodyInPlace out(replies_, head.id, 2);
    return store_.mac(key, {*bits, tag, parts.context, parts.data}, out);
}

Status Requests::transform(const Head& head, ByteView body, Transform store_verb,
                           std::size_t said) {
    KMS_ASSIGN(const ByteView key, key_word(head));
    KMS_ASSIGN(const ContextAndData parts, split_context(head, body, 1));
    BodyInPlace out(replies_, head.id, said);
    return (store_.*store_verb)(key, parts.context, parts.data, out);
}

Status Requests::create(const Head& head, ByteView body) {
    KMS_ASSIGN(const ByteView key, key_word(head));
    const auto algorithm = algorithm_named(head.raw_word(1));
    if (!algorithm) {
        return invalid("the algorithm is missing or not known");
    }
    NewKey wanted{.algorithm = *algorithm, .key = body};
    KMS_TRY(read_wishes(head, wanted));
    KMS_ASSIGN(const KeyVersion version, store_.create(key, wanted));
    return reply_version(head.id, version, {});
}

Status Requests::import_version(const Head& head, ByteView body) {
    KMS_ASSIGN(const ByteView key, key_word(head));
    const auto listed = wire::parse_listed_words(head.words);
    if (!listed) {
        return invalid(
            "import takes the words of a line of list: KEY VERSION ALGORITHM TAG STATE "
            "CREATED");
    }
    const auto algorithm = algorithm_named(listed->algorithm);
    if (!algorithm) {
        return invalid("the algorithm is not known");
    }
    const auto& [purpose, exportable] = listed->uses;
    if (!(purpose.empty() || purpose == wire::purpose_word(wire::Purpose::seal)) ||
        !exportable.value_or(true)) {
        return Error{Code::denied, "what wraps, or does not leave, is not imported"};
    }
    KMS_ASSIGN(
        const KeyVersion version,
        store_.import_version(
            key,
            {{listed->version, *algorithm, listed->tag}, listed->state, listed->created, body}));
    return reply_version(head.id, version, {});
}

Status Requests::rotate(const Head& head, ByteView) {
    KMS_ASSIGN(const ByteView key, key_word(head));
    KMS_ASSIGN(const std::uint32_t after, version_after(head, 1));
    KMS_ASSIGN(const KeyVersion version, store_.rotate(key, after));
    return reply_version(head.id, version, {});
}

Status Requests::list(const Head& head, ByteView) {
    const std::string prefix = head.word(0).value_or(std::string());
    KMS_ASSIGN(auto versions, store_.list(bytes_of(prefix)));
    if (head.raw_word(1) == wire::exact_word) {
        std::erase_if(versions, [&](const auto& version) { return version.key != prefix; });
    }
    std::string lines;
    for (const wire::ListedVersion& version : versions) {
        wire::append_listed(lines, version);
        if (lines.size() > most_listed) {
            return Error{Code::too_large, "the list has more than 16 MiB: ask for a longer prefix"};
        }
    }
    const NumberWord count(versions.size());
    const ByteView words[] = {count.word()};
    return reply(head.id, words, bytes_of(lines));
}

Status Requests::enable(const Head& head, ByteView) {
    return change_version(head, VersionState::enabled);
}

Status Requests::disable(const Head& head, ByteView) {
    return change_version(head, VersionState::disabled);
}

Status Requests::destroy(const Head& head, ByteView) {
    return change_version(head, VersionState::destroyed);
}

Status Requests::change_version(const Head& head, VersionState state) {
    KMS_ASSIGN(const ByteView key, key_word(head));
    const auto version = wire::parse_number(head.raw_word(1), wire::max_version);
    if (!version || *version == 0) {
        return invalid("the version is missing or no number from 1 to 2147483647");
    }
    KMS_TRY(store_.change_version(key, static_cast<std::uint32_t>(*version), state));
    return reply(head.id, {}, {});
}

Status Requests::reply_version(std::uint64_t id, const KeyVersion& version, ByteView body) {
    return reply(id, VersionWords(version).all(), body);
}

Status Requests::reply(std::uint64_t id, std::span<const ByteView> words, ByteView body) {
    KMS_TRY(wire::append_head(replies_, ok, id, body.size(), words));
    replies_.append(body);
    return {};
}

}  // namespace kms::agent
