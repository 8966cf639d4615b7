// Keys from the agent, one or many: no reply is believed which does not hold together, and what
// concerns one key ends nothing.
#include "client/calls/fetch.hpp"

#include <algorithm>

#include "agent_harness.hpp"

namespace kms::test {
namespace {

using namespace std::chrono_literals;

const std::string key_bytes(32, 'k');
const std::string id = "some key";
constexpr KeyTag listed_tag{0, 1, 2, 3, 4, 5, 6, 7};

KeyTag tag_of(Algorithm algorithm, const std::string& key = key_bytes) {
    return *compute_key_tag(algorithm, bytes_of(key));
}

// As a shell's word has them.
std::string zeros(std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
        text += "\\x00";
    }
    return text;
}

class FetchTest : public AgentTest {
  protected:
    void answering_key(const std::string& words, const std::string& key = key_bytes) {
        answering("ok {id} " + std::to_string(key.size()) + words + "\\n" + key);
    }
    Result<FetchedKey> get(const std::optional<KeyTag>& tag = std::nullopt) {
        return get_key(line(), bytes_of(id), tag);
    }
    Status get_status() {
        const auto fetched = get();
        return fetched ? Status() : fetched.error();
    }
};

TEST_F(FetchTest, FetchesAKey) {
    answering_key("");
    const auto plain = get();
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain->version, 1u);
    EXPECT_EQ(plain->algorithm, Algorithm::xaes_256_gcm);
    EXPECT_EQ(plain->tag, tag_of(Algorithm::xaes_256_gcm));
    EXPECT_EQ(text_of(plain->key.view()), key_bytes);

    const KeyTag tag = tag_of(Algorithm::aes_256_gcm);
    answering_key(" 7 aes-256-gcm " + wire::tag_word(tag) + " later words");
    const auto full = get(tag);
    ASSERT_TRUE(full);
    EXPECT_EQ(full->version, 7u);
    EXPECT_EQ(full->algorithm, Algorithm::aes_256_gcm);
    EXPECT_EQ(full->tag, tag);
}

TEST_F(FetchTest, TakesAKeyOfEachLength) {
    for (const std::size_t length : {16u, 24u, 32u, 64u}) {
        answering_key(" 2", std::string(length, 'k'));
        const auto fetched = get();
        ASSERT_TRUE(fetched) << length;
        EXPECT_EQ(info_of(fetched->algorithm).key_length, length);
    }
}

TEST_F(FetchTest, BelievesNoKeyThatDoesNotHoldTogether) {
    const std::string tag = wire::tag_word(tag_of(Algorithm::xaes_256_gcm));
    for (const std::string& words :
         {std::string(" 0"), std::string(" 01"), std::string(" 2147483648"), std::string(" x"),
          std::string(" 1 aes-128-gcm"), " 1 aes-256-gcm " + tag, " 1 xaes-256-gcm " + tag + "0",
          std::string(" 1 xaes-256-gcm 0011223344556677")}) {
        answering_key(words);
        EXPECT_TRUE(fails(get_status(), Code::protocol)) << words;
        EXPECT_FALSE(agent.running()) << words;
    }
    for (const std::size_t length : {0u, 1u, 15u, 17u, 33u, 63u}) {
        answering_key("", std::string(length, 'k'));
        EXPECT_TRUE(fails(get_status(), Code::protocol)) << length;
    }
    answering("ok {id} 16\\n" + zeros(16));
    EXPECT_TRUE(fails(get_status(), Code::protocol, "nothing but zeros"));
    answering_key("", std::string(65, 'k'));
    EXPECT_TRUE(fails(get_status(), Code::protocol, "longer than its request allows"));
    answering_key(" 1 rot-13");
    const Status unknown = get_status();
    EXPECT_TRUE(fails(unknown, Code::unsupported, "an algorithm that is not known here"));
    EXPECT_EQ(unknown.error().text.find("rot-13"), std::string::npos);
    EXPECT_TRUE(agent.running());
}

TEST_F(FetchTest, TellsAnotherVersionFromTheOneAskedFor) {
    answering_key("");
    const auto fetched = get(listed_tag);
    ASSERT_FALSE(fetched);
    EXPECT_EQ(fetched.error().code, Code::wrong_key);
    EXPECT_TRUE(agent.running());
}

TEST_F(FetchTest, HandsOnTheAgentsErrors) {
    answering("error {id} 7 not-found\\nno such");
    EXPECT_TRUE(fails(get_status(), Code::not_found, "no such"));
    EXPECT_TRUE(agent.running());
    answering_key("");
    waiter.waits = 0;
    waiter.interrupt_at = 0;
    EXPECT_TRUE(fails(get_status(), Code::interrupted));
}

// Data keys that keys() of faulty.py has wrapped.
class UnwrapTest : public FetchTest {
  protected:
    static WrappedKey wrapped_key(ByteView wrapped, Algorithm algorithm = Algorithm::xaes_256_gcm) {
        return {bytes_of("the kek"),
                "the context",
                wrapped,
                7,
                algorithm,
                tag_of(algorithm, std::string(info_of(algorithm).key_length, 'k'))};
    }
    Result<FetchedKey> unwrap(Algorithm algorithm = Algorithm::xaes_256_gcm) {
        return unwrap_data_key(line(), wrapped_key(bytes_of("wrapped"), algorithm));
    }
    Status unwrap_status(Algorithm algorithm = Algorithm::xaes_256_gcm) {
        const auto fetched = unwrap(algorithm);
        return fetched ? Status() : fetched.error();
    }
};

TEST_F(UnwrapTest, GivesTheKeyOfTheRow) {
    for (const AlgorithmInfo& info : all_algorithms()) {
        const std::string key(info.key_length, 'k');
        for (const char* words : {"", " 3", " 3 later words"}) {
            answering_key(words, key);
            const auto fetched = unwrap(info.algorithm);
            ASSERT_TRUE(fetched) << info.name;
            EXPECT_EQ(fetched->version, 7u);
            EXPECT_EQ(fetched->algorithm, info.algorithm);
            EXPECT_EQ(fetched->tag, tag_of(info.algorithm, key));
            EXPECT_EQ(text_of(fetched->key.view()), key);
        }
    }
}

TEST_F(UnwrapTest, SendsContextAndWrappedKey) {
    ASSERT_TRUE(start(mirror()));
    EXPECT_TRUE(fails(unwrap_status(), Code::failed, "unwrap 18 the%20kek 11 the contextwrapped"));
}

TEST_F(UnwrapTest, BelievesNoReplyThatIsNone) {
    for (const char* words : {" 0", " 01", " x", " 2147483648"}) {
        answering_key(words);
        EXPECT_TRUE(fails(unwrap_status(), Code::protocol, "no proper key version")) << words;
        EXPECT_FALSE(agent.running());
    }
    answering_key("", std::string(65, 'k'));
    EXPECT_TRUE(fails(unwrap_status(), Code::protocol, "longer than its request allows"));
}

TEST_F(UnwrapTest, TellsThatARowHoldsAnotherKey) {
    for (const std::size_t length : {0u, 16u, 31u, 33u, 64u}) {
        answering_key("", std::string(length, 'k'));
        EXPECT_TRUE(fails(unwrap_status(), Code::corrupt, "not the length")) << length;
        EXPECT_TRUE(agent.running());
    }
    answering_key("", std::string(32, 'x'));
    EXPECT_TRUE(fails(unwrap_status(), Code::corrupt, "not the tag"));
    // The same bytes under another algorithm are another key.
    answering_key("");
    WrappedKey wrapped = wrapped_key(bytes_of("wrapped"));
    wrapped.algorithm = Algorithm::aes_256_gcm;
    const auto other = unwrap_data_key(line(), wrapped);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, Code::corrupt);
    EXPECT_TRUE(agent.running());
}

TEST_F(UnwrapTest, HandsOnTheAgentsErrors) {
    for (const char* code : {"not-found", "denied", "wrong-key", "corrupt", "disabled",
                             "unsupported", "unavailable", "failed"}) {
        answering("error {id} 3 " + std::string(code) + "\\nwhy");
        EXPECT_TRUE(fails(unwrap_status(), *wire::error_code(code), "why"));
        EXPECT_TRUE(agent.running());
    }
    answering("error {id} 3 invalid\\nwhy");
    EXPECT_TRUE(fails(unwrap_status(), Code::malformed, "why"));
    ASSERT_TRUE(start(faulty("offer", {"get encrypt decrypt", ""})));
    EXPECT_TRUE(fails(unwrap_status(), Code::unsupported, "does not offer unwrap"));
}

// Many keys at once, by both verbs, from keys() of faulty.py.
class ManyKeys : public FetchTest, public testing::WithParamInterface<const char*> {
  protected:
    void begin(std::size_t count, const std::vector<std::string>& arguments = {}) {
        ASSERT_TRUE(start(faulty("keys", arguments)));
        names_.clear();
        for (std::size_t i = 0; i < count; ++i) {
            names_.push_back("key-" + std::to_string(i));
        }
    }
    void put(std::size_t index, const std::string& name) { names_.at(index) = name; }

    // All of them, by the verb that is tested.
    Status fetch() {
        taken.clear();
        order.clear();
        const TakeKey take = [this](std::size_t index, Result<FetchedKey> key) {
            EXPECT_TRUE(taken.emplace(index, std::move(key)).second) << index;
            order.push_back(index);
            return order.size() == stop_after ? Status(Error{Code::failed, "enough"}) : Status();
        };
        return std::string_view(GetParam()) == "get" ? get_all(take) : unwrap_all(take);
    }

    void expect_key(std::size_t index) {
        ASSERT_TRUE(taken.contains(index)) << index;
        ASSERT_TRUE(taken.at(index)) << index << ' ' << taken.at(index).error().text;
        EXPECT_EQ(taken.at(index)->tag,
                  *compute_key_tag(Algorithm::xaes_256_gcm, taken.at(index)->key.view()));
    }
    Code code_of(std::size_t index) {
        EXPECT_TRUE(taken.contains(index) && !taken.at(index)) << index;
        return taken.at(index).error().code;
    }

    std::map<std::size_t, Result<FetchedKey>> taken;
    std::vector<std::size_t> order;
    std::size_t stop_after = SIZE_MAX;

  private:
    Status get_all(const TakeKey& take) {
        std::vector<WantedKey> wanted;
        for (const std::string& name : names_) {
            wanted.push_back({bytes_of(name), std::nullopt});
        }
        return get_keys(line(), wanted, take);
    }

    // As faulty.py wraps; a name that is a fault, or too long, stands where its verb has it.
    Status unwrap_all(const TakeKey& take) {
        std::vector<std::string> forms;
        for (const std::string& name : names_) {
            forms.push_back(name[0] == '!' ? name : '<' + name + '>' + key_bytes);
        }
        std::vector<WrappedKey> wrapped;
        for (std::size_t i = 0; i < names_.size(); ++i) {
            const bool is_long = names_[i].size() > wire::max_word;
            wrapped.push_back({bytes_of(is_long ? std::string_view(names_[i]) : "kek"), names_[i],
                               bytes_of(forms[i]), 1, Algorithm::xaes_256_gcm,
                               tag_of(Algorithm::xaes_256_gcm)});
        }
        return unwrap_keys(line(), wrapped, take);
    }

    std::vector<std::string> names_;
};

INSTANTIATE_TEST_SUITE_P(By, ManyKeys, testing::Values("get", "unwrap"),
                         [](const auto& verb) { return std::string(verb.param); });

TEST_P(ManyKeys, ComeInOneExchangeInWhateverOrder) {
    for (const char* turn : {"0", "7", "700"}) {
        begin(2100, {turn});
        const std::uint64_t asked = agent.statistics().requests;
        ASSERT_TRUE(fetch()) << turn;
        EXPECT_EQ(agent.statistics().requests, asked + 2100);
        EXPECT_EQ(taken.size(), 2100u);
        for (std::size_t i = 0; i < 2100; ++i) {
            expect_key(i);
        }
        EXPECT_EQ(std::is_sorted(order.begin(), order.end()), *turn == '0');
    }
}

TEST_P(ManyKeys, NoneAskForNothing) {
    ASSERT_TRUE(start(faulty("offer", {"ping", ""})));
    const std::uint64_t asked = agent.statistics().requests;
    EXPECT_TRUE(fetch());
    EXPECT_EQ(agent.statistics().requests, asked);
}

TEST_P(ManyKeys, AnErrorOfOneEndsNothing) {
    for (const char* turn : {"0", "20"}) {
        begin(20, {turn});
        put(0, "!not-found");
        put(3, "!disabled");
        put(4, "!wrong-key");
        put(5, "!corrupt");
        put(19, "!denied");
        ASSERT_TRUE(fetch()) << turn;
        EXPECT_EQ(taken.size(), 20u);
        EXPECT_EQ(code_of(0), Code::not_found);
        EXPECT_EQ(code_of(3), Code::disabled);
        EXPECT_EQ(code_of(4), Code::wrong_key);
        EXPECT_EQ(code_of(5), Code::corrupt);
        EXPECT_EQ(code_of(19), Code::denied);
        for (const std::size_t i : {1u, 2u, 6u, 18u}) {
            expect_key(i);
        }
    }
}

TEST_P(ManyKeys, GoOnBehindOneThatCannotBeSent) {
    begin(10);
    for (const std::size_t i : {0u, 4u, 5u, 9u}) {
        put(i, std::string(wire::max_word + 1, 'x'));
    }
    ASSERT_TRUE(fetch());
    EXPECT_EQ(taken.size(), 10u);
    for (const std::size_t i : {0u, 4u, 5u, 9u}) {
        const bool gets = std::string_view(GetParam()) == "get";
        EXPECT_EQ(code_of(i), gets ? Code::invalid : Code::malformed);
        EXPECT_EQ(order.at(i), i);
    }
    expect_key(3);
    expect_key(6);
}

TEST_P(ManyKeys, KeepWhatCameBeforeTheAgentDied) {
    begin(50);
    put(30, "!die");
    EXPECT_TRUE(fails(fetch(), Code::unavailable, "killed by signal 9"));
    EXPECT_EQ(taken.size(), 30u);
    expect_key(29);
}

TEST_P(ManyKeys, KeepWhatCameBeforeADeadline) {
    begin(5);
    deadlines.request = 300ms;
    put(3, "!hang");
    EXPECT_TRUE(fails(fetch(), Code::timed_out));
    EXPECT_EQ(taken.size(), 3u);
}

TEST_P(ManyKeys, AreGivenUpWhereTheAgentBreaksTheProtocol) {
    for (const char* fault : {"!version", "!long"}) {
        begin(20);
        put(10, fault);
        EXPECT_TRUE(fails(fetch(), Code::protocol)) << fault;
        EXPECT_FALSE(agent.running());
        EXPECT_EQ(taken.size(), 10u);
    }
}

TEST_P(ManyKeys, AreGivenUpWhereTheTakerSays) {
    begin(20);
    stop_after = 6;
    EXPECT_TRUE(fails(fetch(), Code::failed, "enough"));
    EXPECT_EQ(order.size(), 6u);
    stop_after = SIZE_MAX;
    EXPECT_TRUE(fetch());
    EXPECT_EQ(taken.size(), 20u);
}

TEST_P(ManyKeys, GoAmongUnknownVerbs) {
    begin(3);
    put(1, std::string(wire::max_word + 1, 'x'));
    one_unknown_verb_in = 1;
    for (int round = 0; round < 50; ++round) {
        ASSERT_TRUE(fetch());
        EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2}));
    }
}

}  // namespace
}  // namespace kms::test
