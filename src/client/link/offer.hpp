// The handshake (doc/protocol.md, "Handshake"), and what an agent offers in it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "client/link/request.hpp"
#include "wire/frame.hpp"
#include "wire/verbs.hpp"

namespace kms {

// Who asks: the `name=value` lines of `hello` and `identify`. No secret stands in it.
class Identity {
  public:
    Identity() = default;
    Identity(std::initializer_list<wire::Field> fields) : lines_(wire::write_fields(fields)) {}

    std::string_view lines() const { return lines_; }
    friend bool operator==(const Identity&, const Identity&) = default;

  private:
    std::string lines_;
};

struct Offer {
    std::string product;  // printable
    std::uint64_t max_body = wire::max_body_ceiling;
    std::uint64_t max_in_flight = std::numeric_limits<std::uint64_t>::max();
    std::vector<std::string> capabilities;  // as spelled in the line

    bool includes(std::string_view capability) const;
};

// Says hello and takes the answer.
class Handshake : public Errand {
  public:
    explicit Handshake(const Identity& identity) : identity_(identity) {}

    std::size_t count() const override { return 1; }
    Request request(std::size_t index) override;  // a view of this object
    Status take(std::size_t index, const Result<Reply>& reply) override;
    Offer& offer() { return offer_; }

  private:
    const Identity& identity_;
    Offer offer_;
};

}  // namespace kms
