// Data keys that are made, and wrapped anew: by keys() of faulty.py, which wraps data in
// "<context>".
#include "client/calls/rewrap.hpp"

#include "agent_harness.hpp"
#include "crypto/wrap_context.hpp"

namespace kms::test {
namespace {

const ByteView kek = bytes_of("kek");

class NewDataKeyTest : public AgentTest {
  protected:
    Result<NewDataKey> make(const std::vector<std::string>& arguments = {"0"},
                            Algorithm algorithm = Algorithm::xaes_256_gcm) {
        EXPECT_TRUE(start(faulty("keys", arguments)));
        return make_data_key(line(), kek, {bytes_of("name"), 3, algorithm});
    }
    Status failure(const std::string& fault, const std::string& other = "get=denied") {
        const auto made = make({"0", fault, other});
        return made ? Status() : made.error();
    }
};

TEST_F(NewDataKeyTest, IsWrappedForItsNameVersionAndAlgorithm) {
    for (const AlgorithmInfo& algorithm : all_algorithms()) {
        const auto made = make({"0"}, algorithm.algorithm);
        ASSERT_TRUE(made);
        EXPECT_EQ(made->wrapped.version, 1u);
        const std::string wrapped(text_of(made->wrapped.bytes.view()));
        const std::string mark = "<" + data_key_context(algorithm.name, 3, bytes_of("name")) + ">";
        ASSERT_TRUE(wrapped.starts_with(mark));
        const std::string key = wrapped.substr(mark.size());
        EXPECT_EQ(key.size(), algorithm.key_length);
        EXPECT_EQ(*compute_key_tag(algorithm.algorithm, bytes_of(key)), made->tag);
    }
}

TEST_F(NewDataKeyTest, IsAnotherEachTime) {
    EXPECT_NE(make()->tag, make()->tag);
}

TEST_F(NewDataKeyTest, MustOpenAsItWas) {
    EXPECT_TRUE(fails(failure("unwrap=other"), Code::protocol, "opens as something else"));
    EXPECT_TRUE(fails(failure("unwrap=short"), Code::protocol, "opens as something else"));
    EXPECT_TRUE(fails(failure("unwrap=empty"), Code::protocol, "opens as something else"));
    EXPECT_TRUE(fails(failure("unwrap=denied"), Code::denied));
    EXPECT_TRUE(fails(failure("unwrap=invalid"), Code::malformed));
    EXPECT_TRUE(fails(failure("wrap=other"), Code::corrupt));
    EXPECT_TRUE(fails(failure("wrap=empty"), Code::protocol));
    EXPECT_TRUE(fails(failure("wrap=denied"), Code::denied));
}

TEST_F(NewDataKeyTest, IsOfAVersionThatTheAgentHas) {
    EXPECT_TRUE(fails(failure("wrap=newer", "unwrap=newer"), Code::protocol, "newer than"));
    EXPECT_TRUE(fails(failure("unwrap=newer"), Code::protocol, "another opens it"));
}

class RewrapTest : public AgentTest {
  protected:
    void begin(std::size_t count, const std::vector<std::string>& arguments = {"0"}) {
        ASSERT_TRUE(start(faulty("keys", arguments)));
        for (std::size_t i = 0; i < count; ++i) {
            names_.push_back("name-" + std::to_string(i));
            keys_.emplace_back(32, static_cast<char>('a' + i));
            forms_.push_back(wrapped(i));
            forms_before_.emplace_back();
        }
    }

    std::string wrapped(std::size_t i) const {
        return "<" + data_key_context("xaes-256-gcm", 1, bytes_of(names_[i])) + ">" + keys_[i];
    }

    Status run(std::uint32_t current = 1) {
        std::vector<WrappedDataKey> keys;
        for (std::size_t i = 0; i < names_.size(); ++i) {
            keys.push_back({{bytes_of(names_[i]), 1, Algorithm::xaes_256_gcm},
                            *compute_key_tag(Algorithm::xaes_256_gcm, bytes_of(keys_[i])),
                            bytes_of(forms_[i]),
                            bytes_of(forms_before_[i])});
        }
        auto made = rewrap(line(), kek, current, keys, failed);
        if (!made) {
            return made.error();
        }
        results = std::move(*made);
        return {};
    }

    void expect_all() {
        ASSERT_EQ(results.size(), names_.size());
        for (std::size_t i = 0; i < results.size(); ++i) {
            EXPECT_EQ(text_of(results[i].wrapped.bytes.view()), wrapped(i));
            EXPECT_EQ(results[i].wrapped.version, 1u);
        }
    }

    std::vector<std::string> names_, keys_, forms_, forms_before_;
    std::vector<Rewrapped> results;
    std::size_t failed = 0;
};

TEST_F(RewrapTest, TakesAllInOrderOrNot) {
    for (const char* turn : {"0", "6"}) {
        names_.clear(), keys_.clear(), forms_.clear(), forms_before_.clear();
        begin(6, {turn});
        ASSERT_TRUE(run());
        expect_all();
        EXPECT_FALSE(results[3].opened_before);
    }
}

TEST_F(RewrapTest, TakesNone) {
    begin(0);
    ASSERT_TRUE(run());
    EXPECT_TRUE(results.empty());
}

TEST_F(RewrapTest, TriesTheOtherFormWhereTheFirstDoesNotOpen) {
    begin(8);
    for (const auto& [i, fault] : {std::pair(1, "!not-found"),
                                   {2, "!disabled"},
                                   {4, "!wrong-key"},
                                   {5, "!corrupt"},
                                   {6, "!invalid"}}) {
        forms_before_[static_cast<std::size_t>(i)] = wrapped(static_cast<std::size_t>(i));
        forms_[static_cast<std::size_t>(i)] = fault;
    }
    ASSERT_TRUE(run());
    expect_all();
    EXPECT_FALSE(results[0].opened_before);
    EXPECT_TRUE(results[1].opened_before);
    EXPECT_TRUE(results[2].opened_before);
    EXPECT_FALSE(results[3].opened_before);
    EXPECT_TRUE(results[4].opened_before);
    EXPECT_TRUE(results[5].opened_before);
    EXPECT_TRUE(results[6].opened_before);
    EXPECT_FALSE(results[7].opened_before);
}

TEST_F(RewrapTest, SaysWhichKeyFailed) {
    begin(5);
    forms_before_[3] = wrapped(3);
    forms_[3] = "!denied";
    EXPECT_TRUE(fails(run(), Code::denied));
    EXPECT_EQ(failed, 3u);
    forms_[3] = "!wrong-key";
    forms_before_[3] = "!denied";
    EXPECT_TRUE(fails(run(), Code::denied));
    EXPECT_EQ(failed, 3u);
    forms_before_[3].clear();
    EXPECT_TRUE(fails(run(), Code::wrong_key));
    EXPECT_EQ(failed, 3u);
}

TEST_F(RewrapTest, RefusesAnotherKey) {
    begin(3);
    forms_[1].back() = 'x';
    EXPECT_TRUE(fails(run(), Code::corrupt, "not the tag"));
    EXPECT_EQ(failed, 1u);
    forms_[1].pop_back();
    EXPECT_TRUE(fails(run(), Code::corrupt, "not the length"));
    EXPECT_EQ(failed, 1u);
}

TEST_F(RewrapTest, BelievesNoFormThatDoesNotOpen) {
    begin(3, {"0", "wrap=other"});
    EXPECT_TRUE(fails(run(), Code::corrupt));
    EXPECT_EQ(failed, 0u);
}

TEST_F(RewrapTest, BelievesNoFormByAnOlderVersion) {
    begin(3);
    EXPECT_TRUE(fails(run(2), Code::protocol, "older version"));
    EXPECT_EQ(failed, 0u);
}

TEST_F(RewrapTest, BelievesNoFormByAVersionThatTheAgentHasNot) {
    begin(3, {"0", "wrap=newer", "unwrap=newer"});
    EXPECT_TRUE(fails(run(), Code::protocol, "newer than"));
    EXPECT_EQ(failed, 3u);
}

TEST_F(RewrapTest, HandsUpWhatTheAgentSays) {
    begin(3, {"0", "wrap=denied"});
    EXPECT_TRUE(fails(run(), Code::denied));
    EXPECT_EQ(failed, 0u);
}

TEST_F(RewrapTest, IsAboutNoKeyWhereTheAgentDies) {
    begin(3, {"0", "wrap=die"});
    EXPECT_FALSE(run());
    EXPECT_EQ(failed, 3u);
}

}  // namespace
}  // namespace kms::test
