// For the test build (KMS_SEND_UNKNOWN_VERBS) alone: slips a request with an unknown verb in among
// others now and then, so that every agent stays tolerant of verbs that later versions have.
#pragma once

#include <random>

#include "client/link/request.hpp"

namespace kms {

inline unsigned one_unknown_verb_in = 8;  // exchanges; 0 for none

class WithUnknownVerb : public Errand {
  public:
    explicit WithUnknownVerb(Errand& errand) : errand_(errand) {
        if (one_unknown_verb_in != 0 && random() % one_unknown_verb_in == 0) {
            place_ = random() % (errand.count() + 1);
        }
    }

    std::size_t count() const override { return errand_.count() + (place_ != none ? 1 : 0); }

    Request request(std::size_t index) override {
        return index == place_ ? unknown() : errand_.request(of_errand(index));
    }

    Result<ByteSpan> place(std::size_t index, std::size_t length) override {
        return index == place_ ? ByteSpan() : errand_.place(of_errand(index), length);
    }

    Status take(std::size_t index, const Result<Reply>& reply) override {
        if (index != place_) {
            return errand_.take(of_errand(index), reply);
        }
        if (reply || reply.error().code != Code::unsupported) {
            return Error{Code::protocol, "an unknown verb was not answered as unsupported"};
        }
        return {};
    }

  private:
    static constexpr std::size_t none = SIZE_MAX;

    static std::size_t random() {
        static std::mt19937 generator{std::random_device{}()};
        return generator();
    }

    static Request unknown() {
        return {.verb = "zzunknown",
                .words = {bytes_of("a"), bytes_of("%\n")},
                .body = {bytes_of("a body to be read away"), {}}};
    }

    std::size_t of_errand(std::size_t index) const { return index > place_ ? index - 1 : index; }

    Errand& errand_;
    std::size_t place_ = none;
};

}  // namespace kms
