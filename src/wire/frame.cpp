#include "wire/frame.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "base/escape.hpp"

#include "base/floor.hpp"

namespace kms::wire {
namespace {

constexpr std::size_t first_storage = 64 * 1024;
constexpr std::size_t least_room = 16 * 1024;
constexpr std::size_t most_kept = 4 * 1024 * 1024;  // storage that outlives a large frame

Error violation(const char* what) {
    return {Code::protocol, what};
}

bool is_verb(std::string_view text) {
    return !text.empty() && text.size() <= max_verb && text.front() != '-' &&
           std::all_of(text.begin(), text.end(),
                       [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
}

// Cuts the bytes before the next space off `rest`, and the space.
std::string_view cut(std::string_view& rest) {
    // Words are short: this loop costs less than string_view::find's call of memchr.
    const auto space = std::find(rest.begin(), rest.end(), ' ');
    const std::string_view word(rest.begin(), space);
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    return word;
}

bool stands_alone(Byte byte) {
    return stands_for_itself(Alphabet::word, byte);
}

char* append_escaped(char* out, Byte byte) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    *out++ = '%';
    *out++ = digits[byte >> 4];
    *out++ = digits[byte & 15];
    return out;
}

// Writes a line. Behind max_line there is room for one more part, so that a part is written first
// and fits() is asked then.
class LineWriter {
  public:
    void put(std::string_view verb) { end_ = std::copy(verb.begin(), verb.end(), end_); }
    void put(std::uint64_t number) {
        *end_++ = ' ';
        end_ = std::to_chars(end_, line_.data() + line_.size(), number).ptr;
    }
    void put(ByteView word) {
        char* out = end_;  // in a register, which a member cannot be while bytes are written
        *out++ = ' ';
        for (const Byte byte : word) {
            if (stands_alone(byte)) {
                *out++ = static_cast<char>(byte);
            } else {
                out = append_escaped(out, byte);
            }
        }
        end_ = out;
    }
    void end() { *end_++ = '\n'; }
    bool fits() const { return size() <= max_line; }
    ByteView view() const { return bytes_of({line_.data(), size()}); }

  private:
    std::size_t size() const { return static_cast<std::size_t>(end_ - line_.data()); }

    static constexpr std::size_t longest_part = 1 + 3 * max_word;
    std::array<char, max_line + longest_part + 1> line_;
    char* end_ = line_.data();
};

}  // namespace

std::optional<std::uint64_t> parse_number(std::string_view text, std::uint64_t largest) {
    if (text.empty() || (text.size() > 1 && text.front() == '0')) {
        return std::nullopt;
    }
    std::uint64_t number = 0;
    for (const char digit : text) {
        const auto value = static_cast<unsigned>(digit) - '0';
        if (value > 9 || __builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, value, &number)) {
            return std::nullopt;
        }
    }
    return number <= largest ? std::optional(number) : std::nullopt;
}

bool is_word(std::string_view text) {
    const bool plain = std::ranges::all_of(bytes_of(text), stands_alone);
    if (plain) {
        return !text.empty() && text.size() <= max_word;
    }
    const auto raw = unescape(Alphabet::word, Spelling::only_one, text);
    return raw && raw->size() <= max_word;
}

std::optional<std::string> Head::word(std::size_t index) const {
    if (index >= words.size()) {
        return std::nullopt;
    }
    return unescape(Alphabet::word, Spelling::only_one, words[index]);
}

std::string_view Head::raw_word(std::size_t index) const {
    return index < words.size() ? words[index] : std::string_view{};
}

FrameReader::FrameReader(std::uint64_t max_body) : max_body_(max_body) {}

ByteSpan FrameReader::space() {
    if (reads_to_place()) {
        return place_.subspan(placed_);
    }
    if (storage_.size() - end_ < least_room) {
        make_room();
    }
    return storage_.span().subspan(end_);
}

// Twice what has arrived, but no more than the frame at hand and a read behind it.
std::size_t FrameReader::larger_size() const {
    const std::size_t live = end_ - begin_;
    const std::size_t doubled = std::max(first_storage, 2 * live);
    if (!have_head_ || discarding_ || diverted_) {
        return doubled;
    }
    const std::size_t frame = line_length_ + head_.length;
    return std::min(doubled, std::max(frame, live) + first_storage);
}

// Moves what is held to the front, into larger storage where that is not enough.
void FrameReader::make_room() {
    const std::size_t live = end_ - begin_;
    if (live + least_room > storage_.size()) {
        SecretBytes larger(larger_size());
        std::copy_n(storage_.data() + begin_, live, larger.data());
        storage_.swap(larger);
    } else {
        std::memmove(storage_.data(), storage_.data() + begin_, live);
        wipe(storage_.span().subspan(live, end_ - live));
    }
    begin_ = 0;
    end_ = live;
}

void FrameReader::commit(std::size_t count) {
    (reads_to_place() ? placed_ : end_) += count;
}

Result<const Head*> FrameReader::head() {
    if (have_head_) {
        return &head_;
    }
    const std::string_view start = text_of(held()).substr(0, max_line);
    const std::size_t end = start.find('\n', scanned_);
    if (end == std::string_view::npos) {
        scanned_ = start.size();
        if (start.size() == max_line) {
            return violation("a line is longer than 4096 bytes");
        }
        return static_cast<const Head*>(nullptr);
    }
    KMS_TRY(parse(start.substr(0, end)));
    line_length_ = end + 1;
    have_head_ = true;
    return &head_;
}

Status FrameReader::parse(std::string_view line) {
    line_.resize(line.size());
    std::copy_n(bytes_of(line).data(), line.size(), line_.data());
    std::string_view rest = text_of(line_.view());
    if (rest.ends_with(' ')) {
        return violation("a line ends with a space");
    }
    head_.verb = cut(rest);
    if (!is_verb(head_.verb)) {
        return violation("a line does not begin with a verb");
    }
    const auto id = parse_number(cut(rest), max_id);
    if (!id) {
        return violation("a line has no proper id");
    }
    const auto length = parse_number(cut(rest), max_body_);
    if (!length) {
        return violation("a line has no proper length, or one above the limit");
    }
    head_.id = *id;
    head_.length = *length;
    head_.words.clear();
    while (!rest.empty()) {
        head_.words.push_back(cut(rest));
        if (!is_word(head_.words.back())) {
            return violation("a word of a line is not spelled properly");
        }
    }
    return {};
}

bool FrameReader::body_complete() const {
    return have_head_ && !discarding_ && body_held() >= head_.length;
}

ByteView FrameReader::body() const {
    return diverted_ ? place_ : held().subspan(line_length_, head_.length);
}

void FrameReader::divert(ByteSpan place) {
    const ByteView begun = held().subspan(line_length_);
    copy_bytes(begun, place);
    placed_ = begun.size();
    place_ = place;
    diverted_ = true;
    drop(line_length_ + placed_);
    line_length_ = 0;
}

void FrameReader::forget_place() noexcept {
    if (diverted_) {
        wipe(place_.first(placed_));
        to_discard_ = head_.length - placed_;
        discarding_ = true;
        diverted_ = false;
    }
}

void FrameReader::pop() {
    if (!diverted_) {
        drop(line_length_ + head_.length);
    }
    leave();
}

bool FrameReader::discard() {
    forget_place();
    if (!discarding_) {
        discarding_ = true;
        to_discard_ = head_.length;
        drop(line_length_);
        line_length_ = 0;
    }
    const std::size_t arrived = std::min<std::uint64_t>(to_discard_, end_ - begin_);
    drop(arrived);
    to_discard_ -= arrived;
    shrink();
    if (to_discard_ != 0) {
        return false;
    }
    leave();
    return true;
}

bool FrameReader::in_frame() const {
    return discarding_ || diverted_ || begin_ != end_;
}

void FrameReader::drop(std::size_t count) {
    wipe(storage_.span().subspan(begin_, count));
    begin_ += count;
    if (begin_ == end_) {
        begin_ = end_ = 0;
    }
}

void FrameReader::leave() {
    have_head_ = discarding_ = diverted_ = false;
    line_length_ = scanned_ = 0;
    shrink();
}

void FrameReader::shrink() {
    if (storage_.size() > most_kept && end_ - begin_ <= first_storage - least_room) {
        SecretBytes smaller(first_storage);
        std::copy_n(storage_.data() + begin_, end_ - begin_, smaller.data());
        storage_.swap(smaller);
        end_ -= begin_;
        begin_ = 0;
    }
}

Status append_head(SecretBytes& out, std::string_view verb, std::uint64_t id, std::uint64_t length,
                   std::span<const ByteView> words) {
    if (!is_verb(verb) || id > max_id || length > max_body_ceiling) {
        return Error{Code::invalid, "a verb, an id or a length is out of range"};
    }
    LineWriter line;
    line.put(verb);
    line.put(id);
    line.put(length);
    for (const ByteView word : words) {
        if (word.empty() || word.size() > max_word) {
            return Error{Code::invalid, "a word must have 1 to 1024 bytes"};
        }
        line.put(word);
        if (!line.fits()) {
            break;
        }
    }
    line.end();
    if (!line.fits()) {
        return Error{Code::invalid, "the words do not fit into a line of 4096 bytes"};
    }
    out.append(line.view());
    return {};
}

}  // namespace kms::wire
