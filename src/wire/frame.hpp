// Frames of kms/1 (doc/protocol.md, "Framing"): one ASCII line, then exactly LENGTH raw bytes.
//
//     request = VERB SP ID SP LENGTH *(SP WORD) LF BODY
//     reply   = ("ok" | "error") SP ID SP LENGTH *(SP WORD) LF BODY
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace kms::wire {

constexpr std::size_t max_line = 4096;  // with its LF
constexpr std::size_t max_verb = 16;
constexpr std::size_t max_word = 1024;  // bytes before escaping
constexpr std::uint64_t max_id = (std::uint64_t{1} << 63) - 1;
constexpr std::uint64_t max_body_ceiling = std::uint64_t{1} << 30;

// `0|[1-9][0-9]*`, at most `largest`; nullopt for anything else.
std::optional<std::uint64_t> parse_number(std::string_view text, std::uint64_t largest);

// Whether `text` is a word as it stands in a line: 1 to max_word bytes, in their only spelling.
bool is_word(std::string_view text);

// A frame's line. Views into the reader, valid until the frame is left behind.
struct Head {
    std::string_view verb;  // of a request; "ok" or "error" of a reply
    std::uint64_t id = 0;
    std::uint64_t length = 0;
    std::vector<std::string_view> words;  // still escaped, their spelling checked

    // The word at `index` without its escapes; nullopt where there is none.
    std::optional<std::string> word(std::size_t index) const;
    std::string_view raw_word(std::size_t index) const;  // empty where there is none
};

// Bytes in, frames out. Storage grows with what arrives, never by what a LENGTH promises, shrinks
// again after a large frame, and is wiped.
//
//     read(fd, reader.space()) ; reader.commit(n) ;
//     while ((head = reader.head()) && *head) { reader.body_complete() ... reader.pop(); }
class FrameReader {
  public:
    explicit FrameReader(std::uint64_t max_body = max_body_ceiling);

    // From the next frame on; at most max_body_ceiling.
    void set_max_body(std::uint64_t max_body) { max_body_ = max_body; }

    // Where to put the next bytes: room for a large read. Invalidates the views of body().
    ByteSpan space();
    void commit(std::size_t count);

    // The line of the next frame, once it is there; nullptr before. Code::protocol for anything
    // that is not a frame: the connection must then be given up. Stays the same until pop().
    Result<const Head*> head();

    // Whether the body of head() has arrived whole.
    bool body_complete() const;
    ByteView body() const;

    // The body of head(), not yet whole, goes to `place`, which has its length, from now on: what
    // is still to come is read there, and body() views it there.
    void divert(ByteSpan place);
    bool diverted() const { return diverted_; }
    // Wipes what has come to the place, which may be freed then; the rest will be discarded.
    void forget_place() noexcept;

    // Leaves the frame of head() behind, whose body is complete. Wipes it, but not in its place.
    void pop();

    // Drops the body of head() as it arrives, in bounded memory; true once the frame is gone.
    bool discard();

    // Whether bytes of a frame not yet complete are held: an end of input here is a truncation.
    bool in_frame() const;

  private:
    ByteView held() const { return storage_.view().subspan(begin_, end_ - begin_); }
    std::size_t body_held() const { return diverted_ ? placed_ : end_ - begin_ - line_length_; }
    bool reads_to_place() const { return diverted_ && placed_ < place_.size(); }
    Status parse(std::string_view line);
    void make_room();
    std::size_t larger_size() const;
    void shrink();
    void drop(std::size_t count);
    void leave();

    SecretBytes storage_;  // what has arrived and was not left behind is begin_ to end_
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::size_t scanned_ = 0;  // bytes from begin_ that are known to hold no LF

    std::uint64_t max_body_;
    bool have_head_ = false;
    Head head_;
    SecretBytes line_;              // what head_ views: stays where it is while storage_ moves
    std::size_t line_length_ = 0;   // bytes of the line at begin_, with its LF; 0 once discarding
    std::uint64_t to_discard_ = 0;  // bytes of the body that are still to come and to be dropped
    bool discarding_ = false;
    bool diverted_ = false;
    ByteSpan place_;  // where the body goes, while it is diverted
    std::size_t placed_ = 0;
};

// Appends a frame's line. `words` are raw bytes and are escaped here; each 1 to max_word bytes
// (Code::invalid otherwise, or where the line would be longer than max_line).
Status append_head(SecretBytes& out, std::string_view verb, std::uint64_t id, std::uint64_t length,
                   std::span<const ByteView> words);

}  // namespace kms::wire
