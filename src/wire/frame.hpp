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

// A frame's line. Views into the reader's buffer.
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
//     while ((head = reader.head()) && *head) { reader.body_complete() … reader.pop(); }
class FrameReader {
  public:
    explicit FrameReader(std::uint64_t max_body = max_body_ceiling);

    // Where to put the next bytes: at least one byte, and room for a large read. Invalidates views.
    ByteSpan space();
    void commit(std::size_t count);

    // The line of the next frame, once it is there; nullptr before. Code::protocol for anything
    // that is not a frame: the connection must then be given up. Stays the same until pop().
    Result<const Head*> head();

    // Whether the body of head() has arrived whole.
    bool body_complete() const;
    ByteView body() const;

    // Leaves the frame of head() behind, whose body is complete. Wipes it.
    void pop();

    // Drops the body of head() as it arrives, in bounded memory; true once the frame is gone.
    bool discard();

    // Whether bytes of a frame not yet complete are held: an end of input here is a truncation.
    bool in_frame() const;

  private:
    // to be laid out by the implementation
};

// Appends a frame's line. `words` are raw bytes and are escaped here; each 1 to max_word bytes
// (Code::invalid otherwise, or where the line would be longer than max_line).
Status append_head(SecretBytes& out, std::string_view verb, std::uint64_t id, std::uint64_t length,
                   std::span<const ByteView> words);

}  // namespace kms::wire
