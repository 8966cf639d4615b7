// Values that an agent encrypts and decrypts: results in their places, and which one has failed.
#include "client/calls/values.hpp"

#include "agent_harness.hpp"

namespace kms::test {
namespace {

using namespace std::chrono_literals;

class TestValues : public Values {
  public:
    explicit TestValues(std::vector<std::string> data)
        : data_(std::move(data)), results(data_.size()), allotted(data_.size()) {}

    std::size_t count() const override { return data_.size(); }
    Value at(std::size_t index) override {
        return {bytes_of(key), bytes_of(context), bytes_of(data_[index])};
    }
    Result<ByteSpan> allot(std::size_t index, std::size_t length) override {
        ++allotted[index];
        if (length > largest) {
            return Error{Code::too_large, "no room"};
        }
        results[index].assign(length, '?');
        return ByteSpan(reinterpret_cast<Byte*>(results[index].data()), length);
    }

  private:
    std::vector<std::string> data_;

  public:
    std::vector<std::string> results;
    std::vector<int> allotted;
    std::string key = "some key";
    std::string context = "c";  // room for what a reply has more than its data
    std::size_t largest = SIZE_MAX;
};

class ValuesTest : public AgentTest {
  protected:
    // With {N}: answers in turns of N, the last first.
    void begin(const std::vector<std::string>& turns = {}) {
        ASSERT_TRUE(start(faulty("values", turns)));
    }
    Status seal(TestValues& values) { return encrypt(line(), values, done); }
    Status open(TestValues& values) { return decrypt(line(), values, done); }
    Status seal_one(const std::string& data, const std::string& context = {}) {
        TestValues values({data});
        values.context = context;
        Status status = seal(values);
        result = values.results[0];
        return status;
    }

    static std::vector<std::string> numbers(std::size_t count) {
        std::vector<std::string> data;
        for (std::size_t i = 0; i < count; ++i) {
            data.push_back(std::to_string(i));
        }
        return data;
    }

    // What faulty.py makes of it: as long as a value that is sealed with AES-SIV.
    static std::string sealed_in_looks(std::string_view data) {
        return "\x02the  tag" + std::string(data) + std::string(16, '.');
    }

    static void expect_sealed(TestValues& values, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            EXPECT_EQ(values.results[i], sealed_in_looks(text_of(values.at(i).data))) << i;
            EXPECT_EQ(values.allotted[i], 1) << i;
        }
    }
    static void expect_opened(TestValues& values, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            EXPECT_EQ(values.results[i], std::string(text_of(values.at(i).data)) + ".") << i;
            EXPECT_EQ(values.allotted[i], 1) << i;
        }
    }

    std::size_t done = 99;
    std::string result;

    std::uint64_t starts_ = 0;
};

TEST_F(ValuesTest, SendsKeyContextAndData) {
    ASSERT_TRUE(
        start("read -r v i n w; head -c $n >/dev/null; echo ok 0 0 kms/1 encrypt decrypt; "
              "while read -r v i n w; do t=\"$v $n $w \"; t=\"$t\"$(head -c $n); "
              "echo error $i ${#t} failed; printf %s \"$t\"; done"));
    TestValues values({"text"});
    values.context = "ctx";
    EXPECT_TRUE(fails(seal(values), Code::failed, "encrypt 7 some%20key 3 ctxtext"));
    EXPECT_TRUE(fails(open(values), Code::failed, "decrypt 7 some%20key 3 ctxtext"));
    EXPECT_TRUE(fails(seal_one(""), Code::failed, "encrypt 0 some%20key 0 "));
    values.key.clear();
    EXPECT_TRUE(fails(seal(values), Code::invalid, "1 to 1024 bytes"));
    EXPECT_EQ(done, 0u);
}

TEST_F(ValuesTest, AreDoneInOneExchangeInWhateverOrder) {
    for (const std::string turn : {"0", "7", "700"}) {
        begin({turn});
        TestValues sealed(numbers(2100));
        ASSERT_TRUE(seal(sealed)) << turn;
        EXPECT_EQ(done, 2100u);
        expect_sealed(sealed, done);
        TestValues opened(numbers(2100));
        ASSERT_TRUE(open(opened)) << turn;
        expect_opened(opened, done);
        EXPECT_EQ(agent.statistics().starts, ++starts_);
    }
}

TEST_F(ValuesTest, TellTheFirstThatHasFailedInWhateverOrder) {
    for (const std::string turn : {"0", "100"}) {
        begin({turn});
        const pid_t pid = agent.pid();
        std::vector<std::string> data = numbers(100);
        data[40] = "!corrupt";
        data[60] = "!denied";
        TestValues values(data);
        EXPECT_TRUE(fails(open(values), Code::corrupt));
        EXPECT_EQ(done, 40u);
        expect_opened(values, 40);
        TestValues others(numbers(100));
        EXPECT_TRUE(seal(others));
        expect_sealed(others, 100);
        EXPECT_EQ(agent.pid(), pid);
    }
}

TEST_F(ValuesTest, KeepWhatWasDoneBeforeTheAgentDied) {
    begin();
    std::vector<std::string> data = numbers(50);
    data[30] = "!die";
    TestValues values(data);
    EXPECT_TRUE(fails(seal(values), Code::unavailable, "killed by signal 9"));
    EXPECT_EQ(done, 30u);
    expect_sealed(values, 30);
}

TEST_F(ValuesTest, KeepWhatWasDoneBeforeADeadline) {
    begin();
    deadlines.request = 200ms;
    std::vector<std::string> data = numbers(5);
    data[3] = "!hang";
    TestValues values(data);
    EXPECT_TRUE(fails(seal(values), Code::timed_out));
    EXPECT_EQ(done, 3u);
    expect_sealed(values, 3);
}

TEST_F(ValuesTest, AreNotSentBeyondOneThatTheAgentDoesNotTake) {
    ASSERT_TRUE(start(faulty("values", {"0", "max-body=100"})));
    std::vector<std::string> data = numbers(10);
    data[4] = std::string(101, 'x');
    TestValues values(data);
    EXPECT_TRUE(fails(seal(values), Code::too_large, "at most 100 bytes"));
    EXPECT_EQ(done, 4u);
    expect_sealed(values, 4);
    EXPECT_TRUE(seal_one("goes on"));
}

TEST_F(ValuesTest, ComeStraightToTheirPlaces) {
    begin();
    const std::vector<std::string> data = {
        "a", std::string(1'000'000, 'b'), "c", std::string(40'000, 'd'), std::string(32'768, 'e'),
        ""};
    TestValues values(data);
    ASSERT_TRUE(seal(values));
    EXPECT_EQ(done, data.size());
    expect_sealed(values, data.size());
}

TEST_F(ValuesTest, LeaveNothingInAPlaceThatIsLetGo) {
    ASSERT_TRUE(start(faulty("say", {"ok {id} 100000\\n" + std::string(60'000, 's')})));
    deadlines.request = 300ms;
    TestValues values({std::string(100'000, 'x')});
    EXPECT_TRUE(fails(open(values), Code::timed_out));
    EXPECT_EQ(done, 0u);
    ASSERT_EQ(values.allotted[0], 1);
    EXPECT_EQ(values.results[0].find('s'), std::string::npos);
}

TEST_F(ValuesTest, FindNoRoom) {
    begin();
    for (const std::size_t size : {10u, 100'000u}) {
        TestValues values({"ok", std::string(size, 'x'), "never"});
        values.largest = sealed_in_looks("ok").size();
        EXPECT_TRUE(fails(seal(values), Code::too_large, "no room"));
        EXPECT_EQ(done, 1u);
        EXPECT_TRUE(seal_one("goes on"));
        EXPECT_EQ(result, sealed_in_looks("goes on"));
    }
}

TEST_F(ValuesTest, LimitWhatIsAnswered) {
    answering("ok {id} 28 3 6363636363636363\\n\\x02" + std::string(27, 'c'));
    ASSERT_TRUE(seal_one("abc", "ct"));
    EXPECT_EQ(result, '\x02' + std::string(27, 'c'));
    answering("ok {id} 4107\\n");
    EXPECT_TRUE(fails(seal_one("abc", "ct"), Code::protocol, "longer than its request allows"));
    EXPECT_FALSE(agent.running());
    for (const char* words : {" 0", " 1 xyz", " 1 00112233445566"}) {
        answering(std::string("ok {id} 25") + words + "\\n\\x02" + std::string(24, 'c'));
        EXPECT_TRUE(fails(seal_one(""), Code::protocol)) << words;
    }
    TestValues sealed({"abc"});
    sealed.context = "ct";
    answering("ok {id} 5\\n12345");
    ASSERT_TRUE(open(sealed));
    EXPECT_EQ(sealed.results[0], "12345");
    answering("ok {id} 6\\n123456");
    EXPECT_TRUE(fails(open(sealed), Code::protocol));
}

// It may be all that is left of the plaintext.
TEST_F(ValuesTest, BelieveNoSealedValueThatIsNone) {
    begin();
    for (const char* data : {"!empty", "!plain", "!short"}) {
        TestValues values({"good", data, "never"});
        EXPECT_TRUE(fails(seal(values), Code::protocol, "no sealed value")) << data;
        EXPECT_EQ(done, 1u);
        EXPECT_FALSE(agent.running());
        agent.try_again();
        begin();
        EXPECT_TRUE(seal_one("goes on"));
    }
    const std::string already_sealed = sealed_in_looks("once");
    answering("ok {id} 29\\n\\x02the  tagonce................");
    EXPECT_TRUE(fails(seal_one(already_sealed), Code::protocol, "no sealed value"));
    const std::string large(100'000, 'p');
    answering("ok {id} 100000\\n" + large);
    EXPECT_TRUE(fails(seal_one(large), Code::protocol, "no sealed value"));
    answering("ok {id} 25 1\\n\\x02" + std::string(24, 'c'));
    EXPECT_TRUE(seal_one(""));
    answering("ok {id} 25 1 6363636363636363\\n\\x02" + std::string(24, 'c'));
    EXPECT_TRUE(seal_one(""));
    answering("ok {id} 25 1 6363636363636364\\n\\x02" + std::string(24, 'c'));
    EXPECT_TRUE(fails(seal_one(""), Code::protocol, "another key tag"));
}

TEST_F(ValuesTest, BelieveNoPlaintextOfAnotherLength) {
    for (const std::string opened : {"", "onc", "once!"}) {
        TestValues sealed({sealed_in_looks("once")});
        answering("ok {id} " + std::to_string(opened.size()) + "\\n" + opened);
        EXPECT_TRUE(fails(open(sealed), Code::protocol, "another length")) << opened;
        EXPECT_EQ(done, 0u);
    }
    TestValues sealed({sealed_in_looks("once")});
    answering("ok {id} 4\\nonce");
    ASSERT_TRUE(open(sealed));
    EXPECT_EQ(sealed.results[0], "once");
}

TEST_F(ValuesTest, CallAnInvalidCiphertextMalformed) {
    begin();
    TestValues values({"!invalid"});
    EXPECT_TRUE(fails(open(values), Code::malformed));
    EXPECT_TRUE(fails(seal(values), Code::invalid));
}

}  // namespace
}  // namespace kms::test
