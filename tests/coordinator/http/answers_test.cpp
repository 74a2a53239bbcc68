// The bytes of answers: whole and streamed, in both of OpenAI's forms, and what becomes of those that fail, wait, or
// whose client goes away or does not read.
#include <gtest/gtest.h>

#include "tests/coordinator/http/served.h"

namespace rotulus::coordinator {
namespace {

using fakes::Answer;
using fakes::HttpClient;
using fakes::Served;

std::string chat(std::string_view content, std::string_view more = "") {
  return fmt::format(R"({{"messages":[{{"role":"user","content":"{}"}}]{}}})", content, more);
}

// The data of each event.
std::vector<std::string> events(std::string_view body) {
  std::vector<std::string> found;
  while (!body.empty()) {
    const std::size_t end = body.find("\n\n");
    EXPECT_NE(end, std::string_view::npos) << body;
    if (end == std::string_view::npos) break;
    const std::string_view event = body.substr(0, end);
    if (event.starts_with("data: ")) found.emplace_back(event.substr(6));
    body.remove_prefix(end + 2);
  }
  return found;
}

// Without what differs from call to call.
std::string without_identity(std::string text) {
  const std::size_t end = text.find(R"("model":)");
  return end == std::string::npos ? text : "{" + text.substr(end);
}

const char* kFingerprint = R"("system_fingerprint":"fp_aaaaaaaaaaaa_scalar-1")";

TEST(Answers, AreWholeChatCompletions) {
  Served served;
  const Answer answer = served.ask("POST", "/v1/chat/completions", chat("hello", R"(,"max_tokens":3,"model":"x")"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body.find(R"({"id":"chatcmpl-)"), 0u);
  EXPECT_NE(answer.body.find(R"("object":"chat.completion")"), std::string::npos);
  EXPECT_EQ(
      without_identity(answer.body),
      fmt::format(
          R"({{"model":"toy-model",{},"choices":[{{"index":0,"message":{{"role":"assistant","content":"In the )"
          R"(beginning","refusal":null}},"logprobs":null,"finish_reason":"length"}}],"usage":{{"prompt_tokens":30,)"
          R"("completion_tokens":3,"total_tokens":33,"prompt_tokens_details":{{"cached_tokens":20}}}},"timings":)"
          R"({{"cache_n":20,"prompt_n":10,"prompt_ms":10.0,"prompt_per_token_ms":1.0,"prompt_per_second":1000.0,)"
          R"("predicted_n":3,"predicted_ms":20.0,"predicted_per_token_ms":6.666666666666667,)"
          R"("predicted_per_second":150.0,"queue_ms":1.5}}}})",
          kFingerprint));
}

TEST(Answers, NameTheModelOfTheGroupThatAnswersThoughTheyWereAskedBeforeIt) {
  Served served;
  served.cluster.name = "none";
  served.queries.before_start = [&] { served.cluster.name = "toy-model"; };
  const Answer answer = served.ask("POST", "/v1/chat/completions", chat("hello", R"(,"max_tokens":3)"));
  EXPECT_NE(answer.body.find(R"("model":"toy-model")"), std::string::npos) << answer.body;
}

TEST(Answers, AreWholeTextCompletionsWithLogprobs) {
  Served served;
  const Answer answer =
      served.ask("POST", "/v1/completions", R"({"prompt":"p","max_tokens":9,"logprobs":3,"temperature":0})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.body.find(R"("object":"text_completion")"), std::string::npos);
  EXPECT_NE(answer.body.find("\"text\":\"In the beginning was the word, and caf\xC3\xA9\""), std::string::npos);
  EXPECT_NE(answer.body.find(R"("tokens":["In"," the"," beginning")"), std::string::npos);
  EXPECT_NE(answer.body.find(R"("token_logprobs":[-0.1,-0.2,-0.3)"), std::string::npos) << answer.body;
  // Alternatives 1 and 2 both read "x": the better one stays.
  EXPECT_NE(answer.body.find(R"("top_logprobs":[{"In":-0.1,"x":-1.1},)"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find(R"("text_offset":[0,2,6,16,20,24,29,30,34])"), std::string::npos) << answer.body;
}

TEST(Answers, BeginWithThePromptWhereItIsEchoed) {
  Served served;
  const std::string echoed = R"({"prompt":"p","max_tokens":0,"echo":true,"logprobs":1,"temperature":0)";
  const Answer answer = served.ask("POST", "/v1/completions", echoed + "}");
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.body.find(R"("text":"To be","logprobs":{"tokens":["To"," be"],"token_logprobs":[null,-0.5],)"
                             R"("top_logprobs":[null,{" go":-0.25," be":-0.5}],"text_offset":[0,2]})"),
            std::string::npos)
      << answer.body;
  EXPECT_NE(answer.body.find(R"("completion_tokens":0)"), std::string::npos);
  const Answer more =
      served.ask("POST", "/v1/completions", R"({"prompt":"p","max_tokens":2,"echo":true,"logprobs":0})");
  EXPECT_NE(more.body.find(R"("text":"To beIn the","logprobs":{"tokens":["To"," be","In"," the"],)"
                           R"("token_logprobs":[null,-0.5,-0.1,-0.2],"top_logprobs":null,"text_offset":[0,2,5,7]})"),
            std::string::npos)
      << more.body;
  const auto found = events(served.ask("POST", "/v1/completions", echoed + R"(,"stream":true})").body);
  ASSERT_EQ(found.size(), 4u);  // each token, the end, [DONE]
  EXPECT_NE(found[1].find(R"("text":" be","logprobs":{"tokens":[" be"],"token_logprobs":[-0.5])"), std::string::npos);
}

TEST(Answers, SayHowLikelyThePromptWasAsVllmDoes) {
  Served served;
  const Answer answer = served.ask("POST", "/v1/completions",
                                   R"({"prompt":"p","max_tokens":1,"prompt_logprobs":1,"logprobs":0,"temperature":0})");
  EXPECT_NE(answer.body.find(R"("text":"In","logprobs":{"tokens":["In"],"token_logprobs":[-0.1],"top_logprobs":null,)"),
            std::string::npos)
      << answer.body;
  EXPECT_NE(answer.body.find(R"("finish_reason":"length","prompt_logprobs":[null,)"
                             R"({"52":{"logprob":-0.25,"rank":1,"decoded_token":" go"},)"
                             R"("51":{"logprob":-0.5,"rank":null,"decoded_token":" be"}}]})"),
            std::string::npos)
      << answer.body;
  const Answer alone = served.ask("POST", "/v1/chat/completions", chat("p", R"(,"max_tokens":0,"prompt_logprobs":0)"));
  EXPECT_NE(alone.body.find(R"("content":"")"), std::string::npos) << alone.body;
  EXPECT_NE(alone.body.find(R"("prompt_logprobs":[null,{"51":{"logprob":-0.5,"rank":null,"decoded_token":" be"}}])"),
            std::string::npos)
      << alone.body;
}

TEST(Answers, HaveChatLogprobsWithBytes) {
  Served served;
  const Answer answer =
      served.ask("POST", "/v1/chat/completions", chat("split", R"(,"logprobs":true,"top_logprobs":1)"));
  EXPECT_NE(answer.body.find("\"content\":\"\xC3\xA9held back\""), std::string::npos) << answer.body;
  EXPECT_NE(
      answer.body.find("{\"token\":\"\xEF\xBF\xBD\",\"logprob\":-0.1,\"bytes\":[195],\"top_logprobs\":[{\"token\":"),
      std::string::npos)
      << answer.body;
  EXPECT_NE(answer.body.find("\"bytes\":[169]"), std::string::npos);
}

TEST(Answers, StreamAsOpenAiDoes) {
  Served served;
  const Answer answer = served.ask(
      "POST", "/v1/chat/completions",
      chat("hello", R"(,"max_tokens":2,"stream":true,"stream_options":{"include_usage":true},"context_id":null)"));
  EXPECT_EQ(answer.status, 400);  // context_id: null is refused, stream or not

  const Answer stream =
      served.ask("POST", "/v1/chat/completions",
                 chat("hello", R"(,"max_tokens":2,"stream":true,"stream_options":{"include_usage":true})"));
  EXPECT_EQ(stream.status, 200);
  EXPECT_EQ(stream.headers.at("content-type"), "text/event-stream");
  const auto found = events(stream.body);
  ASSERT_EQ(found.size(), 6u) << stream.body;
  const std::string head = fmt::format(R"({{"model":"toy-model",{},"choices":[)", kFingerprint);
  const std::string tail = R"("logprobs":null,"finish_reason":null}],"usage":null})";
  EXPECT_NE(found[0].find(R"("object":"chat.completion.chunk")"), std::string::npos);
  EXPECT_EQ(without_identity(found[0]), head + R"({"index":0,"delta":{"role":"assistant","content":""},)" + tail);
  EXPECT_EQ(without_identity(found[1]), head + R"({"index":0,"delta":{"content":"In"},)" + tail);
  EXPECT_EQ(without_identity(found[2]), head + R"({"index":0,"delta":{"content":" the"},)" + tail);
  EXPECT_EQ(without_identity(found[3]).find(
                head + R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null,"timings":{)"),
            0u)
      << found[3];
  EXPECT_EQ(
      without_identity(found[4]),
      head +
          R"(],"usage":{"prompt_tokens":30,"completion_tokens":2,"total_tokens":32,"prompt_tokens_details":{"cached_tokens":20}}})");
  EXPECT_EQ(found[5], "[DONE]");
}

TEST(Answers, StreamTextWithLogprobsPerToken) {
  Served served;
  const Answer stream = served.ask("POST", "/v1/completions", R"({"prompt":"split","stream":true,"logprobs":0})");
  const auto found = events(stream.body);
  ASSERT_EQ(found.size(), 5u) << stream.body;  // two tokens, what was held back, the end, [DONE]
  EXPECT_NE(found[0].find(R"("text":"","logprobs":{"tokens":[)"), std::string::npos) << found[0];
  EXPECT_NE(found[1].find("\"text\":\"\xC3\xA9\""), std::string::npos);
  EXPECT_NE(found[1].find(R"("text_offset":[1])"), std::string::npos);
  EXPECT_NE(found[2].find(R"("text":"held back")"), std::string::npos);
  EXPECT_NE(found[3].find(R"("finish_reason":"stop")"), std::string::npos);
}

TEST(Answers, ReportProgressWhereAsked) {
  Served served;
  const Answer stream =
      served.ask("POST", "/v1/chat/completions", chat("hi", R"(,"stream":true,"return_progress":true)"));
  EXPECT_NE(stream.body.find(R"("prompt_progress":{"total":30,"cache":20,"processed":10,"time_ms":)"),
            std::string::npos)
      << stream.body;
}

TEST(Answers, FailPlainlyBeforeTheFirstByteAndByOneEventAfterIt) {
  Served served;
  const Answer before = served.ask("POST", "/v1/chat/completions", chat("fail unavailable", R"(,"stream":true)"));
  EXPECT_EQ(before.status, 503);
  const Answer after = served.ask("POST", "/v1/chat/completions", chat("fail later", R"(,"stream":true)"));
  EXPECT_EQ(after.status, 200);
  const auto found = events(after.body);
  ASSERT_EQ(found.size(), 5u) << after.body;  // role, three tokens, the error
  EXPECT_EQ(
      found.back(),
      R"({"error":{"message":"No worker group came back in 30 s.","type":"unavailable_error","param":null,"code":"unavailable"}})");
  const Answer whole = served.ask("POST", "/v1/chat/completions", chat("fail later"));
  EXPECT_EQ(whole.status, 503);
}

const std::string kRetrieval =
    R"(,"attention":{"mode":"retrieval","context_tokens":90000,"attended_tokens":2688,"blocks_read":750,"landmark":"sketch",)"
    R"("second_pass":true,"pinned_pages":96})";
const std::string kMeasured =
    R"(,"attention":{"mode":"retrieval","context_tokens":90000,"attended_tokens":2688,"blocks_read":750,"landmark":"sketch",)"
    R"("second_pass":true,"pinned_pages":96,"missed_mass":{"mean":0.25,"worst":0.5)";
const std::string kProvenance = R"(,"provenance":[{"token_range":[4096,4144],"mass":0.75,"text":"a lighthouse"},)"
                                "{\"token_range\":[16,32],\"mass\":0.25,\"text\":\"caf\xEF\xBF\xBD\"}]";

TEST(Answers, SayHowTheyAttended) {
  Served served;
  const auto body_of = [&](std::string_view more) {
    return served.ask("POST", "/v1/chat/completions", chat("hello", more)).body;
  };
  EXPECT_TRUE(body_of(R"(,"attention":{"mode":"retrieval","reread":false},"return_provenance":true)")
                  .ends_with("}" + kRetrieval + kProvenance + "}"));
  EXPECT_TRUE(body_of(R"(,"attention":{"method":"two_pass"})").ends_with("}" + kRetrieval + "}"));
  EXPECT_TRUE(body_of(R"(,"attention":{"report":true})")
                  .ends_with(R"(,"attention":{"mode":"exact","context_tokens":20,"attended_tokens":20,"blocks_read":0,)"
                             R"("second_pass":false,"pinned_pages":0}})"));
  EXPECT_TRUE(body_of(R"(,"attention":{"method":"two_pass","report":true})").ends_with("}" + kMeasured + "}}}"));
  EXPECT_TRUE(body_of(R"(,"attention":{"method":"two_pass","audit":true})")
                  .ends_with("}" + kMeasured + R"(,"true_mean":0.125,"true_worst":0.75,"scan_recall":0.625}}})"));
  EXPECT_TRUE(
      body_of(R"(,"attention":"retrieval")")
          .ends_with(R"("pinned_pages":96,"reread":{"token_ranges":[[0,128],[4096,4144]],"computed_tokens":176}}})"));
  EXPECT_TRUE(body_of(R"(,"attention":{"method":"two_pass","landmark":"bounds","report":true})")
                  .ends_with(R"("worst":0.5,"bound_mean":0.875,"bound_worst":0.9375}}})"));
  EXPECT_EQ(body_of("").find("attention"), std::string::npos);
}

TEST(Answers, SayHowTheyAttendedWhereAStreamFinishes) {
  Served served;
  const Answer stream = served.ask(
      "POST", "/v1/chat/completions",
      chat("hello", R"(,"max_tokens":1,"stream":true,"attention":{"method":"two_pass"},"return_provenance":true)"));
  const auto found = events(stream.body);
  ASSERT_EQ(found.size(), 4u) << stream.body;
  EXPECT_EQ(found[1].find("provenance"), std::string::npos);
  EXPECT_TRUE(found[2].ends_with(kRetrieval + kProvenance + "}")) << found[2];
}

TEST(Answers, SayWhenTheNumericsOfAContextChanged) {
  Served served;
  const Answer created = served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  served.on_loop([&] {
    auto view = *served.contexts.find(ContextId{1});
    view.numerics_changed = true;
    served.contexts.update(view);
  });
  const Answer answer = served.ask("POST", "/v1/completions", R"({"prompt":"p","context_id":"ctx_0000000000000001"})");
  EXPECT_NE(answer.body.find(R"("numerics_changed":true)"), std::string::npos) << answer.body;
}

// The client leaves while its answer waits: the query is cancelled, so its compute is freed.
TEST(Answers, AreCancelledWhenTheClientLeaves) {
  Served served;
  for (const char* more : {"", R"(,"stream":true)"}) {
    {
      HttpClient client(served.port());
      const std::string body = chat("wait", more);
      client.send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
                              body.size(), body));
      ASSERT_TRUE(served.eventually([&] { return served.queries.running == 1; }));
    }
    EXPECT_TRUE(served.eventually([&] { return served.queries.running == 0; }));
  }
  EXPECT_EQ(served.on_loop([&] { return served.queries.cancelled; }), 2);
  EXPECT_TRUE(served.eventually([&] { return served.server->active_requests() == 0; }));
}

// One client asks for an endless answer and never reads: it is cut off, others are served meanwhile.
TEST(Answers, AreCutOffWhereNobodyReads) {
  Served served;
  HttpClient deaf(served.port(), 4096);
  const std::string body = chat("flood", R"(,"stream":true)");
  deaf.send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
                        body.size(), body));
  EXPECT_EQ(served.ask("GET", "/livez").status, 200);
  EXPECT_TRUE(served.eventually([&] { return served.queries.cancelled == 1; }));
  EXPECT_EQ(served.ask("POST", "/v1/chat/completions", chat("hello")).status, 200);
}

TEST(Answers, KeepTheConnectionAfterAStream) {
  Served served;
  HttpClient client(served.port());
  for (int i = 0; i < 3; ++i) {
    const Answer stream = client.request("POST", "/v1/chat/completions", chat("hello", R"(,"stream":true)"));
    EXPECT_EQ(stream.status, 200);
    EXPECT_EQ(events(stream.body).back(), "[DONE]");
  }
}

TEST(Answers, StreamToClientsOfHttp10UntilTheConnectionEnds) {
  Served served;
  HttpClient client(served.port());
  const std::string body = chat("hello", R"(,"stream":true)");
  client.send(fmt::format("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  const Answer stream = client.read_answer();
  EXPECT_EQ(stream.headers.count("transfer-encoding"), 0u);
  EXPECT_EQ(events(stream.body).back(), "[DONE]");
}

TEST(Answers, AreKeptAliveByComments) {
  HttpConfig config;
  config.keep_alive_interval = std::chrono::milliseconds(50);
  config.progress_interval = std::chrono::hours(1);
  Served served(config);
  served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  HttpClient client(served.port());
  client.send("GET /v1/contexts/ctx_0000000000000001/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  std::string seen;
  while (seen.find(": keep-alive\n\n") == std::string::npos) {
    const std::string more = client.read_some();
    ASSERT_NE(more, "") << seen;
    seen += more;
  }
}

}  // namespace
}  // namespace rotulus::coordinator
