// Frames of kms/1: the same result whatever the cuts, and nothing taken that is not a frame.
#include "wire/frame.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

namespace kms::wire {
namespace {

struct Parsed {
    std::string verb;
    std::uint64_t id;
    std::vector<std::string> words;
    std::string body;
    friend bool operator==(const Parsed&, const Parsed&) = default;
};

struct Outcome {
    std::vector<Parsed> frames;
    bool violated = false;
    bool cut = false;  // the input ends inside of a frame
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

void put(FrameReader& reader, std::string_view bytes) {
    while (!bytes.empty()) {
        const ByteSpan space = reader.space();
        const std::size_t count = std::min(space.size(), bytes.size());
        std::copy_n(bytes.begin(), count, space.begin());
        reader.commit(count);
        bytes.remove_prefix(count);
    }
}

Parsed parsed_frame(const FrameReader& reader, const Head& head) {
    Parsed frame{std::string(head.verb), head.id, {}, std::string(text_of(reader.body()))};
    for (std::size_t i = 0; i < head.words.size(); ++i) {
        frame.words.push_back(head.word(i).value_or("?"));
    }
    return frame;
}

void take_frames(FrameReader& reader, Outcome& outcome) {
    for (;;) {
        const auto head = reader.head();
        if (!head) {
            EXPECT_EQ(head.error().code, Code::protocol);
            outcome.violated = true;
            return;
        }
        if (*head == nullptr || !reader.body_complete()) {
            return;
        }
        outcome.frames.push_back(parsed_frame(reader, **head));
        reader.pop();
    }
}

// `next_cut` says how many bytes arrive at a time.
template <typename NextCut>
Outcome parse(std::string_view input, NextCut next_cut, std::uint64_t max_body = max_body_ceiling) {
    FrameReader reader(max_body);
    Outcome outcome;
    while (!input.empty() && !outcome.violated) {
        const std::size_t count = std::min<std::size_t>(next_cut(), input.size());
        put(reader, input.substr(0, count));
        input.remove_prefix(count);
        take_frames(reader, outcome);
    }
    outcome.cut = !outcome.violated && reader.in_frame();
    return outcome;
}

Outcome parse_whole(std::string_view input, std::uint64_t max_body = max_body_ceiling) {
    return parse(
        input, [] { return SIZE_MAX; }, max_body);
}

bool is_taken(std::string_view input, std::uint64_t max_body = max_body_ceiling) {
    const Outcome outcome = parse_whole(input, max_body);
    return !outcome.violated && !outcome.cut && outcome.frames.size() == 1;
}

bool is_violation(std::string_view input, std::uint64_t max_body = max_body_ceiling) {
    return parse_whole(input, max_body).violated;
}

std::string frames_for_cuts() {
    std::string input = "ok 0 5 kms/1 get\nbody\n";
    input += "error 1 0 not-found\n";
    input += "ok 2 3 %00 %25%0A x=y\n\n\n\n";
    input += "ok 9223372036854775807 20000\n" + std::string(20000, 'z');
    input += "get 7 0 " + std::string(1024, 'k') + "\n";
    return input;
}

TEST(Frame, IsParsedAlikeWhateverTheCuts) {
    const std::string input = frames_for_cuts();
    const Outcome whole = parse_whole(input);
    ASSERT_EQ(whole.frames.size(), 5u);
    EXPECT_FALSE(whole.violated || whole.cut);
    EXPECT_EQ(whole.frames[2], (Parsed{"ok", 2, {std::string(1, '\0'), "%\n", "x=y"}, "\n\n\n"}));
    EXPECT_EQ(parse(input, [] { return 1; }), whole);
    std::mt19937 random(1);
    for (int round = 0; round < 300; ++round) {
        const std::size_t most = 1 + random() % 3000;
        EXPECT_EQ(parse(input, [&] { return 1 + random() % most; }), whole);
    }
}

TEST(Frame, KnowsATruncationAtEveryByte) {
    const std::string input = "ok 1 4 a b\nbody";
    for (std::size_t length = 1; length < input.size(); ++length) {
        const Outcome outcome = parse_whole(input.substr(0, length));
        EXPECT_TRUE(outcome.cut && outcome.frames.empty() && !outcome.violated) << length;
    }
    EXPECT_FALSE(parse_whole("").cut);
}

TEST(Frame, RefusesWhatIsNotALine) {
    for (const char* line : {"\n",
                             " \n",
                             "ok\n",
                             "ok \n",
                             "ok 1\n",
                             "ok 1 \n",
                             "ok 1 0 \n",
                             "ok  1 0\n",
                             "ok 1  0\n",
                             "ok 1 0  a\n",
                             "ok 1 0 a \n",
                             " ok 1 0\n",
                             "OK 1 0\n",
                             "-ok 1 0\n",
                             "ok1 1 0\n",
                             "abcdefghijklmnopq 1 0\n",
                             "ok 01 0\n",
                             "ok +1 0\n",
                             "ok -1 0\n",
                             "ok 1 00\n",
                             "ok 0x1 0\n",
                             "ok 1.0 0\n",
                             "ok 9223372036854775808 0\n",
                             "ok 18446744073709551616 0\n",
                             "ok 1 1073741825\n",
                             "ok 1 99999999999999999999999\n",
                             "ok 1 -1\n",
                             "ok 1 0\r\n",
                             "ok\t1 0\n",
                             "ok 1 0\ta\n",
                             "ok 1 0 %\n",
                             "ok 1 0 %4\n",
                             "ok 1 0 %41\n",
                             "ok 1 0 %0a\n",
                             "ok 1 0 %GG\n",
                             "ok 1 0 a%\n",
                             "ok 1 0 \x7F\n",
                             "ok 1 0 \xC3\xA4\n",
                             "ok 1 0 %7e\n"}) {
        EXPECT_TRUE(is_violation(line)) << line;
    }
    EXPECT_TRUE(is_violation(std::string_view("ok\0 1 0\n", 8)));
}

TEST(Frame, TakesTheLimitsAndNothingBeyond) {
    EXPECT_TRUE(is_taken("abcdefghijklmnop 0 0\n"));
    EXPECT_TRUE(is_taken("ok 9223372036854775807 0\n"));
    EXPECT_TRUE(is_taken("ok 1 0 " + std::string(1024, 'a') + "\n"));
    EXPECT_TRUE(is_violation("ok 1 0 " + std::string(1025, 'a') + "\n"));
    std::string escaped;
    for (int i = 0; i < 1024; ++i) {
        escaped += "%FF";
    }
    EXPECT_TRUE(is_taken("ok 1 0 " + escaped + "\n"));
    EXPECT_TRUE(is_violation("ok 1 0 " + escaped + "a\n"));
    EXPECT_TRUE(is_taken("ok 1 3\nabc", 3));
    EXPECT_TRUE(is_violation("ok 1 4\nabcd", 3));
}

TEST(Frame, LimitsALineAtOnce) {
    std::string line = "ok 1 0";
    while (line.size() + 1002 < max_line) {
        line += " " + std::string(1000, 'a');
    }
    const std::string longest = line + " " + std::string(max_line - 2 - line.size(), 'b');
    EXPECT_TRUE(is_taken(longest + "\n"));
    EXPECT_TRUE(is_violation(longest + "b\n"));
    EXPECT_TRUE(is_violation(longest + "b"));  // no LF needed to know
    EXPECT_FALSE(is_violation(longest));
    EXPECT_TRUE(parse(longest + "bb", [] { return 1; }).violated);
}

TEST(Frame, StaysBrokenAfterAViolation) {
    FrameReader reader;
    put(reader, "nonsense\nok 1 0\n");
    EXPECT_FALSE(reader.head());
    EXPECT_FALSE(reader.head());
}

TEST(Frame, KeepsTheHeadWhileItsBodyArrives) {
    FrameReader reader;
    const std::string body(3'000'000, 'b');
    put(reader, "ok 5 3000000 first second\n");
    const Head* const head = *reader.head();
    for (std::size_t at = 0; at < body.size(); at += 10'000) {
        EXPECT_FALSE(reader.body_complete());
        put(reader, std::string_view(body).substr(at, 10'000));
        ASSERT_EQ(*reader.head(), head);
        ASSERT_EQ(head->raw_word(1), "second");
    }
    ASSERT_TRUE(reader.body_complete());
    EXPECT_EQ(text_of(reader.body()), body);
    reader.pop();
    EXPECT_FALSE(reader.in_frame());
}

TEST(Frame, GrowsWithWhatArrivesAndShrinksAgain) {
    FrameReader reader;
    put(reader, "ok 5 1000000000\n");
    ASSERT_NE(*reader.head(), nullptr);
    EXPECT_LT(reader.space().size(), 100'000u);
    put(reader, std::string(5'000'000, 'b'));
    EXPECT_LT(reader.space().size(), 10'100'000u);
    FrameReader other;
    put(other, "ok 5 8000000\n" + std::string(8'000'000, 'b') + "ok 6 1\n");
    ASSERT_NE(*other.head(), nullptr);
    other.pop();
    EXPECT_LE(other.space().size(), 100'000u);
    put(other, "c");
    EXPECT_EQ((*other.head())->id, 6u);
    EXPECT_EQ(text_of(other.body()), "c");
}

TEST(Frame, DiscardsABodyInBoundedMemory) {
    for (const std::size_t chunk : {1u, 7u, 60'000u}) {
        FrameReader reader;
        put(reader, "ok 1 300000\nxx");
        ASSERT_NE(*reader.head(), nullptr);
        EXPECT_FALSE(reader.discard());
        EXPECT_TRUE(reader.in_frame());
        const std::string rest = std::string(299'998, 'x') + "ok 2 1\ny";
        bool gone = false;
        for (std::size_t at = 0; at < rest.size(); at += chunk) {
            put(reader, std::string_view(rest).substr(at, chunk));
            gone = gone || reader.discard();
            ASSERT_LE(reader.space().size(), 100'000u);
        }
        ASSERT_TRUE(gone);
        EXPECT_EQ((*reader.head())->id, 2u);
        EXPECT_EQ(text_of(reader.body()), "y");
    }
}

TEST(Frame, LeavesNothingOfABodyBehind) {
    FrameReader reader;
    put(reader, "ok 1 6\nsecret");
    ASSERT_NE(*reader.head(), nullptr);
    const Byte* const where = reader.body().data();
    reader.pop();
    EXPECT_TRUE(std::all_of(where, where + 6, [](Byte byte) { return byte == 0; }));
}

std::string head_line(std::string_view verb, std::uint64_t id, std::uint64_t length,
                      std::vector<ByteView> words) {
    SecretBytes out;
    return append_head(out, verb, id, length, words) ? std::string(text_of(out.view())) : "invalid";
}

TEST(FrameLine, IsWrittenInItsOnlySpelling) {
    EXPECT_EQ(head_line("get", 7, 0, {bytes_of("a b%\n~"), bytes_of("c")}),
              "get 7 0 a%20b%25%0A~ c\n");
    EXPECT_EQ(head_line("ok", max_id, max_body_ceiling, {}), "ok 9223372036854775807 1073741824\n");
    std::string every_byte;
    for (int byte = 0; byte < 256; ++byte) {
        every_byte += static_cast<char>(byte);
    }
    const Outcome outcome = parse_whole(head_line("get", 1, 0, {bytes_of(every_byte)}));
    ASSERT_EQ(outcome.frames.size(), 1u);
    EXPECT_EQ(outcome.frames[0].words, std::vector<std::string>{every_byte});
}

TEST(FrameLine, RefusesWhatNobodyWouldTake) {
    const std::string long_word(1025, 'a');
    const std::string wide_word(1024, '\xFF');
    EXPECT_EQ(head_line("get", 1, 0, {ByteView{}}), "invalid");
    EXPECT_EQ(head_line("get", 1, 0, {bytes_of(long_word)}), "invalid");
    EXPECT_NE(head_line("get", 1, 0, {bytes_of(wide_word)}), "invalid");
    EXPECT_EQ(head_line("get", 1, 0, {bytes_of(wide_word), bytes_of(wide_word)}), "invalid");
    EXPECT_EQ(head_line("Get", 1, 0, {}), "invalid");
    EXPECT_EQ(head_line("", 1, 0, {}), "invalid");
    EXPECT_EQ(head_line("get", max_id + 1, 0, {}), "invalid");
    EXPECT_EQ(head_line("get", 1, max_body_ceiling + 1, {}), "invalid");
    SecretBytes out = SecretBytes::copy_of(bytes_of("kept"));
    const ByteView too_long = bytes_of(long_word);
    EXPECT_FALSE(append_head(out, "get", 1, 0, {&too_long, 1}));
    EXPECT_EQ(text_of(out.view()), "kept");
}

TEST(FrameNumber, HasOneSpelling) {
    EXPECT_EQ(parse_number("0", 10), 0u);
    EXPECT_EQ(parse_number("10", 10), 10u);
    EXPECT_EQ(parse_number("18446744073709551615", UINT64_MAX), UINT64_MAX);
    for (const char* text : {"", "00", "01", "+1", "-0", " 1", "1 ", "1a", "0x1", "11"}) {
        EXPECT_FALSE(parse_number(text, 10)) << text;
    }
    EXPECT_FALSE(parse_number("18446744073709551616", UINT64_MAX));
}

}  // namespace
}  // namespace kms::wire
