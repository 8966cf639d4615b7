// Frames out of any bytes: the same ones whatever the cuts, and written again they are what they
// were read from.
#include "wire/frame.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>

namespace {

using kms::Byte;
using kms::ByteView;
using kms::wire::FrameReader;
using kms::wire::Head;

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

// The frame as append_head writes it: words have one spelling, and so do numbers.
std::string written_again(const Head& head, ByteView body) {
    std::vector<std::string> words;
    for (std::size_t i = 0; i < head.words.size(); ++i) {
        words.push_back(*head.word(i));
    }
    std::vector<ByteView> views;
    for (const std::string& word : words) {
        views.push_back(kms::bytes_of(word));
    }
    kms::SecretBytes line;
    require(
        static_cast<bool>(kms::wire::append_head(line, head.verb, head.id, head.length, views)));
    return std::string(kms::text_of(line.view())) + std::string(kms::text_of(body));
}

// What was read: all frames, then how it ended.
std::string read_frames(ByteView input, std::size_t step, bool discard) {
    FrameReader reader(1 << 20);
    std::string frames;
    while (!input.empty()) {
        const auto space = reader.space();
        const std::size_t count = std::min({step, input.size(), space.size()});
        std::copy_n(input.begin(), count, space.begin());
        reader.commit(count);
        input = input.subspan(count);
        for (;;) {
            const auto head = reader.head();
            if (!head) {
                return frames + "violation";
            }
            if (*head == nullptr || (!discard && !reader.body_complete())) {
                break;
            }
            if (!discard) {
                frames += written_again(**head, reader.body());
                reader.pop();
            } else if (!reader.discard()) {
                break;
            }
        }
    }
    return frames + (reader.in_frame() ? "cut" : "end");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const std::size_t step = 1 + data[0];
    const ByteView input(data + 1, size - 1);
    const std::string whole = read_frames(input, SIZE_MAX, false);
    require(read_frames(input, step, false) == whole);
    require(kms::text_of(input).starts_with(
        whole.substr(0, whole.size() - (whole.ends_with("violation") ? 9 : 3))));
    require(read_frames(input, step, true) == read_frames(input, SIZE_MAX, true));
    return 0;
}
