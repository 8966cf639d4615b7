#include "crypto/wrap_context.hpp"

#include <array>

#include "base/floor.hpp"

namespace kms {

std::string data_key_context(std::string_view algorithm, std::uint64_t version, ByteView name) {
    std::array<Byte, 8> number;
    store_be(number, version);
    std::string context = "kms/1 data key";
    context += '\0';
    context += algorithm;
    context += '\0';
    context += text_of(number);
    context += text_of(name);
    return context;
}

std::string secret_context(ByteView context) {
    std::string joined = "kms/1 secret";
    joined += '\0';
    joined += text_of(context);
    return joined;
}

}  // namespace kms
