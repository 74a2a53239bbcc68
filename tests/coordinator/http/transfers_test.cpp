// Contexts as files over the wire: streamed out and in, and what a client sees where that ends early.
#include <gtest/gtest.h>

#include "tests/coordinator/http/served.h"

namespace rotulus::coordinator {
namespace {

using fakes::Answer;
using fakes::Served;

constexpr const char* kBytes = "Content-Type: application/octet-stream\r\n";

TEST(Transfers, AContextLeavesAndComesBack) {
  Served served;
  ASSERT_EQ(
      served.ask("POST", "/v1/contexts?display_name=book", std::string(300'000, 'a'), "Content-Type: text/plain\r\n")
          .status,
      202);
  const Answer file = served.ask("GET", "/v1/contexts/ctx_0000000000000001/export");
  EXPECT_EQ(file.status, 200);
  EXPECT_EQ(file.headers.at("content-type"), "application/octet-stream");
  EXPECT_EQ(file.body, "file of book, " + std::string(300'000, 'x'));

  const Answer come = served.ask("POST", "/v1/contexts/import", file.body, kBytes);
  EXPECT_EQ(come.status, 201) << come.body;
  EXPECT_EQ(come.headers.at("location"), "/v1/contexts/ctx_0000000000000384");
  EXPECT_NE(come.body.find(R"("display_name":"file of book")"), std::string::npos) << come.body;
  EXPECT_NE(come.body.find(R"("source":300014)"), std::string::npos) << come.body;
  EXPECT_EQ(served.on_loop([&] { return served.contexts.transfers; }), 0);
}

TEST(Transfers, AnImportMayBeNamedAndTakesNoOtherField) {
  Served served;
  const Answer named = served.ask("POST", "/v1/contexts/import?display_name=b%20c", "x", kBytes);
  EXPECT_NE(named.body.find(R"("display_name":"b c")"), std::string::npos) << named.body;
  EXPECT_EQ(served.ask("POST", "/v1/contexts/import?ttl=5", "x", kBytes).status, 400);
}

TEST(Transfers, WhatIsDamagedIsRefusedWhereverItShows) {
  Served served;
  const Answer damaged = served.ask("POST", "/v1/contexts/import", "a damaged file", kBytes);
  EXPECT_EQ(damaged.status, 500);
  EXPECT_NE(damaged.body.find("storage_corrupt"), std::string::npos) << damaged.body;
  EXPECT_NE(damaged.body.find("at byte 7"), std::string::npos);
  EXPECT_EQ(served.ask("POST", "/v1/contexts/import", "a file of bad metadata", kBytes).status, 400);
  EXPECT_EQ(served.ask("GET", "/v1/contexts/ctx_0000000000000384").status, 404);
  EXPECT_EQ(served.on_loop([&] { return served.contexts.transfers; }), 0);
}

TEST(Transfers, AnExportThatFailsIsAnErrorBeforeItsFirstByteAndCutOffBehindIt) {
  Served served;
  ASSERT_EQ(served.ask("POST", "/v1/contexts", std::string(5000, 'a'), "Content-Type: text/plain\r\n").status, 202);
  EXPECT_EQ(served.ask("GET", "/v1/contexts/ctx_0000000000000007/export").status, 404);
  served.on_loop([&] { return served.contexts.export_fails_behind = 0; });
  EXPECT_EQ(served.ask("GET", "/v1/contexts/ctx_0000000000000001/export").status, 500);
  served.on_loop([&] { return served.contexts.export_fails_behind = 3; });
  fakes::HttpClient client(served.port());
  client.send("GET /v1/contexts/ctx_0000000000000001/export HTTP/1.1\r\nHost: localhost\r\n\r\n");
  std::string received;
  for (std::string some = client.read_some(); !some.empty(); some = client.read_some()) received += some;
  EXPECT_TRUE(received.starts_with("HTTP/1.1 200 ")) << received;
  EXPECT_FALSE(received.ends_with("0\r\n\r\n"));
}

}  // namespace
}  // namespace rotulus::coordinator
