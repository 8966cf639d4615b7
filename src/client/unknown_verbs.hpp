// For the test build (KMS_SEND_UNKNOWN_VERBS) alone: slips a request with an unknown verb in among
// others now and then, so that every agent stays tolerant of verbs that later versions have.
#pragma once

#include <random>
#include <span>
#include <vector>

#include "client/request.hpp"

namespace kms {

inline unsigned one_unknown_verb_in = 8;  // exchanges; 0 for none

class UnknownVerbs : public ReplyHandler {
  public:
    UnknownVerbs(std::span<const Request> requests, ReplyHandler& handler)
        : requests_(requests), place_(requests.size()), handler_(handler) {
        if (one_unknown_verb_in != 0 && random() % one_unknown_verb_in == 0) {
            place_ = random() % (requests.size() + 1);
            longer_.assign(requests.begin(), requests.end());
            longer_.insert(longer_.begin() + static_cast<std::ptrdiff_t>(place_), unknown());
            requests_ = longer_;
        }
    }

    std::span<const Request> requests() const { return requests_; }

    Status take(std::size_t index, const Result<Reply>& reply) override {
        if (longer_.empty() || index < place_) {
            return handler_.take(index, reply);
        }
        if (index > place_) {
            return handler_.take(index - 1, reply);
        }
        if (reply || reply.error().code != Code::unsupported) {
            return Error{Code::protocol, "an unknown verb was not answered as unsupported"};
        }
        return {};
    }

  private:
    static std::size_t random() {
        static std::mt19937 generator{std::random_device{}()};
        return generator();
    }

    static Request unknown() {
        return {.verb = "zzunknown",
                .words = {bytes_of("a"), bytes_of("%\n")},
                .body = {bytes_of("a body to be read away"), {}}};
    }

    std::span<const Request> requests_;
    std::vector<Request> longer_;
    std::size_t place_;
    ReplyHandler& handler_;
};

}  // namespace kms
