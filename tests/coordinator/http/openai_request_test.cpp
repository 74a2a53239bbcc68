// The forms of a request, without a socket: which value of which field is taken, and what is said of the others.
#include "coordinator/http/openai_request.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "protocol/error.h"
#include "protocol/methods.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::Error;
using protocol::ErrorCode;

CompletionRequest chat(std::string_view fields) {
  return read_completion_request(
      CompletionKind::chat, parse_json(fmt::format(R"({{"messages":[{{"role":"user","content":"q"}}]{}}})", fields)));
}

CompletionRequest text(std::string_view fields) {
  return read_completion_request(CompletionKind::text, parse_json(fmt::format(R"({{"prompt":"p"{}}})", fields)));
}

template <typename Read>
Error refusal(Read read) {
  try {
    read();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "was taken";
  return Error(ErrorCode::internal, "");
}

TEST(OpenAiRequest, ReadsTheFieldsItKnows) {
  const auto request = chat(R"(,"max_tokens":7,"temperature":0.5,"top_p":0.25,"top_k":40,"min_p":0.125,"seed":-3,
      "stop":["a","b"],"stream":true,"stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":20,
      "ignore_eos":true,"return_progress":true,"context_id":"ctx_00000000000000ff","model":"any","n":1)");
  EXPECT_EQ(request.query.max_tokens, 7u);
  EXPECT_EQ(request.query.sampling.temperature, 0.5f);
  EXPECT_EQ(request.query.sampling.top_p, 0.25f);
  EXPECT_EQ(request.query.sampling.top_k, 40u);
  EXPECT_EQ(request.query.sampling.min_p, 0.125f);
  EXPECT_EQ(request.query.sampling.seed, static_cast<std::uint64_t>(-3));
  EXPECT_EQ(request.query.sampling.logprobs, 20u);
  EXPECT_EQ(request.query.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.query.context->value, 255u);
  EXPECT_TRUE(request.is_streamed && request.includes_usage && request.reports_progress && request.wants_logprobs);
  EXPECT_TRUE(request.query.ignore_eos);
}

TEST(OpenAiRequest, HasOpenAisDefaults) {
  const auto of_chat = chat("");
  EXPECT_EQ(of_chat.query.sampling.temperature, 1.0f);
  EXPECT_EQ(of_chat.query.max_tokens, std::nullopt);
  EXPECT_FALSE(of_chat.wants_logprobs || of_chat.is_streamed);
  EXPECT_EQ(text("").query.max_tokens, 16u);
  EXPECT_NE(chat("").query.sampling.seed, chat("").query.sampling.seed);
  EXPECT_TRUE(text(R"(,"logprobs":0)").wants_logprobs);
}

TEST(OpenAiRequest, ReadsHowAnAnswerAttends) {
  using protocol::AttentionMode;
  using protocol::AttentionSpec;
  const AttentionSpec ours = protocol::default_attention();
  EXPECT_EQ(chat(R"(,"context_id":"ctx_00000000000000ff")").query.attention, ours);
  EXPECT_EQ(chat(R"(,"attention":{"mode":"auto"})").query.attention, ours);
  EXPECT_EQ(chat("").query.attention.mode, AttentionMode::exact) << "a prompt is read whole";
  const auto request = chat(R"(,"attention":{"mode":"retrieval","budget_tokens":65536,"local_tokens":128,
      "second_pass":false,"report":true},"return_provenance":true)");
  AttentionSpec want{AttentionMode::retrieval, 65'536, 128, false, true};
  want.wants_missed_mass = true;
  EXPECT_EQ(request.query.attention, want);
  EXPECT_TRUE(request.reports_attention);
  EXPECT_EQ(
      text(R"(,"return_provenance":true,"attention":"exact")").query.attention,
      (AttentionSpec{.mode = AttentionMode::exact, .wants_provenance = true, .reread_tokens = ours.reread_tokens}));
}

TEST(OpenAiRequest, ReadsWhatIsToBeReadAgain) {
  const auto reread = [](const std::string& attention) {
    return chat(fmt::format(R"(,"attention":{})", attention)).query.attention.reread_tokens;
  };
  constexpr std::uint32_t kDefault = 1024;
  EXPECT_EQ(reread(R"({})"), kDefault);
  EXPECT_EQ(reread(R"({"reread":true})"), kDefault);
  EXPECT_EQ(reread(R"({"method":"quest"})"), 0u);
  EXPECT_EQ(reread(R"({"reread":true,"method":"quest"})"), kDefault);
  EXPECT_EQ(reread(R"({"second_pass":true})"), 0u) << "one or the other";
  EXPECT_EQ(reread(R"({"reread":true,"second_pass":false})"), kDefault) << "unless both are said";
  EXPECT_EQ(reread(R"({"reread":false})"), 0u);
  EXPECT_EQ(reread(R"({"reread_tokens":512})"), 512u);
  EXPECT_EQ(reread(R"({"method":"infiniretri"})"), kDefault);
  EXPECT_EQ(refusal([&] { reread(R"({"reread_tokens":500})"); }).param(), "reread_tokens");
  EXPECT_EQ(refusal([&] { reread(R"({"reread":1})"); }).param(), "reread");
}

TEST(OpenAiRequest, ReadsWhetherThePromptIsEchoed) {
  EXPECT_FALSE(text("").query.scores_prompt);
  const auto request = text(R"(,"echo":true,"logprobs":2,"max_tokens":0)");
  EXPECT_TRUE(request.query.scores_prompt && request.wants_logprobs);
  EXPECT_EQ(request.query.max_tokens, 0u);
  EXPECT_EQ(refusal([] { chat(R"(,"echo":true)"); }).param(), "echo");
}

TEST(OpenAiRequest, ReadsEachStageOfASelection) {
  using protocol::AttentionMode;
  protocol::AttentionSpec want{AttentionMode::retrieval, 0, 128, true, false};
  want.landmark = protocol::PageLandmark::bounds;
  want.vote = protocol::PageVote::sum;
  want.vote_over = protocol::VoteScope::layer;
  want.top_p = 0.5f;
  want.reselect_every = 4;
  want.rescan_every = 32;
  want.candidate_pages = 300;
  want.scan_share = 0.25f;
  want.layer_stride = 3;
  want.select_layers = {0, 5};
  want.positions = protocol::PositionPolicy::clamped;
  want.wants_missed_mass = want.audits = true;
  want.reread_tokens = protocol::default_attention().reread_tokens;
  const auto request =
      chat(R"(,"attention":{"mode":"retrieval","budget_tokens":0,"local_tokens":128,"landmark":"bounds",
      "vote":"sum","vote_over":"layer","unit":"page","top_p":0.5,"reselect_every":4,"rescan_every":32,
      "candidate_pages":300,"scan_share":0.25,"layer_stride":3,
      "select_layers":[0,5],"positions":"clamped","audit":true})");
  EXPECT_EQ(request.query.attention, want);
  EXPECT_TRUE(request.reports_attention);
}

TEST(OpenAiRequest, TakesAMethodByNameAndWhatElseIsSaidChangesIt) {
  const auto spec = [](const std::string& field) { return chat(field).query.attention; };
  protocol::AttentionSpec want = protocol::find_method("quest")->spec;
  EXPECT_EQ(spec(R"(,"attention":{"method":"quest"})"), want);
  want.budget_tokens = 64;
  want.wants_provenance = true;
  for (const char* said : {R"(,"return_provenance":true,"attention":{"method":"quest","budget_tokens":64})",
                           R"(,"attention":{"budget_tokens":64,"method":"quest"},"return_provenance":true)"}) {
    EXPECT_EQ(spec(said), want) << said;
  }
  EXPECT_EQ(spec(R"(,"attention":{"method":null,"mode":"exact"})").mode, protocol::AttentionMode::exact);
}

TEST(OpenAiRequest, TakesEveryFieldAtTheValueThatAsksForNothing) {
  EXPECT_NO_THROW(chat(R"(,"n":1,"frequency_penalty":0,"presence_penalty":0.0,"logit_bias":{},"tools":[],
      "tool_choice":"none","response_format":{"type":"text"},"store":false,"user":"u","metadata":{"a":"b"},
      "parallel_tool_calls":true,"modalities":["text"],"service_tier":"auto","prompt_cache_key":"k")"));
  EXPECT_NO_THROW(text(R"(,"echo":false,"suffix":"","best_of":1,"n":1,"repetition_penalty":1.0)"));
}

TEST(OpenAiRequest, RefusesByNameWhatItDoesNotDo) {
  const std::pair<const char*, const char*> chats[] = {
      {R"("n":2)", "n"},
      {R"("frequency_penalty":0.5)", "frequency_penalty"},
      {R"("presence_penalty":-1)", "presence_penalty"},
      {R"("logit_bias":{"5":1})", "logit_bias"},
      {R"("tools":[{"type":"function"}])", "tools"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("response_format":{"type":"json_object"})", "response_format"},
      {R"("store":true)", "store"},
      {R"("context_ids":["ctx_0000000000000001"])", "context_ids"},
      {R"("context_id":null)", "context_id"},
      {R"("audio":{})", "audio"},
  };
  for (const auto& [field, name] : chats) {
    const Error error = refusal([&] { chat(fmt::format(",{}", field)); });
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << field;
    EXPECT_EQ(error.param(), name);
    EXPECT_NE(error.message().find(fmt::format("`{}`", name)), std::string::npos) << error.message();
  }
  for (const char* field : {R"("max_tokens":0)", R"("suffix":"x")", R"("best_of":3)", R"("repetition_penalty":1.1)"}) {
    EXPECT_EQ(refusal([&] { text(fmt::format(",{}", field)); }).code(), ErrorCode::invalid_argument) << field;
  }
}

TEST(OpenAiRequest, NamesTheNearestFieldOfAnUnknownOne) {
  const Error error = refusal([] { chat(R"(,"contextid":"ctx_0000000000000001")"); });
  EXPECT_EQ(error.param(), "contextid");
  EXPECT_NE(error.message().find("did you mean `context_id`?"), std::string::npos) << error.message();
  EXPECT_NE(refusal([] { text(R"(,"max_token":3)"); }).message().find("`max_tokens`"), std::string::npos);
  EXPECT_EQ(refusal([] { chat(R"(,"zzzzzzzzzzzzzzz":3)"); }).message().find("did you mean"), std::string::npos);
}

// Every numeric field with every awkward value: taken as it stands, or refused with its name; never changed.
TEST(OpenAiRequest, JudgesEveryNumberOfEveryNumericField) {
  struct Case {
    const char* name;
    std::vector<std::string> taken;  // of kValues
    bool is_chat;
  };
  const std::vector<std::string> kValues = {"-1",
                                            "0",
                                            "1",
                                            "2147483647",
                                            "2147483648",
                                            "9007199254740992",
                                            "9223372036854775807",
                                            "-9223372036854775808",
                                            "1.5",
                                            "\"1\"",
                                            "null"};
  const std::vector<std::string> kSeeds = {
      "-1",  "0", "1", "2147483647", "2147483648", "9007199254740992", "9223372036854775807", "-9223372036854775808",
      "null"};
  const Case cases[] = {
      {"max_tokens", {"1", "2147483647", "null"}, true},
      {"max_completion_tokens", {"1", "2147483647", "null"}, true},
      {"temperature", {"0", "1", "1.5", "null"}, true},
      {"top_p", {"0", "1", "null"}, true},
      {"top_k", {"-1", "0", "1", "2147483647", "null"}, true},
      {"min_p", {"0", "1", "null"}, true},
      {"seed", kSeeds, true},
      {"n", {"1", "null"}, true},
      {"frequency_penalty", {"0", "null"}, true},
      {"presence_penalty", {"0", "null"}, true},
      {"repetition_penalty", {"1", "null"}, true},
      {"min_tokens", {"0", "null"}, true},
      {"logprobs", {"0", "1", "null"}, false},
      {"best_of", {"1", "null"}, false},
      {"max_tokens", {"1", "2147483647", "null"}, false},
  };
  for (const Case& c : cases) {
    for (const std::string& value : kValues) {
      const std::string field = fmt::format(",\"{}\":{}", c.name, value);
      const bool is_taken = std::find(c.taken.begin(), c.taken.end(), value) != c.taken.end();
      const auto read = [&] { c.is_chat ? chat(field) : text(field); };
      if (is_taken) {
        EXPECT_NO_THROW(read()) << field;
        continue;
      }
      const Error error = refusal(read);
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << field;
      EXPECT_EQ(error.param(), c.name) << field;
      EXPECT_NE(error.message().find(value), std::string::npos) << error.message();
    }
  }
  for (const std::string& value : kValues) {  // top_logprobs needs its switch
    const auto read = [&] { chat(fmt::format(",\"logprobs\":true,\"top_logprobs\":{}", value)); };
    if (value == "0" || value == "1" || value == "null") {
      EXPECT_NO_THROW(read());
    } else {
      EXPECT_EQ(refusal(read).param(), "top_logprobs") << value;
    }
  }
}

TEST(OpenAiRequest, ReadsPromptsOfBothKinds) {
  EXPECT_EQ(std::get<std::string>(text("").query.prompt), "p");
  const auto ids = read_completion_request(CompletionKind::text, parse_json(R"({"prompt":[1,2,3]})"));
  EXPECT_EQ(std::get<std::vector<protocol::TokenId>>(ids.query.prompt).size(), 3u);
  const auto one = read_completion_request(CompletionKind::text, parse_json(R"({"prompt":["only"]})"));
  EXPECT_EQ(std::get<std::string>(one.query.prompt), "only");
  for (const char* body : {R"({"prompt":["a","b"]})", R"({"prompt":[[1],[2]]})", R"({"prompt":5})", R"({"prompt":{}})",
                           R"({"prompt":""})", R"({"prompt":[]})", R"({})", R"([])", R"({"prompt":null})"}) {
    EXPECT_EQ(refusal([&] { read_completion_request(CompletionKind::text, parse_json(body)); }).code(),
              ErrorCode::invalid_argument)
        << body;
  }
}

TEST(OpenAiRequest, ReadsMessagesWithTextParts) {
  const auto messages = read_messages(
      parse_json(R"([{"role":"developer","content":"be brief"},{"role":"user","content":[{"type":"text","text":"a"},
                     {"type":"text","text":"b"}]},{"role":"assistant","content":"c","refusal":null}])"),
      "messages");
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[1].content, "ab");
}

TEST(OpenAiRequest, RefusesMessagesThatAreNone) {
  for (const char* messages :
       {"[]", "\"hi\"", "[1]", "[\"a\"]", R"([{"role":"user"}])", R"([{"content":"a"}])",
        R"([{"role":"king","content":"a"}])", R"([{"role":"user","content":5}])",
        R"([{"role":"user","content":[{"type":"image_url"}]}])", R"([{"role":"user","content":[{"type":"text"}]}])",
        R"([{"role":"user","content":"a","name":"x"}])", R"([{"role":"user","content":"a","tool_calls":[{}]}])",
        R"([{"role":"tool","content":"a"}])", "{}", "[[]]"}) {
    EXPECT_EQ(refusal([&] { read_messages(parse_json(messages), "messages"); }).code(), ErrorCode::invalid_argument)
        << messages;
  }
}

TEST(OpenAiRequest, KeepsTheSystemMessageOutOfAQuestionToAContext) {
  const char* body = R"({"context_id":"ctx_0000000000000001","messages":[{"role":"system","content":"s"},
                         {"role":"user","content":"q"}]})";
  const Error error = refusal([&] { read_completion_request(CompletionKind::chat, parse_json(body)); });
  EXPECT_EQ(error.param(), "messages");
  EXPECT_NE(error.message().find("when the context is created"), std::string::npos);
}

TEST(OpenAiRequest, SaysNotFoundOfAnIdThatNoContextCanHave) {
  EXPECT_EQ(refusal([] { chat(R"(,"context_id":"ctx_nope")"); }).code(), ErrorCode::not_found);
}

TEST(OpenAiRequest, LimitsStopStrings) {
  std::string many;
  for (int i = 0; i < 17; ++i) many += fmt::format("{}\"s{}\"", i ? "," : "", i);
  EXPECT_EQ(refusal([&] { chat(fmt::format(",\"stop\":[{}]", many)); }).param(), "stop");
  EXPECT_EQ(refusal([&] { chat(fmt::format(",\"stop\":\"{}\"", std::string(1025, 'x'))); }).param(), "stop");
  EXPECT_EQ(refusal([] { chat(",\"stop\":\"\""); }).param(), "stop");
  EXPECT_EQ(refusal([] { chat(",\"stop\":[1]"); }).param(), "stop");
  EXPECT_NO_THROW(chat(fmt::format(",\"stop\":\"{}\"", std::string(1024, 'x'))));
}

}  // namespace
}  // namespace rotulus::coordinator::http
