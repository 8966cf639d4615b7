// Remote mode: the key agent seals and opens, and no DEK enters PostgreSQL.
#include <algorithm>

#include "client/values.hpp"
#include "pg/modes.hpp"
#include "pg/settings.hpp"

namespace kms::pg {
namespace {

// Act two's view of calls. Results are PostgreSQL's own values, in the caller's memory context.
class RemoteCalls final : public Values {
  public:
    RemoteCalls(std::span<const Call> calls, varlena** results)
        : calls_(calls), results_(results) {}

    std::size_t count() const override { return calls_.size(); }

    Value at(std::size_t index) override {
        const Call& call = calls_[index];
        return {identifier(call), call.context, call.data};
    }

    Result<ByteSpan> allot(std::size_t index, std::size_t length) override {
        KMS_ASSIGN(results_[index], try_allocate_value(length));
        return bytes_in(results_[index]);
    }

    ByteView identifier(const Call& call) {
        if (call.names_key()) {
            return call.identifier;
        }
        if (call.local_id != known_id_) {
            const KeyList& keys = key_list_unchecked();
            known_ = keys.identifier(*keys.find(call.local_id));
            known_id_ = call.local_id;
        }
        return known_;
    }

  private:
    std::span<const Call> calls_;
    varlena** results_;
    std::int32_t known_id_ = 0;  // the local id that was looked up last
    ByteView known_;
};

// A single result, for the session to keep.
class KeptValue final : public Values {
  public:
    KeptValue(Value value, SecretBytes& result) : value_(value), result_(result) {}

    std::size_t count() const override { return 1; }
    Value at(std::size_t) override { return value_; }
    Result<ByteSpan> allot(std::size_t, std::size_t length) override {
        result_ = SecretBytes(length);
        return result_.span();
    }

  private:
    Value value_;
    SecretBytes& result_;
};

void require_bound(std::span<const Call> calls) {
    for (std::size_t i = 1; i < calls.size(); ++i) {
        if (calls[i].local_id != calls[i - 1].local_id) {
            use_of_call(calls[i]);
        }
    }
}

}  // namespace

Failure transform_remotely(Way way, std::span<const Call> calls, varlena** results,
                           std::size_t& done) {
    done = 0;
    if (calls.empty()) {
        return {};
    }
    Session& session = pg::session();
    const KeyUse use = use_of_call(calls[0]);
    require_bound(calls);
    Subject subject = use.subject();
    const Failure failure = in_session(session, subject, [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        RemoteCalls values(calls, results);
        Status status =
            way == Way::seal ? encrypt(line, values, done) : decrypt(line, values, done);
        if (!status) {
            done = std::min(done, calls.size() - 1);  // what came behind the last reply is its own
            subject.local_id = calls[done].local_id;
            subject.identifier = values.identifier(calls[done]);
        }
        return status;
    });
    settle(session, failure);
    return failure;
}

Failure reseal_remotely(const Call& call, Call to, varlena** result) {
    Session& session = pg::session();
    const KeyUse from = use_of_call(call);
    use_of_call(to);
    const Failure not_opened = in_session(session, from.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(from));
        KeptValue value({from.identifier, call.context, call.data}, session.reply);
        std::size_t done = 0;
        return decrypt(line, value, done);
    });
    settle(session, not_opened);
    if (not_opened) {
        return not_opened;
    }
    to.data = session.reply.view();
    std::size_t done = 0;
    const Failure not_sealed = transform_remotely(Way::seal, {&to, 1}, result, done);
    session.reply.release();
    return not_sealed;
}

}  // namespace kms::pg
