// A request, its reply, and who takes replies.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "wire/frame.hpp"

namespace kms {

struct Request {
    std::string_view verb;
    std::vector<ByteView> words{};   // raw bytes
    std::array<ByteView, 2> body{};  // sent one after the other
    std::uint64_t reply_limit = 0;   // bytes that an ok reply's body may have

    std::uint64_t body_length() const { return body[0].size() + body[1].size(); }
};

// Views that are valid during ReplyHandler::take only.
struct Reply {
    const wire::Head& head;
    ByteView body;
};

class ReplyHandler {
  public:
    virtual ~ReplyHandler() = default;
    // An `ok` reply, or an `error` turned into its Error (code and text of the agent). An Error
    // that is returned ends the exchange: requests not yet answered are abandoned. Code::protocol
    // says that the reply was not one of kms/1, and costs the connection.
    virtual Status take(std::size_t index, const Result<Reply>& reply) = 0;
};

}  // namespace kms
