// How connections live and end: kept, refused before their body was read, slow, too many, drained, stopped.
#include <gtest/gtest.h>

#include "protocol/limits.h"
#include "tests/coordinator/http/served.h"

namespace rotulus::coordinator {
namespace {

using fakes::Answer;
using fakes::HttpClient;
using fakes::Served;
using namespace std::chrono_literals;

TEST(Connection, ServesOneRequestAfterTheOther) {
  Served served;
  HttpClient client(served.port());
  for (int i = 0; i < 20; ++i) {
    const Answer answer = client.request("POST", "/tokenize", R"({"prompt":"a"})");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.headers.count("connection"), 0u);
  }
}

TEST(Connection, AnswersPipelinedRequestsInOrder) {
  Served served;
  HttpClient client(served.port());
  client.send(
      "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: one\r\n\r\n"
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\nX-Request-Id: two\r\n\r\n{\"prompt\":\"a\"}"
      "GET /nope HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: three\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.read_answer().headers.at("x-request-id"), "one");
  EXPECT_EQ(client.read_answer().headers.at("x-request-id"), "two");
  const Answer last = client.read_answer();
  EXPECT_EQ(last.headers.at("x-request-id"), "three");
  EXPECT_EQ(last.headers.at("connection"), "close");
  EXPECT_TRUE(client.is_closed_by_server());
}

TEST(Connection, MakesARequestIdWhereNoneOrABadOneIsGiven) {
  Served served;
  EXPECT_EQ(served.ask("GET", "/livez").headers.at("x-request-id").find("req_"), 0u);
  EXPECT_EQ(served.ask("GET", "/livez", "", "X-Request-Id: mine-7\r\n").headers.at("x-request-id"), "mine-7");
  EXPECT_EQ(served.ask("GET", "/livez", "", "X-Request-Id: has space\r\n").headers.at("x-request-id").find("req_"), 0u);
}

TEST(Connection, AnswersHeadWithoutABody) {
  Served served;
  HttpClient client(served.port());
  const Answer head = client.request("HEAD", "/livez");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "15");
  EXPECT_EQ(client.request("GET", "/livez").body, R"({"status":"ok"})");
}

// The client sends 65 MiB before it reads, as most do: it must find the 413, not a reset.
TEST(Connection, LetsTheClientOfABodyTooLargeReadWhy) {
  Served served;
  HttpClient client(served.port());
  const std::string body = R"({"text":")" + std::string(65u << 20, 'x') + "\"}";
  const Answer answer = client.request("POST", "/v1/contexts", body);
  EXPECT_EQ(answer.status, 413) << answer.body;
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(client.is_closed_by_server());
}

TEST(Connection, LetsTheClientOfAnEndlessChunkedBodyReadWhy) {
  Served served;
  HttpClient client(served.port());
  client.send(
      "POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: "
      "chunked\r\n\r\n");
  client.send("9\r\n{\"text\":\"\r\n");
  const std::string chunk = "100000\r\n" + std::string(1u << 20, 'x') + "\r\n";
  for (int i = 0; i < 70; ++i) ASSERT_TRUE(client.send(chunk)) << i;
  EXPECT_EQ(client.read_answer().status, 413);
}

TEST(Connection, RefusesAKeylessUploadBeforeItsBody) {
  HttpConfig config;
  config.api_keys = {"secret"};
  Served served(config);
  HttpClient client(served.port());
  client.send(
      "POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 8000000\r\n\r\n");
  EXPECT_EQ(client.read_answer().status, 401);  // nothing of the body has been sent
  EXPECT_TRUE(std::filesystem::is_empty(served.spool));
}

TEST(Connection, EndsRequestsThatDribble) {
  HttpConfig config;
  config.header_timeout = 100ms;
  config.body_timeout = 100ms;
  Served served(config);
  HttpClient header(served.port());
  header.send("GET /livez HTT");
  EXPECT_EQ(header.read_answer().status, 408);
  EXPECT_TRUE(header.is_closed_by_server());
  HttpClient body(served.port());
  body.send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{\"pro");
  EXPECT_EQ(body.read_answer().status, 408);
  EXPECT_TRUE(body.is_closed_by_server());
  HttpClient silent(served.port());
  EXPECT_TRUE(silent.is_closed_by_server());
}

TEST(Connection, ClosesIdleOnes) {
  HttpConfig config;
  config.idle_timeout = 100ms;
  Served served(config);
  HttpClient client(served.port());
  EXPECT_EQ(client.request("GET", "/livez").status, 200);
  EXPECT_TRUE(client.is_closed_by_server());
}

// A body that ends early is told so, as far as its sender still listens.
TEST(Connection, AnswersABodyThatEndsEarly) {
  Served served;
  HttpClient client(served.port());
  client.send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"prompt\":");
  client.half_close();
  EXPECT_EQ(client.read_answer().status, 400);
}

TEST(Connection, MakesRoomForTheBusyWhenIdleOnesFillIt) {
  Served served;
  std::vector<std::unique_ptr<HttpClient>> idle;
  for (std::size_t i = 0; i + 8 < protocol::kMaxHttpConnections && i < 400; ++i) {
    idle.push_back(std::make_unique<HttpClient>(served.port()));
  }
  EXPECT_EQ(served.ask("GET", "/livez").status, 200);
}

TEST(Connection, DrainsWhatRunsAndRefusesWhatIsNew) {
  Served served;
  served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  HttpClient running(served.port());
  running.send("GET /v1/contexts/ctx_0000000000000001/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_NE(running.read_some(), "");
  served.on_loop([&] { served.server->begin_drain(); });
  EXPECT_EQ(served.ask("GET", "/livez").status, 200);
  EXPECT_EQ(served.ask("GET", "/readyz").status, 503);
  EXPECT_EQ(served.ask("GET", "/v1/contexts/ctx_0000000000000001").status, 200);
  for (const char* route : {"/v1/contexts", "/v1/completions", "/v1/chat/completions"}) {
    const Answer refused = served.ask("POST", route, R"({"text":"a"})");
    EXPECT_EQ(refused.status, 503) << route;
    EXPECT_EQ(refused.headers.count("retry-after"), 1u);
  }
  EXPECT_TRUE(served.eventually([&] { return served.server->active_requests() == 1; }));  // the stream
  served.on_loop([&] { served.contexts.cancel(ContextId{1}); });
  std::string rest;
  while (rest.find("0\r\n\r\n") == std::string::npos) {
    const std::string more = running.read_some();
    ASSERT_NE(more, "") << rest;
    rest += more;
  }
  EXPECT_NE(rest.find(R"("status":"cancelled")"), std::string::npos);
  EXPECT_TRUE(served.eventually([&] { return served.server->active_requests() == 0; }));
}

TEST(Connection, StopsUnderEveryKindOfRequest) {
  auto served = std::make_unique<Served>();
  served->ask("POST", "/v1/contexts", R"({"text":"a"})");
  HttpClient idle(served->port());
  HttpClient half(served->port());
  half.send(
      "POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nabc");
  HttpClient stream(served->port());
  stream.send("GET /v1/contexts/ctx_0000000000000001/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  HttpClient waiting(served->port());
  waiting.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n{\"prompt\":\"wait\"}");
  ASSERT_TRUE(
      served->eventually([&] { return served->queries.running == 1 && served->server->active_requests() >= 3; }));
  served.reset();
  EXPECT_TRUE(idle.is_closed_by_server());
  EXPECT_TRUE(half.is_closed_by_server());
  EXPECT_TRUE(stream.is_closed_by_server());
  EXPECT_TRUE(waiting.is_closed_by_server());
}

}  // namespace
}  // namespace rotulus::coordinator
