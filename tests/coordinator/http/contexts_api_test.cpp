// Contexts over the wire: the three ways in, what lies in the spool after each, and the life of a context as shown.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "protocol/limits.h"
#include "tests/coordinator/http/served.h"

namespace rotulus::coordinator {
namespace {

using fakes::Answer;
using fakes::HttpClient;
using fakes::Served;

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// What was spooled for context `number`, and as what.
std::pair<std::string, SpoolKind> spooled(Served& served, std::uint64_t number) {
  const SpooledDocument document = served.on_loop([&] { return served.contexts.documents.at(ContextId{number}); });
  EXPECT_EQ(std::filesystem::file_size(document.path), document.bytes);
  return {contents(document.path), document.kind};
}

TEST(ContextsApi, TakesTextAsJson) {
  Served served;
  const Answer answer =
      served.ask("POST", "/v1/contexts",
                 R"({"text":"caf\u00e9 \ud83d\ude00","frame":"chat","system":"be brief","display_name":"n",)"
                 R"("metadata":{"a":[1,{"b":null}]},"model":"any"})");
  EXPECT_EQ(answer.status, 202) << answer.body;
  EXPECT_EQ(answer.headers.at("location"), "/v1/contexts/ctx_0000000000000001");
  EXPECT_EQ(spooled(served, 1), std::pair(std::string("caf\xC3\xA9 \xF0\x9F\x98\x80"), SpoolKind::text));
  EXPECT_EQ(
      answer.body,
      R"({"id":"ctx_0000000000000001","object":"context","status":"queued","phase":"tokenizing","created_at":1700000000,)"
      R"("expires_at":null,"model":"toy-model","frame":"chat","system":"be brief","display_name":"n",)"
      R"("metadata":{"a":[1,{"b":null}]},"usage":{"total_tokens":0,"shared_tokens":0,"bytes":{"source":10,"disk":0,"saved_by_windows":0}},)"
      R"("progress":{"total":0,"processed":0,"committed":0,"time_ms":0,"eta_ms":null},)"
      R"("chunks":{"committed":0,"repaired":0},"parameters":{"model_fingerprint":null,"tokenizer_fingerprint":null,)"
      R"("rope":null,"kv_type":null,"block_tokens":128,"chunk_tokens":4096,"lane_count":256,"format_version":1,)"
      R"("numerics_id":null},"attention":{"mode":"auto","landmark_version":0,"landmarks":[],"exact_tokens":0,"local_tokens":0},)"
      R"("numerics_changed":false,"absent_volumes":[],"verification":null,"last_error":null})");
  EXPECT_EQ(served.ask("GET", "/v1/contexts/ctx_0000000000000001").body, answer.body);
}

TEST(ContextsApi, TakesIdsAsJsonAndAsBytes) {
  Served served;
  EXPECT_EQ(served.ask("POST", "/v1/contexts", R"({"input_ids":[1,2,258],"frame":"raw"})").status, 202);
  const std::string bytes("\x01\0\0\0\x02\0\0\0\x02\x01\0\0", 12);
  EXPECT_EQ(spooled(served, 1), std::pair(bytes, SpoolKind::token_ids));
  EXPECT_EQ(served.ask("POST", "/v1/contexts", bytes, "Content-Type: application/octet-stream\r\n").status, 202);
  EXPECT_EQ(spooled(served, 2), std::pair(bytes, SpoolKind::token_ids));
}

TEST(ContextsApi, TakesTheDocumentAsTheBody) {
  Served served;
  const std::string any_bytes = std::string("a\0b\xFF\r\n", 6);
  const Answer answer =
      served.ask("POST", "/v1/contexts?frame=raw&display_name=a+b%20%C3%A9&metadata=%7B%22k%22%3A1%7D", any_bytes,
                 "Content-Type: Text/Plain; charset=utf-8\r\n");
  EXPECT_EQ(answer.status, 202) << answer.body;
  EXPECT_EQ(spooled(served, 1), std::pair(any_bytes, SpoolKind::text));
  EXPECT_NE(answer.body.find("\"display_name\":\"a b \xC3\xA9\",\"metadata\":{\"k\":1}"), std::string::npos);
  EXPECT_NE(answer.body.find(R"("frame":"raw")"), std::string::npos);
}

TEST(ContextsApi, TakesTheAttentionInEveryForm) {
  Served served;
  const auto is_asked = [&](const Answer& answer, std::string_view mode) {
    EXPECT_EQ(answer.status, 202) << answer.body;
    EXPECT_NE(answer.body.find(fmt::format(R"("attention":{{"mode":"{}",)", mode)), std::string::npos) << answer.body;
  };
  is_asked(served.ask("POST", "/v1/contexts", R"({"text":"a","attention":{"mode":"retrieval"}})"), "retrieval");
  is_asked(served.ask("POST", "/v1/contexts", R"({"text":"a","attention":"exact"})"), "exact");
  const char* plain = "Content-Type: text/plain\r\n";
  is_asked(served.ask("POST", "/v1/contexts?attention=retrieval", "a", plain), "retrieval");
  is_asked(served.ask("POST", "/v1/contexts?attention=%7B%22mode%22%3A%22exact%22%7D", "a", plain), "exact");
}

// Once the tokens are counted, what is kept and not what was asked for.
TEST(ContextsApi, ShowsWhatAContextKeepsForRetrieval) {
  Served served;
  served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  const auto shown_with = [&](protocol::RetrievalParameters retrieval) {
    served.on_loop([&] {
      auto view = *served.contexts.find(ContextId{1});
      view.description.token_count = 9000;
      view.parameters.retrieval = retrieval;
      served.contexts.update(view);
    });
    return served.ask("GET", "/v1/contexts/ctx_0000000000000001").body;
  };
  const std::string body = shown_with({1, 8192, 2048});
  EXPECT_NE(body.find(R"("attention":{"mode":"retrieval","landmark_version":1,"landmarks":["sketch","mean"],)"
                      R"("exact_tokens":8192,"local_tokens":2048})"),
            std::string::npos)
      << body;
  EXPECT_NE(shown_with({1, 8192, 2048, protocol::kKnownLandmarks}).find(R"(["sketch","mean","bounds","centroids"])"),
            std::string::npos);
  EXPECT_NE(shown_with({}).find(R"("attention":{"mode":"exact","landmark_version":0,)"), std::string::npos);
}

TEST(ContextsApi, TakesTheKindsOfLandmarksAsAListOrAsTheirNames) {
  Served served;
  const auto asked = [&](const std::string& target, const std::string& body, std::string_view type) {
    const Answer answer = served.ask("POST", target, body, "Content-Type: " + std::string(type) + "\r\n");
    EXPECT_EQ(answer.status, 202) << answer.body;
    return served.on_loop([&] { return served.contexts.list(std::nullopt, 1).at(0).description.landmarks; });
  };
  EXPECT_EQ(asked("/v1/contexts", R"({"text":"a","landmarks":["bounds"]})", "application/json"),
            protocol::kKeepsBounds);
  EXPECT_EQ(asked("/v1/contexts", R"({"text":"a"})", "application/json"), protocol::kDefaultLandmarks);
  EXPECT_EQ(asked("/v1/contexts?landmarks=mean,bounds,centroids,sketch", "a", "text/plain"), protocol::kKnownLandmarks);
  EXPECT_EQ(asked("/v1/contexts?landmarks=%5B%22sketch%22,%22mean%22%5D", "a", "text/plain"),
            protocol::kDefaultLandmarks);
  for (const char* given : {"[]", "[1]", "[\"sketch\"]", "[\"bounds\",\"mean\"]", "\"bounds,\"", "\"\"", "{}"}) {
    const Answer answer = served.ask("POST", "/v1/contexts", fmt::format(R"({{"text":"a","landmarks":{}}})", given));
    EXPECT_EQ(answer.status, 400) << given;
    EXPECT_NE(answer.body.find(R"("param":"landmarks")"), std::string::npos) << answer.body;
  }
}

TEST(ContextsApi, TakesChunksCutAnywhere) {
  Served served;
  HttpClient client(served.port());
  client.send(
      "POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
      "Transfer-Encoding: chunked\r\n\r\n3\r\n\x01");
  client.send(std::string_view("\0\0\r\n6\r\n\0\x02\0\0\0\x03\r\n3;x=y\r\n\0\0\0\r\n0\r\nTrailer: t\r\n\r\n", 44));
  EXPECT_EQ(client.read_answer().status, 202);
  EXPECT_EQ(spooled(served, 1).first, std::string("\x01\0\0\0\x02\0\0\0\x03\0\0\0", 12));
}

TEST(ContextsApi, SaysContinueBeforeABodyThatItWants) {
  Served served;
  HttpClient client(served.port());
  client.send(
      "POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_some(), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("hello");
  EXPECT_EQ(client.read_answer().status, 202);

  HttpClient refused(served.port());
  refused.send(
      "POST /v1/contexts?color=red HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(refused.read_some().find("HTTP/1.1 400"), 0u);
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// 256 MiB through a server that may grow by 32: the document is never held.
TEST(ContextsApi, StreamsALargeDocumentThroughLittleMemory) {
  Served served;
  HttpClient client(served.port());
  constexpr std::size_t kPieces = 1024;
  const std::string piece(256u << 10, 'x');
  client.send(fmt::format(
      "POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
      kPieces * piece.size()));
  const std::size_t before = resident_bytes();
  std::size_t most = 0;
  for (std::size_t i = 0; i < kPieces; ++i) {
    ASSERT_TRUE(client.send(piece));
    most = std::max(most, resident_bytes());
  }
  EXPECT_EQ(client.read_answer().status, 202);
  EXPECT_LT(most - std::min(most, before), 32u << 20);
  EXPECT_EQ(served.on_loop([&] { return served.contexts.documents.at(ContextId{1}).bytes; }), kPieces * piece.size());
}

TEST(ContextsApi, LeavesNothingInTheSpoolOfABrokenUpload) {
  Served served;
  {
    HttpClient client(served.port());
    client.send(
        "POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n");
    client.send(std::string(600'000, 'x'));
    ASSERT_TRUE(served.eventually([&] { return !std::filesystem::is_empty(served.spool); }));
  }
  EXPECT_TRUE(served.eventually([&] { return std::filesystem::is_empty(served.spool); }));
  EXPECT_EQ(served.on_loop([&] { return served.contexts.documents.size(); }), 0u);
}

TEST(ContextsApi, RemovesTheDocumentOfARefusedContext) {
  Served served;
  served.on_loop([&] {
    served.contexts.next_create_error =
        protocol::Error(protocol::ErrorCode::storage_full, "No room for 1 byte on the disk.");
  });
  const Answer answer = served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  EXPECT_EQ(answer.status, 507);
  EXPECT_EQ(answer.headers.at("x-should-retry"), "false");
  EXPECT_TRUE(std::filesystem::is_empty(served.spool));
}

TEST(ContextsApi, AnswersAFullSpoolWith507) {
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  Served served;
  std::filesystem::remove_all(served.spool);  // the directory is gone: nothing can be written
  const Answer answer = served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  EXPECT_GE(answer.status, 500);
  EXPECT_NE(answer.body.find("\"error\""), std::string::npos);
  EXPECT_EQ(served.ask("GET", "/livez").status, 200);
}

TEST(ContextsApi, ListsInPages) {
  Served served;
  for (int i = 0; i < 5; ++i) served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  const Answer first = served.ask("GET", "/v1/contexts?limit=2");
  EXPECT_NE(first.body.find(R"("first_id":"ctx_0000000000000005","last_id":"ctx_0000000000000004","has_more":true})"),
            std::string::npos)
      << first.body;
  const Answer last = served.ask("GET", "/v1/contexts?limit=2&after=ctx_0000000000000002");
  EXPECT_NE(last.body.find(R"("last_id":"ctx_0000000000000001","has_more":false})"), std::string::npos) << last.body;
  const Answer none = served.ask("GET", "/v1/contexts?after=ctx_0000000000000001");
  EXPECT_EQ(none.body, R"({"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false})");
}

TEST(ContextsApi, LimitsALifeAndPinsIt) {
  Served served;
  const Answer created = served.ask("POST", "/v1/contexts", R"({"text":"a","ttl":"3600s"})");
  EXPECT_NE(created.body.find(R"("expires_at":1700003600)"), std::string::npos) << created.body;
  EXPECT_NE(served.ask("POST", "/v1/contexts", R"({"text":"a","ttl":60})").body.find(R"("expires_at":1700000060)"),
            std::string::npos);
  EXPECT_NE(served.ask("POST", "/v1/contexts?ttl=60", "a", "Content-Type: text/plain\r\n")
                .body.find(R"("expires_at":1700000060)"),
            std::string::npos);
  const Answer pinned = served.ask("POST", "/v1/contexts/ctx_0000000000000001/pin", "");
  EXPECT_EQ(pinned.status, 200);
  EXPECT_NE(pinned.body.find(R"("expires_at":null)"), std::string::npos) << pinned.body;
}

TEST(ContextsApi, BeginsToVerifyAndTellsHowFarItIs) {
  Served served;
  const Answer created = served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  EXPECT_NE(created.body.find(R"("verification":null)"), std::string::npos) << created.body;
  const Answer begun = served.ask("POST", "/v1/contexts/ctx_0000000000000001/verify", "");
  EXPECT_EQ(begun.status, 202);
  const std::string verification =
      R"("verification":{"status":"in_progress","chunks":{"total":3,"read":1,"damaged":0},)"
      R"("blocks_verified":12,"blocks_damaged":0,"error":null})";
  EXPECT_NE(begun.body.find(verification), std::string::npos) << begun.body;
  EXPECT_NE(served.ask("GET", "/v1/contexts/ctx_0000000000000001").body.find(verification), std::string::npos);
}

TEST(ContextsApi, AppendsAndForks) {
  Served served;
  served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  const std::string path = "/v1/contexts/ctx_0000000000000001";
  EXPECT_EQ(served.ask("POST", path + "/append", R"({"text":"bc"})").status, 409);
  served.on_loop([&] {
    auto view = *served.contexts.find(ContextId{1});
    view.status = ContextStatus::completed;
    served.contexts.update(view);
  });
  EXPECT_EQ(served.ask("POST", path + "/append", "{}").status, 400);
  EXPECT_EQ(served.ask("POST", path + "/append", R"({"text":""})").status, 400);
  EXPECT_EQ(served.ask("POST", path + "/append", R"({"text":"bc","frame":"raw"})").status, 400);
  EXPECT_EQ(served.ask("POST", "/v1/contexts/ctx_0000000000000009/append", R"({"text":"bc"})").status, 404);
  const Answer forked = served.ask("POST", path + "/fork", "{}");
  EXPECT_EQ(forked.status, 202);
  EXPECT_NE(forked.body.find(R"("id":"ctx_0000000000000002")"), std::string::npos) << forked.body;
  const Answer appended = served.ask("POST", path + "/append", R"({"text":"bc"})");
  EXPECT_EQ(appended.status, 202);
  EXPECT_NE(appended.body.find(R"("id":"ctx_0000000000000001")"), std::string::npos) << appended.body;
  EXPECT_NE(appended.body.find(R"("source":3)"), std::string::npos) << appended.body;
}

TEST(ContextsApi, CancelsAndErases) {
  Served served;
  served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  const Answer cancelled = served.ask("POST", "/v1/contexts/ctx_0000000000000001/cancel", "");
  EXPECT_EQ(cancelled.status, 200);
  EXPECT_NE(cancelled.body.find(R"("status":"cancelled")"), std::string::npos);
  EXPECT_EQ(served.ask("DELETE", "/v1/contexts/ctx_0000000000000001").body,
            R"({"id":"ctx_0000000000000001","object":"context.deleted","deleted":true})");
  EXPECT_EQ(served.ask("GET", "/v1/contexts/ctx_0000000000000001").status, 404);
  EXPECT_EQ(served.ask("DELETE", "/v1/contexts/ctx_0000000000000001").status, 404);
}

TEST(ContextsApi, TellsEveryChangeUntilTheContextRests) {
  Served served;
  served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  HttpClient client(served.port());
  client.send("GET /v1/contexts/ctx_0000000000000001/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  std::string seen;
  const auto read_until = [&](std::string_view text) {
    while (seen.find(text) == std::string::npos) {
      const std::string more = client.read_some();
      if (more.empty()) return false;
      seen += more;
    }
    return true;
  };
  ASSERT_TRUE(read_until(R"("status":"queued")")) << seen;
  const auto advance = [&](ContextStatus status, std::uint64_t processed) {
    served.on_loop([&] {
      auto view = *served.contexts.find(ContextId{1});
      view.status = status;
      view.progress = {.total = 100, .processed = processed, .committed = 0, .time_ms = 5, .eta_ms = 7};
      served.contexts.update(view);
    });
  };
  advance(ContextStatus::in_progress, 50);
  ASSERT_TRUE(read_until("id: 1\ndata: {")) << seen;
  ASSERT_TRUE(read_until(R"("progress":{"total":100,"processed":50,"committed":0,"time_ms":5,"eta_ms":7})")) << seen;
  advance(ContextStatus::completed, 100);
  ASSERT_TRUE(read_until("\r\n0\r\n\r\n")) << seen;  // the end of the chunks
  EXPECT_NE(seen.find(R"("status":"completed")"), std::string::npos);
}

TEST(ContextsApi, RepeatsTheViewOfASilentContext) {
  HttpConfig config;
  config.progress_interval = std::chrono::milliseconds(20);
  Served served(config);
  served.ask("POST", "/v1/contexts", R"({"text":"a"})");
  HttpClient client(served.port());
  client.send("GET /v1/contexts/ctx_0000000000000001/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  std::size_t views = 0;
  while (views < 3) {
    const std::string more = client.read_some();
    ASSERT_NE(more, "");
    for (std::size_t at = 0; (at = more.find("data: {\"id\"", at)) != std::string::npos; ++at) ++views;
  }
  served.on_loop([&] { served.contexts.erase(ContextId{1}, [](auto) {}); });
  std::string rest;
  while (rest.find("The context was deleted") == std::string::npos) {
    const std::string more = client.read_some();
    ASSERT_NE(more, "") << rest;
    rest += more;
  }
}

}  // namespace
}  // namespace rotulus::coordinator
