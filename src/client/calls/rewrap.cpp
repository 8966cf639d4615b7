#include "client/calls/rewrap.hpp"

#include <algorithm>

#include "client/calls/fetch.hpp"
#include "client/link/reply_words.hpp"
#include "crypto/wrap_context.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

std::string context_of(const DataKeyId& id) {
    return data_key_context(info_of(id.algorithm).name, id.version, id.name);
}

class Wrapping : public Errand {
  public:
    Wrapping(ByteView kek, std::uint32_t current, std::span<const std::string> contexts,
             std::span<const SecretBytes> secrets, std::vector<Rewrapped>& wrapped,
             std::size_t& failed)
        : kek_(kek),
          current_(current),
          contexts_(contexts),
          secrets_(secrets),
          wrapped_(wrapped),
          failed_(failed) {}

    std::size_t count() const override { return secrets_.size(); }

    Request request(std::size_t index) override {
        const ByteView context = bytes_of(contexts_[index]);
        length_ = std::to_string(context.size());
        return {.verb = wire::verb::wrap,
                .words = {kek_, bytes_of(length_)},
                .body = {context, secrets_[index].view()},
                .reply_limit = sealed_limit(context.size() + secrets_[index].size())};
    }

    Status take(std::size_t index, const Result<Reply>& reply) override {
        if (!reply) {
            failed_ = index;
            return reply.error();
        }
        KMS_ASSIGN(const std::uint32_t version, read_version_or_first(reply->head));
        if (version < current_) {
            failed_ = index;
            return violation("the key agent wraps by an older version than the current one");
        }
        wrapped_[index].wrapped.version = version;
        wrapped_[index].wrapped.bytes.append(reply->body);
        return {};
    }

  private:
    ByteView kek_;
    std::uint32_t current_;
    std::span<const std::string> contexts_;
    std::span<const SecretBytes> secrets_;
    std::vector<Rewrapped>& wrapped_;
    std::size_t& failed_;
    std::string length_;
};

class Rewrapping {
  public:
    Rewrapping(Line line, ByteView kek, std::uint32_t current, std::span<const WrappedDataKey> keys,
               std::size_t& failed)
        : line_(line),
          kek_(kek),
          current_(current),
          keys_(keys),
          failed_(failed),
          secrets_(keys.size()),
          wrapped_(keys.size()) {
        failed_ = keys.size();
        for (const WrappedDataKey& key : keys) {
            contexts_.push_back(context_of(key.id));
        }
    }

    Status open() {
        KMS_TRY(open_first_forms());
        return open_other_forms();
    }

    Result<std::vector<Rewrapped>> run() {
        KMS_TRY(open());
        KMS_TRY(wrap());
        KMS_TRY(check());
        return std::move(wrapped_);
    }

  private:
    using Take = Status (Rewrapping::*)(std::size_t index, const Result<FetchedKey>& key);

    Status unwrap(std::span<const WrappedKey> forms, Take take) {
        return unwrap_keys(line_, forms, [this, take](std::size_t index, Result<FetchedKey> key) {
            return (this->*take)(index, key);
        });
    }

    WrappedKey form(std::size_t index, ByteView wrapped) const {
        const WrappedDataKey& key = keys_[index];
        return {kek_, contexts_[index], wrapped, key.id.version, key.id.algorithm, key.tag};
    }

    Status open_first_forms() {
        std::vector<WrappedKey> forms;
        for (std::size_t i = 0; i < keys_.size(); ++i) {
            forms.push_back(form(i, keys_[i].wrapped));
        }
        return unwrap(forms, &Rewrapping::take_first);
    }

    Status take_first(std::size_t index, const Result<FetchedKey>& key) {
        const bool has_other = !keys_[index].wrapped_before.empty();
        if (!key && has_other && may_open_in_other_form(key.error().code)) {
            unopened_.push_back(index);
            return {};
        }
        return take_secret(index, key);
    }

    Status open_other_forms() {
        std::vector<WrappedKey> forms;
        for (const std::size_t index : unopened_) {
            wrapped_[index].opened_before = true;
            forms.push_back(form(index, keys_[index].wrapped_before));
        }
        return unwrap(forms, &Rewrapping::take_other);
    }

    Status take_other(std::size_t index, const Result<FetchedKey>& key) {
        return take_secret(unopened_[index], key);
    }

    Status take_secret(std::size_t index, const Result<FetchedKey>& key) {
        if (!key) {
            return about(index, key.error());
        }
        secrets_[index].append(key->key.view());
        return {};
    }

    Status wrap() {
        Wrapping errand(kek_, current_, contexts_, secrets_, wrapped_, failed_);
        KMS_TRY(line_.agent.exchange(errand, line_.deadlines, line_.waiter));
        std::uint32_t newest = 0;
        for (const Rewrapped& each : wrapped_) {
            newest = std::max(newest, each.wrapped.version);
        }
        KMS_TRY(describe_kek(line_, kek_, newest));
        return {};
    }

    Status check() {
        std::vector<WrappedKey> forms;
        for (std::size_t i = 0; i < keys_.size(); ++i) {
            forms.push_back(form(i, wrapped_[i].wrapped.bytes.view()));
        }
        return unwrap(forms, &Rewrapping::take_again);
    }

    Status take_again(std::size_t index, const Result<FetchedKey>& key) {
        const Status same = key ? check_again(index, *key) : Status(key.error());
        return same ? Status() : about(index, same.error());
    }

    Status check_again(std::size_t index, const FetchedKey& key) const {
        const bool is_told = key.kek_version != 0;
        const std::uint32_t wrapped_by = wrapped_[index].wrapped.version;
        KMS_TRY(check_same_version(is_told ? key.kek_version : wrapped_by, wrapped_by));
        return check_same(key.key.view(), secrets_[index].view());
    }

    Error about(std::size_t index, const Error& error) {
        failed_ = index;
        return error;
    }

    Line line_;
    ByteView kek_;
    std::uint32_t current_;
    std::span<const WrappedDataKey> keys_;
    std::size_t& failed_;
    std::vector<std::string> contexts_;
    std::vector<SecretBytes> secrets_;
    std::vector<std::size_t> unopened_;  // by their first form
    std::vector<Rewrapped> wrapped_;
};

}  // namespace

Result<std::vector<Rewrapped>> rewrap(Line line, ByteView kek, std::uint32_t current,
                                      std::span<const WrappedDataKey> keys, std::size_t& failed) {
    return Rewrapping(line, kek, current, keys, failed).run();
}

Status check_rewrappable(Line line, ByteView kek, std::span<const WrappedDataKey> keys,
                         std::size_t& failed) {
    return Rewrapping(line, kek, 1, keys, failed).open();
}

}  // namespace kms
