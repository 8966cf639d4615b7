#include "client/link/offer.hpp"

#include <algorithm>

#include "client/link/log_lines.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::uint64_t most_hello = 64 * 1024;
constexpr std::size_t most_product = 256;

// Replaces `value` where the agent has a line `name`.
Status read_limit(const std::vector<wire::Field>& fields, std::string_view name,
                  std::uint64_t least, std::uint64_t most, std::uint64_t& value) {
    const std::string_view text = wire::field(fields, name);
    if (text.empty()) {
        return {};
    }
    const auto number = wire::parse_number(text, most);
    if (!number || *number < least) {
        return Error{Code::protocol, "the handshake has no proper " + std::string(name)};
    }
    value = *number;
    return {};
}

Result<Offer> parse_offer(const Reply& reply) {
    if (reply.head.raw_word(0) != wire::protocol_version) {
        return Error{Code::protocol, "the handshake does not choose kms/1"};
    }
    KMS_ASSIGN(const auto fields, wire::parse_fields(reply.body));
    Offer offer;
    KMS_TRY(read_limit(fields, "max-body", 0, wire::max_body_ceiling, offer.max_body));
    KMS_TRY(read_limit(fields, "max-in-flight", 1, wire::max_id, offer.max_in_flight));
    offer.product = printable(bytes_of(wire::field(fields, "agent")), most_product);
    offer.capabilities.assign(reply.head.words.begin() + 1, reply.head.words.end());
    return offer;
}

}  // namespace

bool Offer::includes(std::string_view capability) const {
    return std::find(capabilities.begin(), capabilities.end(), capability) != capabilities.end();
}

Request Handshake::request(std::size_t) {
    return {.verb = wire::verb::hello,
            .words = {bytes_of(wire::protocol_version)},
            .body = {bytes_of(identity_.lines()), {}},
            .reply_limit = most_hello};
}

Status Handshake::take(std::size_t, const Result<Reply>& reply) {
    if (!reply) {
        return reply.error();
    }
    KMS_ASSIGN(offer_, parse_offer(*reply));
    return {};
}

}  // namespace kms
