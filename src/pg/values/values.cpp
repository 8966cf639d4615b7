#include "pg/values/values.hpp"

#include <algorithm>

#include "pg/server/collected.hpp"
#include "pg/session/settings.hpp"
#include "pg/values/modes.hpp"
#include "pg/values/prefetch.hpp"

namespace kms::pg {
namespace {

// Before every so many calls their keys are fetched at once.
void prefetch_from(Way way, std::span<const Call> calls, std::size_t index) {
    const std::size_t most = most_prefetched();
    if (index % most == 0 && calls.size() - index > 1) {
        prefetch(way, calls.subspan(index, std::min(most, calls.size() - index)));
    }
}

Failure transform_locally(Way way, std::span<const Call> calls, varlena** results,
                          std::size_t& done) {
    for (done = 0; done < calls.size(); ++done) {
        CHECK_FOR_INTERRUPTS();
        prefetch_from(way, calls, done);
        const Failure failure = way == Way::seal ? seal_locally(calls[done], &results[done])
                                                 : open_locally(calls[done], &results[done]);
        if (failure) {
            return failure;
        }
    }
    return {};
}

Failure reseal_all_locally(std::span<const Call> calls, std::span<const Call> to, varlena** results,
                           std::size_t& done) {
    for (done = 0; done < calls.size(); ++done) {
        CHECK_FOR_INTERRUPTS();
        prefetch_from(Way::open, calls, done);
        if (const Failure failure = reseal_locally(calls[done], to[done], &results[done])) {
            return failure;
        }
    }
    return {};
}

Failure transform_one_remotely(Way way, const Call& call, varlena** result) {
    std::size_t done = 0;
    return transform_remotely(way, {&call, 1}, result, done);
}

}  // namespace

[[gnu::hot]] Failure seal(const Call& call, varlena** result) {
    return mode() == Mode::remote ? transform_one_remotely(Way::seal, call, result)
                                  : seal_locally(call, result);
}

[[gnu::hot]] Failure open(const Call& call, varlena** result) {
    return mode() == Mode::remote ? transform_one_remotely(Way::open, call, result)
                                  : open_locally(call, result);
}

Failure wrap(const Call& call, varlena** result) {
    return mode() == Mode::remote ? wrap_remotely(call, result) : wrap_locally(call, result);
}

Failure unwrap(const Call& call) {
    return mode() == Mode::remote ? unwrap_remotely(call) : unwrap_locally(call);
}

Failure seal_under(const Call& call, std::span<const KeyTag> tags, varlena** results) {
    if (mode() == Mode::remote) {
        auto* calls = allocate_many<Call>(tags.size());
        std::fill_n(calls, tags.size(), call);
        return seal_under_remotely({calls, tags.size()}, tags, results);
    }
    for (std::size_t i = 0; i < tags.size(); ++i) {
        if (const Failure failure = seal_under_locally(call, tags[i], &results[i])) {
            return failure;
        }
    }
    return {};
}

Failure make_terms(const Call& call, unsigned bits, std::span<const KeyTag> tags,
                   std::span<FullTerm> terms) {
    if (mode() == Mode::remote) {
        return terms_remotely(call, bits, tags, terms);
    }
    for (std::size_t i = 0; i < terms.size(); ++i) {
        const auto tag = tags.empty() ? std::nullopt : std::optional(tags[i]);
        if (const Failure failure = term_locally(call, bits, tag, terms[i])) {
            return failure;
        }
    }
    return {};
}

Failure reseal(std::span<const Call> calls, std::span<const Call> to, varlena** results,
               std::size_t& done) {
    return mode() == Mode::remote ? reseal_remotely(calls, to, results, done)
                                  : reseal_all_locally(calls, to, results, done);
}

Call sealing_again(const Call& to, const Call& opened, ByteView plaintext) {
    Call again = to;
    again.data = plaintext;
    if (const auto header = read_sealed_header(opened.data)) {
        again.replaces = header->tag;
    }
    return again;
}

Failure transform(Way way, std::span<const Call> calls, varlena** results, std::size_t& done) {
    return mode() == Mode::remote ? transform_remotely(way, calls, results, done)
                                  : transform_locally(way, calls, results, done);
}

Failure find_current_tag(const Call& call, KeyTag& tag) {
    varlena* sealed = nullptr;
    if (const Failure failure = seal(call, &sealed)) {
        return failure;
    }
    const Failure failure = guarded(use_of_call(call).subject(), [&]() -> Status {
        const auto header = read_sealed_header(bytes_in(sealed));
        if (!header) {
            return Error{Code::protocol, "The agent's ciphertext has no key tag."};
        }
        tag = header->tag;
        return {};
    });
    pfree(sealed);
    return failure;
}

KeyTag current_tag(const Call& call) {
    KeyTag tag = {};
    if (const Failure failure = find_current_tag(call, tag)) {
        raise(failure);
    }
    return tag;
}

KeyUse use_of_call(const Call& call) {
    return call.names_key() ? use_of_identifier(call.action, call.identifier)
                            : use_of_local_id(call.action, call.local_id);
}

void require_text(const Call& call, varlena* value) {
    const ByteSpan bytes = bytes_in(value);
    const char* text = reinterpret_cast<const char*>(bytes.data());
    if (!pg_verify_mbstr(GetDatabaseEncoding(), text, static_cast<int>(bytes.size()), true)) {
        raise_error(use_of_call(call).subject(), Code::not_text, "");
    }
}

}  // namespace kms::pg
