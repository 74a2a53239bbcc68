// What a document would take, by each of the ways in which it may be given; nothing is left behind.
#include <gtest/gtest.h>

#include "protocol/limits.h"
#include "tests/coordinator/http/served.h"

namespace rotulus::coordinator {
namespace {

using fakes::Answer;
using fakes::Served;

std::uint64_t tokens_of(const Answer& answer) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  const std::string head = R"({"object":"context.estimate","tokens":)";
  EXPECT_TRUE(answer.body.starts_with(head)) << answer.body;
  return std::stoull(answer.body.substr(head.size()));
}

TEST(Estimate, CountsTheTokensOfEveryForm) {
  Served served;
  const char* target = "/v1/contexts/estimate";
  const char* plain = "Content-Type: text/plain\r\n";
  const char* bytes = "Content-Type: application/octet-stream\r\n";
  EXPECT_EQ(tokens_of(served.ask("POST", target, R"({"text":"hello","frame":"raw"})")), 5u);
  EXPECT_EQ(tokens_of(served.ask("POST", target, R"({"text":"hello","display_name":"n"})")), 7u);
  EXPECT_EQ(tokens_of(served.ask("POST", target, R"({"input_ids":[1,2,3]})")), 3u);
  EXPECT_EQ(tokens_of(served.ask("POST", target, R"({"tokens":123456789})")), 123'456'789u);
  EXPECT_EQ(tokens_of(served.ask("POST", target, std::string(12, '\0'), bytes)), 3u);
  const std::string longer(3 * protocol::kTokenizePieceBytes + 1, 'x');
  EXPECT_EQ(tokens_of(served.ask("POST", "/v1/contexts/estimate?frame=raw", longer, plain)), longer.size());
  EXPECT_EQ(tokens_of(served.ask("POST", target, R"({"frame":"raw","text":")" + longer + "\"}")), longer.size());
  EXPECT_TRUE(std::filesystem::is_empty(served.spool));
  EXPECT_TRUE(served.on_loop([&] { return served.contexts.list(std::nullopt, 1).empty(); }));
}

TEST(Estimate, SaysWhatTheDocumentWouldTake) {
  Served served;
  served.on_loop([&] { served.cluster.state.ranks[0].stats.host_bytes_budget = 1'000'000; });
  EXPECT_EQ(
      served.ask("POST", "/v1/contexts/estimate", R"({"tokens":50})").body,
      R"({"object":"context.estimate","tokens":50,"fits":true,"attention":{"mode":"exact","landmark_version":0,)"
      R"("landmarks":[],"exact_tokens":0,"local_tokens":0},"bytes":{"disk":25600,"ram":25600,"landmarks":0,"saved_by_windows":0},)"
      R"("available":{"disk":1000000000,"ram":1000000},"seconds":0.5,"obstacle":null})");
  EXPECT_EQ(served.ask("POST", "/v1/contexts/estimate", R"({"tokens":10000})").body,
            R"({"object":"context.estimate","tokens":10000,"fits":true,"attention":{"mode":"retrieval",)"
            R"("landmark_version":1,"landmarks":["sketch","mean"],"exact_tokens":8192,"local_tokens":2048},)"
            R"("bytes":{"disk":5120000,"ram":1000000,"landmarks":510000,)"
            R"("saved_by_windows":0},"available":{"disk":1000000000,"ram":1000000},"seconds":null,"obstacle":null})");
  const std::string refused =
      served.ask("POST", "/v1/contexts/estimate", R"({"tokens":10000,"attention":"exact"})").body;
  EXPECT_NE(refused.find(R"("fits":false)"), std::string::npos) << refused;
  EXPECT_TRUE(
      refused.ends_with(R"("obstacle":{"code":"context_length_exceeded","message":"It is longer than the window."}})"))
      << refused;
}

// The tokenizer is told that no more comes, whatever becomes of the request.
TEST(Estimate, EndsItsCountWhenTheClientLeaves) {
  Served served;
  {
    fakes::HttpClient client(served.port());
    client.send(
        "POST /v1/contexts/estimate HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
        "Content-Length: 1000000\r\n\r\n");
    client.send(std::string(600'000, 'x'));
    ASSERT_TRUE(served.eventually([&] { return served.cluster.counts_begun == 1; }));
  }
  EXPECT_TRUE(served.eventually([&] { return served.cluster.counts_ended == 1; }));
}

TEST(Estimate, RefusesAnEmptyBody) {
  Served served;
  const Answer answer = served.ask("POST", "/v1/contexts/estimate", "", "Content-Type: text/plain\r\n");
  EXPECT_EQ(answer.status, 400) << answer.body;
  EXPECT_EQ(served.on_loop([&] { return served.cluster.counts_ended; }), 0u);
}

TEST(Estimate, NeedsAWorkerGroupForText) {
  Served served;
  served.on_loop([&] { served.cluster.state.is_ready = false; });
  EXPECT_EQ(served.ask("POST", "/v1/contexts/estimate", R"({"text":"a"})").status, 503);
}

}  // namespace
}  // namespace rotulus::coordinator
