// Who is let in: keys on every route, names and origins on loopback, the policy of the page.
#include <gtest/gtest.h>

#include "coordinator/http/backends.h"
#include "tests/coordinator/http/served.h"

namespace rotulus::coordinator {
namespace {

using fakes::Answer;
using fakes::HttpClient;
using fakes::Served;

HttpConfig with_keys() {
  HttpConfig config;
  config.api_keys = {"first-key", "second-key"};
  return config;
}

struct Asked {
  std::string method, path;
  bool is_open;
};

// Every route there is, taken from the router's own tables: a route added without a thought for keys is tested too.
std::vector<Asked> every_route(Served& served) {
  const HttpConfig config;
  const bool is_draining = false;
  boost::asio::thread_pool pool(1);
  const http::Backends backends{config,         pool,           served.contexts, served.queries,
                                served.cluster, served.metrics, is_draining,     0};
  std::vector<Asked> routes;
  for (const auto& part : {http::contexts_routes(backends), http::openai_routes(backends), http::text_routes(backends),
                           http::system_routes(backends)}) {
    for (const http::Route& route : part) {
      std::string path(route.pattern);
      if (const std::size_t at = path.find("{id}"); at != std::string::npos)
        path.replace(at, 4, "ctx_0000000000000001");
      routes.push_back({std::string(route.method), path, route.is_open});
    }
  }
  return routes;
}

TEST(Security, AsksForAKeyOnEveryRouteButHealth) {
  Served served(with_keys());
  const auto routes = every_route(served);
  ASSERT_GE(routes.size(), 18u);
  std::vector<std::string> open;
  for (const Asked& route : routes) {
    const Answer keyless = served.ask(route.method, route.path, route.method == "POST" ? "{}" : "");
    EXPECT_EQ(keyless.status == 401, !route.is_open) << route.method << " " << route.path;
    if (route.is_open) open.push_back(route.path);
    const Answer wrong = served.ask(route.method, route.path, "", "Authorization: Bearer third-key\r\n");
    EXPECT_EQ(wrong.status == 401, !route.is_open) << route.method << " " << route.path;
  }
  EXPECT_EQ(open, (std::vector<std::string>{"/livez", "/readyz", "/health"}));
  EXPECT_EQ(served.ask("GET", "/nope").status, 401);
  EXPECT_EQ(served.ask("PUT", "/v1/models").status, 401);
}

TEST(Security, TakesEitherKeyInEitherHeader) {
  Served served(with_keys());
  for (const char* header : {"Authorization: Bearer first-key\r\n", "authorization: bearer second-key\r\n",
                             "x-api-key: first-key\r\n", "X-API-Key: second-key\r\n"}) {
    EXPECT_EQ(served.ask("GET", "/v1/models", "", header).status, 200) << header;
  }
  for (const char* header : {"Authorization: Bearer first-ke\r\n", "Authorization: Bearer first-key2\r\n",
                             "Authorization: first-key\r\n", "Authorization: Basic first-key\r\n", "x-api-key: \r\n",
                             "Authorization: Bearer \r\n", "x-api-key: first-key,second-key\r\n"}) {
    const Answer answer = served.ask("GET", "/v1/models", "", header);
    EXPECT_EQ(answer.status, 401) << header;
    EXPECT_EQ(answer.headers.at("www-authenticate"), "Bearer");
    EXPECT_NE(answer.body.find(R"("type":"authentication_error","param":null,"code":"invalid_api_key")"),
              std::string::npos);
  }
}

TEST(Security, AnswersOnlyToLoopbackNamesOnLoopback) {
  Served served;
  const auto status = [&](const std::string& host, const std::string& more = "") {
    HttpClient client(served.port());
    client.send(fmt::format("GET /v1/models HTTP/1.1\r\nHost: {}\r\n{}\r\n", host, more));
    return client.read_answer().status;
  };
  for (const char* host : {"localhost", "LOCALHOST:99", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"}) {
    EXPECT_EQ(status(host), 200) << host;
  }
  for (const char* host : {"evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example",
                           "0.0.0.0", "::1", "localhost:80x", "", "[::1", "10.0.0.1"}) {
    EXPECT_EQ(status(host), 403) << host;
  }
  for (const char* origin : {"http://localhost", "http://127.0.0.1:3000", "https://[::1]:1"}) {
    EXPECT_EQ(status("localhost", fmt::format("Origin: {}\r\n", origin)), 200) << origin;
  }
  for (const char* origin :
       {"http://evil.example", "null", "", "localhost", "http://localhost.evil.example", "file://"}) {
    EXPECT_EQ(status("localhost", fmt::format("Origin: {}\r\n", origin)), 403) << origin;
  }
}

TEST(Security, AllowsNoForeignPageByCors) {
  Served served;
  const Answer answer = served.ask("GET", "/v1/models");
  for (const auto& [name, value] : answer.headers) EXPECT_EQ(name.find("access-control"), std::string::npos);
  EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
}

TEST(Security, ListensBeyondLoopbackOnlyWithAKey) {
  HttpConfig config;
  config.host = "0.0.0.0";
  try {
    Served served(config);
    FAIL() << "it listens";
  } catch (const protocol::Error& error) {
    EXPECT_EQ(error.code(), protocol::ErrorCode::invalid_argument);
    EXPECT_NE(error.message().find("API key"), std::string::npos);
  }
  config.api_keys = {"k"};
  Served served(config);
  HttpClient client(served.port());
  client.send("GET /v1/models HTTP/1.1\r\nHost: any.name\r\nx-api-key: k\r\n\r\n");
  EXPECT_EQ(client.read_answer().status, 200);
}

TEST(Security, ServesAPageThatMayRunNothingButItself) {
  Served served(with_keys());
  const Answer page = served.ask("GET", "/", "", "x-api-key: first-key\r\n");
  EXPECT_EQ(page.status, 200);
  const std::string& policy = page.headers.at("content-security-policy");
  EXPECT_EQ(policy.find("default-src 'none'; script-src 'sha256-"), 0u) << policy;
  EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  EXPECT_EQ(page.body.find("http://"), std::string::npos);
  EXPECT_EQ(page.body.find("https://"), std::string::npos);
  const Answer locked = served.ask("GET", "/");
  EXPECT_EQ(locked.status, 401);
  EXPECT_EQ(locked.body, page.body);  // it asks for the key
}

}  // namespace
}  // namespace rotulus::coordinator
