// The client speaks to a real socket on loopback that answers as servers do, well and badly.
#include "client/api/http_client.h"

#include <gtest/gtest.h>

#include "protocol/error.h"
#include "tests/client/fake_server.h"

namespace rotulus::client {
namespace {

using protocol::Error;
using protocol::ErrorCode;

ErrorCode code_of_failure(const std::function<void()>& act, std::string* message = nullptr) {
  try {
    act();
  } catch (const Error& failure) {
    if (message) *message = failure.message();
    return failure.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::internal;
}

TEST(Url, TakesHostPortAndPath) {
  EXPECT_EQ(parse_url("http://localhost"), (Url{"localhost", "80", ""}));
  EXPECT_EQ(parse_url("http://10.0.0.7:8080/"), (Url{"10.0.0.7", "8080", ""}));
  EXPECT_EQ(parse_url("http://[::1]:99/a/b/"), (Url{"::1", "99", "/a/b"}));
}

TEST(Url, RefusesWhatIsNoHttpUrl) {
  for (const char* text : {"", "localhost:8080", "https://a", "http://", "http://a:", "http://a:b", "http://a:123456",
                           "http://[::1", "http://:80"})
    EXPECT_THROW(parse_url(text), Error) << text;
}

TEST(Url, EncodesEveryByteThatIsNotUnreserved) {
  EXPECT_EQ(percent_encode("a b/ü&~"), "a%20b%2F%C3%BC%26~");
}

TEST(HttpClient, SendsABodyAndGivesTheAnswer) {
  FakeServer server([](const std::string&) { return http_answer("{\"ok\":1}"); });
  HttpClient client(parse_url(server.url() + "/base"), "key");
  EXPECT_EQ(client.send({.method = "POST", .target = "/x?y=1", .content_type = "application/json", .body = "{}"}),
            "{\"ok\":1}");
  std::string request = server.requests().at(0);
  EXPECT_TRUE(request.starts_with("POST /base/x?y=1 HTTP/1.1\r\n")) << request;
  EXPECT_NE(request.find("Authorization: Bearer key\r\n"), std::string::npos);
  EXPECT_NE(request.find("Host: 127.0.0.1:" + server.port() + "\r\n"), std::string::npos);
  EXPECT_TRUE(request.ends_with("\r\n\r\n{}"));
}

TEST(HttpClient, StreamsABodyOfUnknownLengthInChunks) {
  FakeServer server([](const std::string&) { return http_answer("done"); });
  int pieces = 0;
  std::string piece;
  BodySource source{[&] {
                      piece = pieces < 3 ? std::string(3, static_cast<char>('a' + pieces)) : "";
                      ++pieces;
                      return std::string_view(piece);
                    },
                    std::nullopt};
  EXPECT_EQ(HttpClient(parse_url(server.url()), "").send({.method = "POST", .target = "/", .streamed_body = source}),
            "done");
  EXPECT_TRUE(server.requests().at(0).ends_with("3\r\naaa\r\n3\r\nbbb\r\n3\r\nccc\r\n0\r\n\r\n"));
}

TEST(HttpClient, HandsOnAnAnswerPieceByPieceAndEndsWhereTheSinkSays) {
  FakeServer server([](const std::string&) { return event_answer({"one", "two"}); });
  HttpClient client(parse_url(server.url()), "");
  std::string all;
  client.stream({.target = "/"}, [&](std::string_view bytes) {
    all += bytes;
    return true;
  });
  EXPECT_EQ(all, "data: one\n\ndata: two\n\n");
  int pieces = 0;
  client.stream({.target = "/"}, [&](std::string_view) { return ++pieces < 1; });
  EXPECT_EQ(pieces, 1);
}

TEST(HttpClient, ThrowsTheMessageOfAnErrorObject) {
  FakeServer server([](const std::string& request) {
    return request.find("/missing") != std::string::npos
               ? http_answer(R"({"error":{"message":"There is no context.","type":"t","param":null,"code":null}})",
                             "404 Not Found")
               : http_answer("<html>gateway</html>", "502 Bad Gateway");
  });
  HttpClient client(parse_url(server.url()), "");
  std::string message;
  EXPECT_EQ(code_of_failure([&] { client.send({.target = "/missing"}); }, &message), ErrorCode::not_found);
  EXPECT_EQ(message, "There is no context.");
  EXPECT_EQ(code_of_failure([&] { client.send({.target = "/"}); }, &message), ErrorCode::unavailable);
  EXPECT_EQ(message, "the server answered 502: <html>gateway</html>");
}

TEST(HttpClient, SaysThatTheServerIsNotThere) {
  std::string url;
  {
    url = FakeServer([](const std::string&) { return ""; }).url();
  }
  std::string message;
  EXPECT_EQ(code_of_failure([&] { HttpClient(parse_url(url), "").send({.target = "/"}); }, &message),
            ErrorCode::unavailable);
  EXPECT_NE(message.find("cannot reach " + url), std::string::npos) << message;
}

TEST(HttpClient, SaysThatTheConnectionBrokeBeforeTheAnswerOrWithinIt) {
  FakeServer server([](const std::string& request) {
    return request.find("/cut") != std::string::npos ? "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" : "";
  });
  HttpClient client(parse_url(server.url()), "");
  EXPECT_EQ(code_of_failure([&] { client.send({.target = "/none"}); }), ErrorCode::unavailable);
  EXPECT_EQ(code_of_failure([&] { client.send({.target = "/cut"}); }), ErrorCode::unavailable);
}

}  // namespace
}  // namespace rotulus::client
