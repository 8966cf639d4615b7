#include "client/calls/values.hpp"

#include <charconv>
#include <vector>

#include "base/hex.hpp"
#include "client/link/reply_words.hpp"
#include "crypto/sealed.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

// How many values, from the first on, are done, and the first that failed.
class Progress {
  public:
    explicit Progress(std::size_t& done) : done_(done) { done_ = 0; }

    void succeeded(std::size_t index) {
        if (index == done_ && ahead_.empty()) {
            ++done_;
            return;
        }
        if (ahead_.size() <= index) {
            ahead_.resize(index + 1);
        }
        ahead_[index] = true;
        while (done_ < ahead_.size() && ahead_[done_]) {
            ++done_;
        }
    }

    void failed(std::size_t index, Error error) {
        if (index < failed_) {
            failed_ = index;
            error_ = std::move(error);
        }
    }

    // The failure, once all values before it are done. An agent may answer out of order.
    Status status() const { return done_ == failed_ ? Status(error_) : Status(); }

  private:
    std::size_t& done_;
    std::vector<bool> ahead_;  // done out of order
    std::size_t failed_ = SIZE_MAX;
    Error error_{Code::failed, {}};
};

// `encrypt`, `decrypt` and `encrypt-as`: all have the context in front of the data.
class ValueErrand : public Errand {
  public:
    ValueErrand(std::string_view verb, Values& values, std::size_t& done)
        : verb_(verb), values_(values), progress_(done) {}

    std::size_t count() const override { return values_.count(); }

    Request request(std::size_t index) override {
        const Value value = values_.at(index);
        const std::uint64_t sent = value.context.size() + value.data.size();
        return {.verb = verb_,
                .words = words(index, value.key, context_length(value.context.size())),
                .body = {value.context, value.data},
                .reply_limit = reply_limit(sent)};
    }

    Result<ByteSpan> place(std::size_t index, std::size_t length) override {
        auto room = values_.allot(index, length);
        if (!room) {
            progress_.failed(index, room.error());
        } else {
            placed_ = room->data();
        }
        return room;
    }

    Status take(std::size_t index, const Result<Reply>& reply) override {
        const Status taken = reply ? take_result(index, *reply) : Status(failure(reply.error()));
        if (taken) {
            progress_.succeeded(index);
        } else {
            progress_.failed(index, taken.error());
            if (taken.error().code == Code::protocol) {
                return taken.error();
            }
        }
        return progress_.status();
    }

  protected:
    virtual std::uint64_t reply_limit(std::uint64_t sent) const = 0;
    virtual Status check(const Reply& reply, std::size_t index, ByteView data) const = 0;
    virtual Error failure(Error error) const = 0;
    virtual Words words(std::size_t index, ByteView key, ByteView context_length) {
        (void)index;
        return {key, context_length};
    }

  private:
    ByteView context_length(std::size_t length) {
        char* const end = std::to_chars(digits_, std::end(digits_), length).ptr;
        return bytes_of({digits_, static_cast<std::size_t>(end - digits_)});
    }

    Status take_result(std::size_t index, const Reply& reply) {
        KMS_TRY(check(reply, index, values_.at(index).data));
        if (!reply.body.empty() && reply.body.data() == placed_) {
            return {};
        }
        KMS_ASSIGN(const ByteSpan room, values_.allot(index, reply.body.size()));
        copy_bytes(reply.body, room);
        return {};
    }

    std::string_view verb_;
    Values& values_;
    Progress progress_;
    const Byte* placed_ = nullptr;  // the body that comes straight to its place
    char digits_[20];
};

class Encryption : public ValueErrand {
  public:
    Encryption(Values& values, std::size_t& done, std::string_view verb = wire::verb::encrypt)
        : ValueErrand(verb, values, done) {}

  protected:
    Status check(const Reply& reply, std::size_t, ByteView data) const override {
        return check_encrypted(reply, data.size());
    }

  private:
    std::uint64_t reply_limit(std::uint64_t sent) const override { return sealed_limit(sent); }
    Error failure(Error error) const override { return error; }
};

class EncryptionAs : public Encryption {
  public:
    EncryptionAs(Values& values, std::span<const KeyTag> tags, std::size_t& done)
        : Encryption(values, done, wire::verb::encrypt_as), tags_(tags) {}

  private:
    Words words(std::size_t index, ByteView key, ByteView context_length) override {
        write_hex(tags_[index], tag_);
        return {key, bytes_of({tag_, sizeof tag_}), context_length};
    }

    Status check(const Reply& reply, std::size_t index, ByteView data) const override {
        KMS_TRY(check_encrypted(reply, data.size()));
        const auto header = read_sealed_header(reply.body);
        if (header->suite != Suite::aes_siv || header->tag != tags_[index]) {
            return violation("what was encrypted under a version is no value of it");
        }
        return {};
    }

    std::span<const KeyTag> tags_;
    char tag_[2 * key_tag_length];
};

class Decryption : public ValueErrand {
  public:
    Decryption(Values& values, std::size_t& done)
        : ValueErrand(wire::verb::decrypt, values, done) {}

  private:
    std::uint64_t reply_limit(std::uint64_t sent) const override { return sent; }
    Status check(const Reply& reply, std::size_t, ByteView data) const override {
        return check_decrypted(reply, data);
    }
    Error failure(Error error) const override { return opening_failure(std::move(error)); }
};

}  // namespace

Status encrypt(Line line, Values& values, std::size_t& done) {
    Encryption errand(values, done);
    return line.agent.exchange(errand, line.deadlines, line.waiter);
}

Status encrypt_as(Line line, Values& values, std::span<const KeyTag> tags, std::size_t& done) {
    EncryptionAs errand(values, tags, done);
    return line.agent.exchange(errand, line.deadlines, line.waiter);
}

Status decrypt(Line line, Values& values, std::size_t& done) {
    Decryption errand(values, done);
    return line.agent.exchange(errand, line.deadlines, line.waiter);
}

}  // namespace kms
