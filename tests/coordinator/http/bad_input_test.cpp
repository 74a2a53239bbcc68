// Bad requests by hand-made HTTP: each its 4xx or 5xx with an OpenAI error object that says something, and the server
// answers as before.
#include <gtest/gtest.h>

#include "coordinator/http/json_reader.h"
#include "tests/coordinator/http/served.h"

namespace rotulus::coordinator {
namespace {

using fakes::Answer;
using fakes::HttpClient;
using fakes::Served;
using http::JsonValue;

const JsonValue* member(const JsonValue& value, std::string_view key) {
  const auto* object = value.get_if<JsonValue::Object>();
  if (!object) return nullptr;
  for (const auto& [name, found] : *object) {
    if (name == key) return &found;
  }
  return nullptr;
}

// All four fields of OpenAI's error object, of the right kinds.
::testing::AssertionResult is_error_object(const Answer& answer) {
  const auto body = http::parse_json(answer.body);
  const JsonValue* error = member(body, "error");
  if (!error) return ::testing::AssertionFailure() << "no error object: " << answer.body.substr(0, 200);
  for (const char* key : {"message", "type", "code"}) {
    const JsonValue* text = member(*error, key);
    if (!text || !text->get_if<std::string>()) return ::testing::AssertionFailure() << key << ": " << answer.body;
  }
  const JsonValue* param = member(*error, "param");
  if (!param || !(param->is_null() || param->get_if<std::string>()))
    return ::testing::AssertionFailure() << "param: " << answer.body;
  if (member(*error, "message")->get_if<std::string>()->size() < 11)
    return ::testing::AssertionFailure() << "says nothing: " << answer.body;
  return ::testing::AssertionSuccess();
}

struct BadRequest {
  const char* method;
  const char* target;
  std::string body;
  int status;
  const char* names = "";  // must stand in the message
};

const std::string kDeep = std::string(200'000, '[') + std::string(200'000, ']');
constexpr const char* kContexts = "/v1/contexts";
constexpr const char* kEstimate = "/v1/contexts/estimate";
constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kText = "/v1/completions";
const std::vector<BadRequest> kBadRequests = {
    {"POST", kContexts, "{", 400, "byte"},
    {"POST", kContexts, "", 400},
    {"POST", kContexts, "[]", 400, "object"},
    {"POST", kContexts, "{}", 400, "text"},
    {"POST", kContexts, "null", 400},
    {"POST", kContexts, "\"text\"", 400},
    {"POST", kContexts, R"({"text":1})", 400, "text"},
    {"POST", kContexts, R"({"text":null})", 400, "text"},
    {"POST", kContexts, R"({"text":""})", 400, "empty"},
    {"POST", kContexts, R"({"text":["a"]})", 400, "text"},
    {"POST", kContexts, R"({"text":"a","txet":"b"})", 400, "did you mean `text`"},
    {"POST", kContexts, R"({"text":"a","text":"b"})", 400, "twice"},
    {"POST", kContexts, R"({"input_ids":[1,2,-3]})", 400, "element 2 is -3"},
    {"POST", kContexts, R"({"input_ids":[99999999]})", 400, "99999999"},
    {"POST", kContexts, R"({"input_ids":[1,2,259]})", 400, "index 2"},
    {"POST", kContexts, R"({"input_ids":[4294967296]})", 400, "4294967296"},
    {"POST", kContexts, R"({"input_ids":[1.5]})", 400, "1.5"},
    {"POST", kContexts, R"({"input_ids":["1"]})", 400},
    {"POST", kContexts, R"({"input_ids":[[1]]})", 400},
    {"POST", kContexts, R"({"input_ids":[]})", 400, "empty"},
    {"POST", kContexts, R"({"input_ids":5})", 400},
    {"POST", kContexts, R"({"text":"a","input_ids":[1]})", 400, "exactly one"},
    {"POST", kContexts, R"({"text":"a","ttl":"-5s"})", 400, "ttl"},
    {"POST", kContexts, R"({"text":"a","ttl":"1h"})", 400, "3600s"},
    {"POST", kContexts, R"({"text":"a","ttl":"s"})", 400, "ttl"},
    {"POST", kContexts, R"({"text":"a","ttl":0})", 400, "from 1 to"},
    {"POST", kContexts, R"({"text":"a","ttl":1.5})", 400, "ttl"},
    {"POST", kContexts, R"({"text":"a","ttl":315360001})", 400, "315360000"},
    {"POST", "/v1/contexts/ctx_00000000000000ab/pin", "", 404},
    {"POST", "/v1/contexts/ctx_x/pin", "", 404, "ctx_x"},
    {"POST", "/v1/contexts/ctx_00000000000000ab/verify", "", 404},
    {"POST", kContexts, R"({"text":"a","frame":"poem"})", 400, "frame"},
    {"POST", kContexts, R"({"text":"a","frame":1})", 400, "frame"},
    {"POST", kContexts, R"({"text":"a","frame":"raw","system":"s"})", 400, "system"},
    {"POST", kContexts, R"({"text":"a","system":5})", 400, "system"},
    {"POST", kContexts, R"({"text":"a","display_name":{}})", 400, "display_name"},
    {"POST", kContexts, R"({"text":"a","display_name":")" + std::string(1025, 'n') + "\"}", 400, "1024"},
    {"POST", kContexts, R"({"text":"a","metadata":"m"})", 400, "metadata"},
    {"POST", kContexts, R"({"text":"a","metadata":{"k":")" + std::string(17000, 'm') + "\"}}", 400, "16384"},
    {"POST", kContexts, R"({"text":"a","model":7})", 400, "model"},
    {"POST", kContexts, R"({"text":"a","attention":"sparse"})", 400, "retrieval"},
    {"POST", kContexts, R"({"text":"a","attention":{"mode":1}})", 400, "mode"},
    {"POST", kContexts, R"({"text":"a","attention":{"budget_tokens":16}})", 400, "budget_tokens"},
    {"POST", kContexts, R"({"tokens":5})", 400, "tokens"},
    {"POST", kEstimate, R"({"tokens":0})", 400, "tokens"},
    {"POST", kEstimate, R"({"tokens":5,"text":"a"})", 400, "exactly one"},
    {"POST", kEstimate, R"({"text":""})", 400, "empty"},
    {"POST", kEstimate, R"({"input_ids":[]})", 400, "empty"},
    {"POST", kEstimate, R"({"input_ids":[259]})", 400, "259"},
    {"GET", kEstimate, "", 404},
    {"POST", "/v1/contexts/ctx_00000000000000ab/search", R"({"query":"a"})", 404, "ctx_00000000000000ab"},
    {"POST", "/v1/contexts/ctx_x/search", R"({"query":"a"})", 404, "ctx_x"},
    {"POST", "/v1/contexts/ctx_x/search", R"({})", 400, "query"},
    {"POST", "/v1/contexts/ctx_x/search", R"({"query":""})", 400, "query"},
    {"POST", "/v1/contexts/ctx_x/search", R"({"query":["a","b"]})", 400, "query"},
    {"POST", "/v1/contexts/ctx_x/search", R"({"query":"a","max_num_results":51})", 400, "max_num_results"},
    {"POST", "/v1/contexts/ctx_x/search", R"({"query":"a","filters":{"type":"eq"}})", 400, "filters"},
    {"POST", "/v1/contexts/ctx_x/search", R"({"query":"a","rewrite_query":true})", 400, "rewrite_query"},
    {"POST", "/v1/contexts/ctx_x/search", R"({"query":"a","ranking_options":{"score_threshold":2}})", 400, "2"},
    {"POST", kContexts, R"({"text":"\ud800"})", 400, "at byte"},
    {"POST", kContexts, "{\"text\":\"\xFF\"}", 400},
    {"POST", kContexts, R"({"text":"a"} x)", 400},
    {"POST", kContexts, R"({"text":"a",})", 400},
    {"POST", kContexts, kDeep, 400, "32"},
    {"POST", "/v1/contexts?frame=raw", R"({"text":"a"})", 400, "query"},
    {"GET", "/v1/contexts?limit=0", "", 400, "limit"},
    {"GET", "/v1/contexts?limit=101", "", 400, "limit"},
    {"GET", "/v1/contexts?limit=-1", "", 400, "limit"},
    {"GET", "/v1/contexts?limit=1.5", "", 400, "limit"},
    {"GET", "/v1/contexts?limit=9223372036854775808", "", 400, "limit"},
    {"GET", "/v1/contexts?limit=1&limit=2", "", 400, "twice"},
    {"GET", "/v1/contexts?limit=", "", 400, "limit"},
    {"GET", "/v1/contexts?after=nobody", "", 400, "after"},
    {"GET", "/v1/contexts?order=asc", "", 400, "order"},
    {"GET", "/v1/contexts?after=%zz", "", 400},
    {"GET", "/v1/contexts?after=%ff", "", 400, "UTF-8"},
    {"GET", "/v1/contexts/ctx_x", "", 404, "ctx_x"},
    {"GET", "/v1/contexts/ctx_00000000000000AB", "", 404},
    {"GET", "/v1/contexts/ctx_0000000000000000", "", 404},
    {"GET", "/v1/contexts/ctx_00000000000000ab", "", 404},
    {"GET", "/v1/contexts/ctx_00000000000000ab/events", "", 404},
    {"GET", "/v1/contexts/%00", "", 404},
    {"GET", "/v1/contexts/", "", 404},
    {"GET", "/v1/contexts//events", "", 404},
    {"DELETE", "/v1/contexts/../../etc/passwd", "", 404},
    {"DELETE", "/v1/contexts/ctx_00000000000000ab", "", 404},
    {"POST", "/v1/contexts/ctx_x/cancel", "{}", 404},
    {"POST", "/v1/contexts/ctx_00000000000000ab/cancel", "{}", 404},
    {"GET", "/nope", "", 404, "/nope"},
    {"GET", "/v1", "", 404},
    {"GET", "/v1/models/", "", 404},
    {"GET", "//", "", 404},
    {"PUT", "/v1/models", "{}", 405, "GET"},
    {"DELETE", "/v1/contexts", "", 405, "POST, GET"},
    {"GET", kChat, "", 405, "POST"},
    {"OPTIONS", kChat, "", 405},
    {"BREW", "/livez", "", 405, "BREW"},
    {"POST", kText, "{}", 400, "prompt"},
    {"POST", kText, R"({"prompt":"a","max_tokens":-1})", 400, "max_tokens"},
    {"POST", kText, R"({"prompt":"a","max_tokens":0})", 400, "max_tokens"},
    {"POST", kText, R"({"prompt":"a","max_tokens":1e99})", 400, "max_tokens"},
    {"POST", kText, R"({"prompt":"a","max_tokens":"many"})", 400, "many"},
    {"POST", kText, R"({"prompt":"a","max_tokens":1e999})", 400, "range"},
    {"POST", kText, R"({"prompt":{"a":1}})", 400, "prompt"},
    {"POST", kText, R"({"prompt":["a","b"]})", 400, "several requests"},
    {"POST", kText, R"({"prompt":"a","temperature":NaN})", 400},
    {"POST", kText, R"({"prompt":"a","temperature":-1})", 400, "temperature"},
    {"POST", kText, R"({"prompt":"a","temperature":2.5})", 400, "temperature"},
    {"POST", kText, R"({"prompt":"a","top_p":7})", 400, "top_p"},
    {"POST", kText, R"({"prompt":"a","n":1000000})", 400, "`n`"},
    {"POST", kText, R"({"prompt":"a","stop":[1]})", 400, "stop"},
    {"POST", kText, R"({"prompt":"a","stop":{"a":1}})", 400, "stop"},
    {"POST", kText, R"({"prompt":"a","logprobs":10000})", 400, "logprobs"},
    {"POST", kText, R"({"prompt":"a","logprobs":true})", 400, "logprobs"},
    {"POST", kText, R"({"prompt":"a","seed":"x"})", 400, "seed"},
    {"POST", kText, R"({"prompt":"a","return_provenance":1})", 400, "return_provenance"},
    {"POST", kText, R"({"prompt":"a","attention":{"mode":"retrieve"}})", 400, "retrieve"},
    {"POST", kText, R"({"prompt":"a","attention":{"budget_token":16}})", 400, "did you mean `budget_tokens`"},
    {"POST", kText, R"({"prompt":"a","attention":{"budget_tokens":-16}})", 400, "from 0 to 65536"},
    {"POST", kText, R"({"prompt":"a","attention":{"method":"oracle"}})", 400, "streaming_llm"},
    {"POST", kText, R"({"prompt":"a","attention":{"method":"moba","top_p":0.5}})", 400, "`unit`"},
    {"POST", kText, R"({"prompt":"a","attention":{"landmark":"oracle"}})", 400, "bounds"},
    {"POST", kText, R"({"prompt":"a","attention":{"top_p":0}})", 400, "above 0"},
    {"POST", kText, R"({"prompt":"a","attention":{"reselect_every":12}})", 400, "a power of two"},
    {"POST", kText, R"({"prompt":"a","attention":{"reselect_every":128}})", 400, "from 1 to 64"},
    {"POST", kText, R"({"prompt":"a","attention":{"rescan_every":12}})", 400, "a power of two"},
    {"POST", kText, R"({"prompt":"a","attention":{"candidate_pages":0}})", 400, "from 1 to"},
    {"POST", kText, R"({"prompt":"a","attention":{"scan_share":0}})", 400, "above 0"},
    {"POST", kText, R"({"prompt":"a","attention":{"select_layers":[2,1]}})", 400, "ascending"},
    {"POST", kText, R"({"prompt":"a","attention":{"select_layers":["a"]}})", 400, "an array of layers"},
    {"POST", kText, R"({"prompt":"a","attention":{"budget_tokens":24}})", 400, "multiple of 16"},
    {"POST", kText, R"({"prompt":"a","attention":{"budget_tokens":65552}})", 400, "65552"},
    {"POST", kText, R"({"prompt":"a","attention":{"local_tokens":192}})", 400, "multiple of 128"},
    {"POST", kText, R"({"prompt":"a","attention":{"local_tokens":0}})", 400, "local_tokens"},
    {"POST", kText, R"({"prompt":"a","attention":{"second_pass":1}})", 400, "second_pass"},
    {"POST", kText, R"({"prompt":"a","attention":[]})", 400, "attention"},
    {"POST", kText, R"({"prompt":"a","stream":"yes"})", 400, "stream"},
    {"POST", kText, R"({"prompt":"a","stream_options":{"include_usage":true}})", 400, "stream_options"},
    {"POST", kText, R"({"prompt":"a","stream":true,"stream_options":{"usage":true}})", 400, "usage"},
    {"POST", kText, R"({"prompt":"a","echo":1})", 400, "echo"},
    {"POST", kText, R"({"prompt":"a","prompt_logprobs":21})", 400, "prompt_logprobs"},
    {"POST", kText, R"({"prompt":"a","prompt_logprobs":1,"stream":true})", 400, "prompt_logprobs"},
    {"POST", kText, R"({"prompt":"a","context_ids":["ctx_0000000000000001"]})", 400, "not built yet"},
    {"POST", kText, R"({"prompt":"a","context_id":"ctx_0000000000000001"})", 404, "context"},
    {"POST", kText, R"({"prompt":"a","context_id":1})", 400, "context_id"},
    {"POST", kText, R"({"prompt":"a","messages":[]})", 400, "messages"},
    {"POST", kText, R"({"prompt":"a","max_tokens":2,"max_completion_tokens":3})", 400, "two names"},
    {"POST", kChat, R"({"messages":[]})", 400, "messages"},
    {"POST", kChat, R"({"messages":[{"role":"king","content":"a"}]})", 400, "king"},
    {"POST", kChat, R"({"messages":"hi"})", 400, "messages"},
    {"POST", kChat, R"({"messages":[{"role":"user"}]})", 400, "content"},
    {"POST", kChat, R"({"messages":[1,2,3]})", 400, "messages"},
    {"POST", kChat, R"({"prompt":"a"})", 400, "prompt"},
    {"POST", kChat, R"({"messages":[{"role":"user","content":"a"}],"top_logprobs":3})", 400, "logprobs"},
    {"POST", kChat, R"({"messages":[{"role":"user","content":"a"}],"logprobs":2})", 400, "logprobs"},
    {"POST", kChat, R"({"messages":[{"role":"user","content":"a"}],"contextid":"c"})", 400, "context_id"},
    {"POST", kChat, R"({"messages":[{"role":"user","content":"fail context_length_exceeded"}]})", 400, "as asked"},
    {"POST", kChat, R"({"messages":[{"role":"user","content":"fail conflict"}]})", 409},
    {"POST", kChat, R"({"messages":[{"role":"user","content":"fail unavailable"}]})", 503},
    {"POST", "/tokenize", R"({"prompt":5})", 400, "prompt"},
    {"POST", "/tokenize", R"({})", 400, "exactly one"},
    {"POST", "/tokenize", R"({"prompt":"a","content":"b"})", 400, "exactly one"},
    {"POST", "/tokenize", R"({"prompt":"a","with_pieces":1})", 400, "with_pieces"},
    {"POST", "/tokenize", R"({"prompt":"a","parse_special":true})", 400, "parse_special"},
    {"POST", "/tokenize", R"({"prompt":")" + std::string(600'000, 'x') + "\"}", 400, "524288"},
    {"POST", "/detokenize", R"({"tokens":["a"]})", 400, "tokens"},
    {"POST", "/detokenize", R"({"tokens":[-1]})", 400, "-1"},
    {"POST", "/detokenize", R"({"tokens":[259]})", 400, "259"},
    {"POST", "/detokenize", R"({})", 400, "tokens"},
    {"POST", "/apply-template", R"({"messages":[]})", 400, "messages"},
    {"POST", "/apply-template", R"({})", 400, "messages"},
};

TEST(BadInput, GetsItsErrorByNameAndLeavesTheServerWell) {
  Served served;
  ASSERT_GE(kBadRequests.size(), 100u);
  for (const BadRequest& bad : kBadRequests) {
    const Answer answer = served.ask(bad.method, bad.target, bad.body);
    EXPECT_EQ(answer.status, bad.status) << bad.method << " " << bad.target << " " << bad.body.substr(0, 80) << "\n"
                                         << answer.body;
    EXPECT_TRUE(is_error_object(answer)) << bad.method << " " << bad.target << " " << bad.body.substr(0, 80);
    EXPECT_NE(answer.body.find(bad.names), std::string::npos) << bad.names << " is not in " << answer.body;
    EXPECT_NE(answer.headers.at("x-request-id"), "");
  }
  EXPECT_EQ(served.ask("GET", "/readyz").status, 200);
  EXPECT_TRUE(std::filesystem::is_empty(served.spool));
  EXPECT_EQ(served.on_loop([&] { return served.queries.running; }), 0);
}

// The same bad requests again over one connection: an error does not cost the connection where its body was read.
TEST(BadInput, KeepsTheConnectionWhereTheBodyWasRead) {
  Served served;
  HttpClient client(served.port());
  for (const BadRequest& bad : kBadRequests) {
    if (bad.body.size() > 1000) continue;
    const Answer answer = client.request(bad.method, bad.target, bad.body);
    ASSERT_EQ(answer.status, bad.status) << bad.method << " " << bad.target << " " << bad.body;
  }
}

TEST(BadInput, NamesTheMethodsOfARoute) {
  Served served;
  EXPECT_EQ(served.ask("PATCH", "/v1/contexts").headers.at("allow"), "POST, GET");
  EXPECT_EQ(served.ask("POST", "/livez", "{}").headers.at("allow"), "GET");
}

TEST(BadInput, TellsClientsWhetherToTryAgain) {
  Served served;
  const auto chat = [&](const char* content) {
    return served.ask("POST", "/v1/chat/completions",
                      fmt::format(R"({{"messages":[{{"role":"user","content":"{}"}}]}})", content));
  };
  EXPECT_EQ(chat("fail conflict").headers.at("x-should-retry"), "false");
  const Answer unavailable = chat("fail unavailable");
  EXPECT_EQ(unavailable.headers.at("x-should-retry"), "true");
  EXPECT_EQ(unavailable.headers.count("retry-after"), 1u);
  const Answer too_long = chat("fail context_length_exceeded");
  EXPECT_NE(too_long.body.find(R"("code":"context_length_exceeded")"), std::string::npos);
  EXPECT_NE(too_long.body.find(R"("n_prompt_tokens":9000,"n_ctx":8192)"), std::string::npos);
}

TEST(BadInput, RefusesUploadsThatAreNotWhatTheySay) {
  Served served;
  const std::string text = "Content-Type: text/plain\r\n";
  const std::string ids = "Content-Type: application/octet-stream\r\n";
  const struct {
    std::string target, body, headers;
    int status;
  } cases[] = {
      {"/v1/contexts", "", text, 400},
      {"/v1/contexts", "", ids, 400},
      {"/v1/contexts", "abc", ids, 400},
      {"/v1/contexts", "abcde", ids, 400},
      {"/v1/contexts", std::string("\xFF\xFF\xFF\xFF", 4), ids, 400},
      {"/v1/contexts?frame=poem", "x", text, 400},
      {"/v1/contexts?text=b", "x", text, 400},
      {"/v1/contexts?metadata=nonsense", "x", text, 400},
      {"/v1/contexts?metadata=%5B%5D", "x", text, 400},
      {"/v1/contexts?color=red", "x", text, 400},
      {"/v1/contexts?frame=raw&frame=chat", "x", text, 400},
      {"/v1/contexts?ttl=soon", "x", text, 400},
      {"/v1/contexts", "x", "Content-Type: multipart/form-data\r\n", 415},
      {"/v1/contexts", "x", "", 415},
  };
  for (const auto& bad : cases) {
    const Answer answer = served.ask("POST", bad.target, bad.body, bad.headers);
    EXPECT_EQ(answer.status, bad.status) << bad.target << " " << answer.body;
    EXPECT_TRUE(is_error_object(answer));
  }
  EXPECT_TRUE(std::filesystem::is_empty(served.spool));
}

struct RawRequest {
  const char* name;
  std::string bytes;
  std::vector<int> statuses;
};

std::vector<RawRequest> raw_requests() {
  const std::string post = "POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
  const std::string get = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
  std::string binary;
  for (int i = 0; i < 40 * 256; ++i) binary += static_cast<char>(i);
  std::string many_fields = get;
  for (int i = 0; i < 257; ++i) many_fields += fmt::format("A{}: b\r\n", i);
  return {
      {"no request line", "\r\n\r\n", {400}},
      {"a version of the future", "GET / HTTP/9.9\r\n\r\n", {505, 400}},
      {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505, 400}},
      {"no version", "GET /\r\n\r\n", {400}},
      {"two words", "GET\r\n\r\n", {400}},
      {"a method of separators", "G(T / HTTP/1.1\r\n\r\n", {400}},
      {"a target with a space", "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 505}},
      {"TLS", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(300, 'x'), {400}},
      {"bytes", binary, {400}},
      {"a bare LF", "GET /livez HTTP/1.1\nHost: localhost\n\n", {400, 505}},
      {"a bare CR", "GET /livez HTTP/1.1\rHost: localhost\r\r", {400, 505}},
      {"a CR in a value", get + "A: b\rc\r\n\r\n", {400}},
      {"a NUL in a value", get + std::string("A: b\0c\r\n\r\n", 10), {400}},
      {"a field without a colon", get + "Nonsense\r\n\r\n", {400}},
      {"a space before the colon", get + "A : b\r\n\r\n", {400}},
      {"a field with an empty name", get + ": b\r\n\r\n", {400}},
      {"no Host", "GET /livez HTTP/1.1\r\n\r\n", {400}},
      {"two Hosts", get + "Host: localhost\r\n\r\n", {400}},
      {"a header of 8 KiB and more", get + "A: " + std::string(8192, 'a') + "\r\n\r\n", {431}},
      {"a header of 100,000 bytes", get + "A: " + std::string(100'000, 'a') + "\r\n\r\n", {431}},
      {"a header without end", get + "A: " + std::string(50'000, 'a'), {431}},
      {"a target of 9,000 bytes", "GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n", {431, 400}},
      {"257 fields", many_fields + "\r\n", {431}},
      {"a negative length", post + "Content-Length: -4\r\n\r\n", {400}},
      {"a length beyond 64 bits", post + "Content-Length: 99999999999999999999\r\n\r\n", {400}},
      {"a length in words", post + "Content-Length: many\r\n\r\n", {400}},
      {"a length with a sign", post + "Content-Length: +4\r\n\r\n{}", {400}},
      {"an empty length", post + "Content-Length:\r\n\r\n", {400}},
      {"two lengths that differ", post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", {400}},
      {"two lengths that agree", post + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", {400}},
      {"a length and chunks", post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", {400}},
      {"chunks and a length", post + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", {400}},
      {"chunks twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}},
      {"an encoding of its own", post + "Transfer-Encoding: rot13\r\n\r\n", {501}},
      {"chunks not last", post + "Transfer-Encoding: chunked, gzip\r\n\r\n", {501, 400}},
      {"chunks after gzip", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {501}},
      {"a chunk size in words", post + "Transfer-Encoding: chunked\r\n\r\nZZZ\r\n", {400}},
      {"a chunk size beyond 64 bits", post + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nx\r\n", {400}},
      {"a chunk of the largest size", post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx\r\n", {400, 413}},
      {"a negative chunk size", post + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", {400}},
      {"a chunk without its end", post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n", {400}},
      {"chunks in HTTP/1.0", "POST /tokenize HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {501}},
      {"another expectation", post + "Expect: 200-maybe\r\nContent-Length: 2\r\n\r\n{}", {417}},
      {"a length over the limit", post + "Content-Length: 67108865\r\n\r\n", {413}},
      {"a document over the limit",
       "POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: "
       "8589934593\r\n\r\n",
       {413}},
      {"CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", {404, 405}},
      {"a proxy's target", "GET http://example.org/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}},
      {"an asterisk", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}},
  };
}

TEST(BadInput, AnswersWhatIsNotHttp) {
  Served served;
  for (const RawRequest& raw : raw_requests()) {
    HttpClient client(served.port());
    client.send(raw.bytes);
    client.half_close();
    const Answer answer = client.read_answer();
    EXPECT_NE(std::find(raw.statuses.begin(), raw.statuses.end(), answer.status), raw.statuses.end())
        << raw.name << ": " << answer.status << " " << answer.body;
    EXPECT_TRUE(answer.status == 0 || is_error_object(answer)) << raw.name;
    EXPECT_TRUE(client.is_closed_by_server()) << raw.name;
  }
  EXPECT_EQ(served.ask("GET", "/readyz").status, 200);
}

// One byte of a good request changed or cut, at every place: whatever comes of it, the next client is served.
TEST(BadInput, OutlivesEveryMutationOfAGoodRequest) {
  Served served;
  const std::string good =
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\nConnection: close\r\n\r\n{\"prompt\":\"a\"}";
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const char byte : {'\0', '\r', '\n', ' ', ':', '\xFF', '9'}) {
      std::string bad = good;
      bad[at] = byte;
      HttpClient client(served.port());
      client.send(bad);
      client.half_close();
      const Answer answer = client.read_answer();
      EXPECT_TRUE(answer.status == 0 || (answer.status >= 200 && answer.status < 506)) << at;
    }
  }
  EXPECT_EQ(served.ask("GET", "/readyz").status, 200);
}

}  // namespace
}  // namespace rotulus::coordinator
