// Searching a context: the question it becomes, and the page that comes of what was read.
#include <gtest/gtest.h>

#include "tests/coordinator/http/served.h"

namespace rotulus::coordinator {
namespace {

using fakes::Answer;
using fakes::HttpClient;
using fakes::Served;
using protocol::AttentionMode;
using protocol::AttentionSpec;

constexpr const char* kTarget = "/v1/contexts/ctx_0000000000000001/search";

class SearchTest : public ::testing::Test {
 protected:
  void create(std::string_view frame) {
    const std::string body = fmt::format(R"({{"text":"a","display_name":"book.txt","frame":"{}"}})", frame);
    ASSERT_EQ(served_.ask("POST", "/v1/contexts", body).status, 202);
  }
  QueryRequest asked() {
    return served_.on_loop([&] { return *served_.queries.last; });
  }

  Served served_;
};

TEST_F(SearchTest, AnswersWithAPageOfVectorStoreResults) {
  create("chat");
  const Answer answer = served_.ask("POST", kTarget, R"({"query":"The number of the lighthouse is"})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body,
            R"({"object":"vector_store.search_results.page","search_query":["The number of the lighthouse is"],)"
            R"("data":[{"file_id":"ctx_0000000000000001","filename":"book.txt","score":0.75,)"
            R"("attributes":{"token_range":[4096,4144]},"content":[{"type":"text","text":"a lighthouse"}]},)"
            R"({"file_id":"ctx_0000000000000001","filename":"book.txt","score":0.25,)"
            "\"attributes\":{\"token_range\":[16,32]},\"content\":[{\"type\":\"text\",\"text\":\"caf\xEF\xBF\xBD\"}]}],"
            R"("has_more":false,"next_page":null})");
}

TEST_F(SearchTest, AsksAChatContextAsItsUserAndARawOneByAParagraph) {
  create("chat");
  served_.ask("POST", kTarget, R"({"query":["who?"]})");
  EXPECT_EQ(std::get<std::vector<protocol::ChatMessage>>(asked().prompt),
            (std::vector<protocol::ChatMessage>{{"user", "who?"}}));
  EXPECT_EQ(asked().max_tokens, 1u);
  const auto alike = protocol::PositionPolicy::block_constant;
  EXPECT_EQ(asked().attention, (AttentionSpec{.second_pass = false, .wants_provenance = true, .positions = alike}));
  create("raw");
  served_.ask("POST", "/v1/contexts/ctx_0000000000000002/search",
              R"({"query":"who?","attention":{"mode":"retrieval","budget_tokens":4096,"second_pass":true}})");
  EXPECT_EQ(std::get<std::string>(asked().prompt), "\n\nwho?");
  AttentionSpec want{AttentionMode::retrieval, 4096, 512, true, true};
  want.positions = alike;
  EXPECT_EQ(asked().attention, want);
}

TEST_F(SearchTest, KeepsToTheNumberAndTheScoreAskedFor) {
  create("chat");
  for (const char* fields :
       {R"("max_num_results":1)", R"("ranking_options":{"ranker":"auto","score_threshold":0.5})"}) {
    const Answer answer = served_.ask("POST", kTarget, fmt::format(R"({{"query":"q",{}}})", fields));
    EXPECT_NE(answer.body.find("a lighthouse"), std::string::npos) << answer.body;
    EXPECT_EQ(answer.body.find("caf"), std::string::npos) << answer.body;
  }
}

TEST_F(SearchTest, FailsAsItsQuestionFails) {
  create("chat");
  EXPECT_EQ(served_.ask("POST", kTarget, R"({"query":"fail conflict"})").status, 409);
  EXPECT_EQ(served_.ask("POST", kTarget, R"({"query":"fail unavailable"})").status, 503);
}

TEST_F(SearchTest, StopsWhenTheClientLeaves) {
  create("chat");
  {
    HttpClient client(served_.port());
    client.send(fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{}", kTarget,
                            R"({"query":"wait"})"));
    ASSERT_TRUE(served_.eventually([&] { return served_.queries.running == 1; }));
  }
  EXPECT_TRUE(served_.eventually([&] { return served_.queries.cancelled == 1; }));
}

}  // namespace
}  // namespace rotulus::coordinator
