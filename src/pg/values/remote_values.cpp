// Remote mode: the key agent seals and opens, and no DEK enters PostgreSQL.
#include <algorithm>

#include "client/calls/new_data_key.hpp"
#include "client/calls/terms.hpp"
#include "client/calls/values.hpp"
#include "pg/server/collected.hpp"
#include "pg/session/asking.hpp"
#include "pg/session/settings.hpp"
#include "pg/values/modes.hpp"

namespace kms::pg {
namespace {

// The C++ side's view of calls. Results are PostgreSQL's own values, in the caller's memory
// context.
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

// Plaintexts for the session to keep.
class KeptValues final : public Values {
  public:
    KeptValues(std::span<const Call> calls, std::vector<SecretBytes>& plaintexts)
        : calls_(calls, nullptr), plaintexts_(plaintexts) {
        plaintexts.resize(calls.size());
    }

    std::size_t count() const override { return plaintexts_.size(); }
    Value at(std::size_t index) override { return calls_.at(index); }
    Result<ByteSpan> allot(std::size_t index, std::size_t length) override {
        plaintexts_[index] = SecretBytes(length);
        return plaintexts_[index].span();
    }

  private:
    RemoteCalls calls_;
    std::vector<SecretBytes>& plaintexts_;
};

void require_bound(std::span<const Call> calls) {
    for (std::size_t i = 1; i < calls.size(); ++i) {
        if (calls[i].local_id != calls[i - 1].local_id) {
            use_of_call(calls[i]);
        }
    }
}

// One exchange with the agent. What came behind the last reply is the last call's.
template <typename Ask>
Failure exchange(Session& session, std::span<const Call> calls, std::size_t& done, Ask ask) {
    done = 0;
    if (calls.empty()) {
        return {};
    }
    const KeyUse use = use_of_call(calls[0]);
    require_bound(calls);
    Subject subject = use.subject();
    const Failure failure = in_session(session, subject, [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        Status status = ask(line);
        if (!status) {
            done = std::min(done, calls.size() - 1);
            subject.local_id = calls[done].names_key() ? 0 : calls[done].local_id;
            subject.identifier = RemoteCalls(calls, nullptr).at(done).key;
        }
        return status;
    });
    settle(session, failure);
    return failure;
}

// What is stored must open, in every mode.
Status require_wrapped(ByteView wrapped, std::size_t length) {
    const auto header = read_sealed_header(wrapped);
    if (!header || header->suite != Suite::xaes_256_gcm || header->plaintext_length != length) {
        return Error{Code::protocol, "the agent wrapped a key in another format"};
    }
    return {};
}

// One call, spoken of with the agent.
template <typename Ask>
Failure ask_about(const Call& call, Ask ask) {
    std::size_t done = 0;
    Session& session = pg::session();
    return exchange(session, {&call, 1}, done, [&](Line line) {
        return ask(line, session, RemoteCalls({&call, 1}, nullptr));
    });
}

}  // namespace

Failure wrap_remotely(const Call& call, varlena** result) {
    return ask_about(call, [&](Line line, Session&, RemoteCalls calls) -> Status {
        KMS_ASSIGN(const WrappedSecret wrapped,
                   wrap_key(line, calls.at(0).key, call.context, call.data));
        KMS_TRY(require_wrapped(wrapped.bytes.view(), call.data.size()));
        KMS_ASSIGN(const WrappedSecret opened, unwrap_key(line, calls.at(0).key, call.context,
                                                          wrapped.bytes.view(), call.data.size()));
        KMS_TRY(check_same(opened.bytes.view(), call.data));
        KMS_ASSIGN(*result, try_allocate_value(wrapped.bytes.size()));
        copy_bytes(wrapped.bytes.view(), bytes_in(*result));
        return {};
    });
}

Failure unwrap_remotely(const Call& call) {
    return ask_about(call, [&](Line line, Session& session, RemoteCalls calls) -> Status {
        KMS_ASSIGN(WrappedSecret unwrapped,
                   unwrap_key(line, calls.at(0).key, call.context, call.data, call.data.size()));
        session.reply = std::move(unwrapped.bytes);
        return {};
    });
}

Failure transform_remotely(Way way, std::span<const Call> calls, varlena** results,
                           std::size_t& done) {
    return exchange(session(), calls, done, [&](Line line) -> Status {
        RemoteCalls values(calls, results);
        return way == Way::seal ? encrypt(line, values, done) : decrypt(line, values, done);
    });
}

Failure seal_under_remotely(std::span<const Call> calls, std::span<const KeyTag> tags,
                            varlena** results) {
    std::size_t done = 0;
    return exchange(session(), calls, done, [&](Line line) -> Status {
        RemoteCalls values(calls, results);
        return encrypt_as(line, values, tags, done);
    });
}

Failure terms_remotely(const Call& call, unsigned bits, std::span<const KeyTag> tags,
                       std::span<FullTerm> terms) {
    return ask_about(call, [&](Line line, Session&, RemoteCalls calls) -> Status {
        const TermWish wish{calls.at(0).key, bits, call.context, call.data};
        if (tags.empty()) {
            KMS_ASSIGN(terms[0], make_term(line, wish));
            return {};
        }
        return kms::make_terms(line, wish, tags, terms);
    });
}

// What was opened before the first failure is sealed all the same.
Failure reseal_remotely(std::span<const Call> calls, std::span<const Call> to, varlena** results,
                        std::size_t& done) {
    Session& session = pg::session();
    auto* again = allocate_many<Call>(calls.size());
    if (!to.empty()) {
        use_of_call(to[0]);
        require_bound(to);
    }
    std::size_t opened = 0;
    const Failure not_opened = exchange(session, calls, opened, [&](Line line) -> Status {
        KeptValues values(calls, session.opened);
        return decrypt(line, values, opened);
    });
    for (std::size_t i = 0; i < opened; ++i) {
        again[i] = sealing_again(to[i], calls[i], session.opened[i].view());
    }
    const Failure not_sealed = transform_remotely(Way::seal, {again, opened}, results, done);
    session.opened.clear();
    return not_sealed ? not_sealed : not_opened;
}

}  // namespace kms::pg
