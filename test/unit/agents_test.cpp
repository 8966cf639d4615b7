// The two example agents: a shell's and Python's, under the client and under unknown verbs.
#include "agent_harness.hpp"
#include "client/calls/fetch.hpp"

namespace kms::test {
namespace {

class ExampleAgents : public AgentTest, public testing::WithParamInterface<const char*> {
  public:
    ExampleAgents() {
        one_unknown_verb_in = 2;
        std::string name = std::filesystem::temp_directory_path() / "kms-agents-XXXXXX";
        folder_ = ::mkdtemp(name.data());
        write("dek-1_A", key_);
        write("not hex", key_);
        write(".hidden", key_);
        write("bad", "17 bytes, no more");
        std::filesystem::create_directory(folder_ / "folder");
    }
    ~ExampleAgents() override { std::filesystem::remove_all(folder_); }

  protected:
    void begin() {
        const std::string program = agents_folder() + "/" + GetParam();
        ASSERT_TRUE(start("exec " + quoted(program) + " " + quoted(folder_.string())));
    }

    Code get_code(const std::string& key) {
        const auto fetched = get_key({agent, deadlines, waiter}, bytes_of(key), std::nullopt);
        EXPECT_FALSE(fetched) << key;
        return fetched ? Code::io : fetched.error().code;
    }

    void write(const std::string& name, const std::string& bytes) {
        std::ofstream(folder_ / name, std::ios::binary) << bytes;
    }

    std::filesystem::path folder_;
    std::string key_ = std::string("\0\n\xFF%", 4) + std::string(28, '\r');
};

TEST_P(ExampleAgents, AreShort) {
    std::ifstream program(agents_folder() + "/" + GetParam());
    int lines = 0;
    for (std::string line; std::getline(program, line);) {
        ++lines;
    }
    EXPECT_LT(lines, 30);
}

TEST(ShellAgent, IsQuotedInTheDocumentation) {
    const auto read = [](const std::filesystem::path& path) {
        std::ifstream file(path);
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    const std::filesystem::path agents = agents_folder();
    const std::string program = read(agents / "agent.sh");
    ASSERT_FALSE(program.empty());
    EXPECT_NE(read(agents / "../../doc/protocol.md").find(program), std::string::npos);
}

TEST_P(ExampleAgents, ServeKeys) {
    begin();
    for (int i = 0; i < 10; ++i) {
        const auto fetched = get_key({agent, deadlines, waiter}, bytes_of("dek-1_A"), std::nullopt);
        ASSERT_TRUE(fetched) << fetched.error().text;
        EXPECT_EQ(fetched->version, 1u);
        EXPECT_EQ(fetched->algorithm, Algorithm::xaes_256_gcm);
        EXPECT_TRUE(text_of(fetched->key.view()) == key_);
        const auto again = get_key({agent, deadlines, waiter}, bytes_of("dek-1_A"), fetched->tag);
        EXPECT_TRUE(again);
    }
    EXPECT_FALSE(agent.product().empty());
}

TEST_P(ExampleAgents, LetNobodyOutOfTheFolder) {
    begin();
    for (const char* key :
         {"../etc/passwd", "/etc/passwd", "..", ".", ".hidden", "dek-1_A/", "./dek-1_A", "not hex",
          "dek-1_A\n", "\ndek-1_A", "*", "dek*", "$HOME", "`id`", "%", "\xC3\xA4", "a=b"}) {
        EXPECT_EQ(get_code(key), Code::invalid) << key;
    }
    EXPECT_EQ(get_code(std::string("dek-1_A\0", 8)), Code::invalid);
    EXPECT_EQ(get_code("missing"), Code::not_found);
    EXPECT_EQ(get_code("folder"), Code::not_found);
    EXPECT_EQ(get_code(std::string(1000, 'k')), Code::not_found);
    EXPECT_TRUE(get_key({agent, deadlines, waiter}, bytes_of("dek-1_A"), std::nullopt));
    EXPECT_EQ(get_code("bad"), Code::protocol);
}

TEST_P(ExampleAgents, KnowOtherIdentitiesAndSkipWhatTheyDoNotKnow) {
    begin();
    const pid_t pid = agent.pid();
    identity = {{"role", "bob"}, {"application", std::string(5000, 'x')}};
    begin();
    EXPECT_EQ(agent.pid(), pid);
    one_unknown_verb_in = 1;
    for (int i = 0; i < 10; ++i) {
        EXPECT_TRUE(ask("ping"));
    }
    EXPECT_TRUE(ask_all(std::vector<Request>(1000, Request{.verb = "ping"})));
    EXPECT_EQ(replies.bodies.size(), 1000u);
}

TEST_P(ExampleAgents, EndWithTheirInput) {
    begin();
    const pid_t pid = agent.pid();
    agent.abandon();
    wait_for_end(pid);
    int status = -1;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

INSTANTIATE_TEST_SUITE_P(Each, ExampleAgents, testing::Values("agent.sh", "agent.py"),
                         [](const auto& each) {
                             return std::string(each.param) == "agent.sh" ? "Shell" : "Python";
                         });

}  // namespace
}  // namespace kms::test
