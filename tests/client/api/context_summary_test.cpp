// Context objects as the API writes them, whole and with holes.
#include "client/api/context_summary.h"

#include <gtest/gtest.h>

#include "protocol/error.h"

namespace rotulus::client {
namespace {

TEST(ContextSummary, ReadsAContextObject) {
  ContextSummary context = parse_context(
      R"({"id":"ctx_00000000000000ff","object":"context","status":"in_progress","phase":"computing","created_at":1700,
          "display_name":"book","usage":{"total_tokens":6000,"bytes":{"source":100,"disk":4096}},
          "progress":{"total":6000,"processed":512,"committed":0,"time_ms":20,"eta_ms":900},"last_error":null})");
  EXPECT_EQ(context, (ContextSummary{.id = "ctx_00000000000000ff",
                                     .name = "book",
                                     .status = "in_progress",
                                     .phase = "computing",
                                     .created_at = 1700,
                                     .total_tokens = 6000,
                                     .processed_tokens = 512,
                                     .eta_ms = 900,
                                     .bytes = 4096}));
  EXPECT_FALSE(context.is_final());
}

TEST(ContextSummary, ReadsWhatIsAbsentOrNullAsEmpty) {
  ContextSummary context =
      parse_context(R"({"id":"ctx_1","status":"failed","display_name":null,"progress":{"eta_ms":null},
                        "last_error":{"code":"context_length_exceeded","message":"9000 tokens, 8192 fit"}})");
  EXPECT_EQ(context.name, "");
  EXPECT_EQ(context.eta_ms, -1);
  EXPECT_EQ(context.last_error, "9000 tokens, 8192 fit");
  EXPECT_TRUE(context.is_final());
}

TEST(ContextSummary, RefusesWhatIsNoContext) {
  EXPECT_THROW(parse_context("<html>"), protocol::Error);
  EXPECT_THROW(parse_context("[]"), protocol::Error);
  EXPECT_THROW(parse_context("{}"), protocol::Error);
  EXPECT_THROW(parse_context_page(R"({"data":null})"), protocol::Error);
}

TEST(ContextSummary, ReadsAPage) {
  ContextPage page = parse_context_page(R"({"object":"list","data":[{"id":"a"},{"id":"b"}],"has_more":true})");
  ASSERT_EQ(page.contexts.size(), 2u);
  EXPECT_EQ(page.contexts[1].id, "b");
  EXPECT_TRUE(page.has_more);
}

}  // namespace
}  // namespace rotulus::client
