// The vocabulary out of any bytes: what is taken has one spelling, so it is written as it was read.
#include "wire/verbs.hpp"

#include <cstdlib>
#include <string>

#include "wire/frame.hpp"

namespace {

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

void fields(kms::ByteView body) {
    if (const auto parsed = kms::wire::parse_fields(body)) {
        require(kms::wire::write_fields(*parsed) == kms::text_of(body));
    }
}

// Further words of a line are ignored: so only a list without any is compared.
void list(kms::ByteView body) {
    const auto parsed = kms::wire::parse_listed(body);
    if (!parsed) {
        return;
    }
    std::string written;
    for (const auto& listed : *parsed) {
        kms::wire::append_listed(written, listed);
    }
    require(written.size() <= body.size());
    if (written.size() == body.size()) {
        require(written == kms::text_of(body));
    }
    const auto again = kms::wire::parse_listed(kms::bytes_of(written));
    require(again && again->size() == parsed->size());
}

void words(std::string_view text) {
    if (const auto tag = kms::wire::parse_tag(text)) {
        require(kms::wire::tag_word(*tag) == text);
    }
    if (const auto code = kms::wire::error_code(text)) {
        require(kms::wire::error_word(*code) == text);
    }
    if (const auto state = kms::wire::parse_state(text)) {
        require(kms::wire::state_word(*state) == text);
    }
    if (const auto number = kms::wire::parse_number(text, UINT64_MAX)) {
        require(std::to_string(*number) == text);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fields({data, size});
    list({data, size});
    words(kms::text_of({data, size}));
    return 0;
}
