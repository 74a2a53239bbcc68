// What operators and text clients read, against fakes whose state the test sets.
#include <gtest/gtest.h>

#include "tests/coordinator/http/served.h"

namespace rotulus::coordinator {
namespace {

using fakes::Answer;
using fakes::Served;

TEST(SystemApi, SaysReadyOnlyWhenTheClusterIs) {
  Served served;
  EXPECT_EQ(served.ask("GET", "/health").body, R"({"status":"ok"})");
  served.on_loop([&] {
    served.cluster.state.is_ready = false;
    served.cluster.state.state = "waiting for workers: 1 of 2 ranks";
  });
  for (const char* route : {"/health", "/readyz"}) {
    const Answer answer = served.ask("GET", route);
    EXPECT_EQ(answer.status, 503);
    EXPECT_NE(answer.body.find("waiting for workers: 1 of 2 ranks"), std::string::npos);
  }
  EXPECT_EQ(served.ask("GET", "/livez").status, 200);
}

TEST(SystemApi, ListsTheModel) {
  Served served;
  const Answer answer = served.ask("GET", "/v1/models");
  EXPECT_EQ(answer.body.find(R"({"object":"list","data":[{"id":"toy-model","object":"model","created":)"), 0u)
      << answer.body;
  EXPECT_NE(
      answer.body.find(
          R"("owned_by":"rotulus","max_model_len":8192,"meta":{"n_vocab":259,"n_ctx_train":4096,"n_params":1000,"size":4000}}]})"),
      std::string::npos)
      << answer.body;
  served.on_loop([&] { served.cluster.state.model.reset(); });
  EXPECT_EQ(served.ask("GET", "/v1/models").status, 200);
}

TEST(SystemApi, DescribesTheCluster) {
  Served served;
  const Answer answer = served.ask("GET", "/v1/cluster");
  EXPECT_EQ(
      answer.body.find(
          R"({"object":"cluster","is_ready":true,"state":"ready","epoch":3,"store_id":"000000000000abcd","lane_count":256,"numerics_id":"scalar-1",)"),
      0u)
      << answer.body;
  EXPECT_NE(answer.body.find(R"("context_length":8192,"trained_length":4096,)"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find(
                R"("rates":[{"name":"fma_f32","threads":1,"per_second":1500000000.0},{"name":"read","threads":2)"),
            std::string::npos)
      << answer.body;
  EXPECT_NE(answer.body.find(R"("lanes":{"begin":0,"end":256},"volumes":[{"id":"0000000000000007","path":"/store")"),
            std::string::npos)
      << answer.body;
}

TEST(SystemApi, SaysItsVersion) {
  Served served;
  EXPECT_EQ(served.ask("GET", "/version").body,
            R"({"name":"rotulus","version":"0.0-test","protocol_version":6,"store_format_version":1})");
}

TEST(SystemApi, CountsRequestsByRouteAndStatus) {
  Served served;
  served.ask("GET", "/v1/contexts/ctx_0000000000000001");
  served.ask("GET", "/secret/path");
  const Answer metrics = served.ask("GET", "/metrics");
  EXPECT_EQ(metrics.headers.at("content-type").find("text/plain"), 0u);
  EXPECT_NE(metrics.body.find(R"(route="/v1/contexts/{id}")"), std::string::npos) << metrics.body;
  EXPECT_NE(metrics.body.find(R"(route="unknown")"), std::string::npos);
  EXPECT_EQ(metrics.body.find("secret"), std::string::npos);
}

TEST(SystemApi, TokenizesAsVllmAndLlamaCppDo) {
  Served served;
  EXPECT_EQ(served.ask("POST", "/tokenize", R"({"prompt":"ab"})").body,
            R"({"count":3,"max_model_len":8192,"tokens":[1,100,101]})");
  EXPECT_EQ(
      served.ask("POST", "/tokenize", R"({"prompt":"ab","add_special_tokens":false,"return_token_strs":true})").body,
      R"({"count":2,"max_model_len":8192,"tokens":[100,101],"token_strs":["a","b"]})");
  EXPECT_EQ(served.ask("POST", "/tokenize", R"({"content":"é","with_pieces":true})").body,
            R"({"count":2,"max_model_len":8192,"tokens":[{"id":198,"piece":[195]},{"id":172,"piece":[169]}]})");
  EXPECT_EQ(served.ask("POST", "/tokenize", R"({"messages":[{"role":"user","content":"a"}]})").body,
            R"({"count":1,"max_model_len":8192,"tokens":[100]})");
  EXPECT_EQ(served.ask("POST", "/detokenize", R"({"tokens":[100,101]})").body, R"({"prompt":"ab","content":"ab"})");
  EXPECT_EQ(served
                .ask("POST", "/apply-template",
                     R"({"messages":[{"role":"developer","content":"s"},{"role":"user","content":"u"}]})")
                .body,
            R"({"prompt":"<system>s<user>u"})");
}

TEST(SystemApi, PassesOnThatNoWorkerGroupIsThere) {
  Served served;
  served.on_loop([&] { served.cluster.state.is_ready = false; });
  EXPECT_EQ(served.ask("POST", "/tokenize", R"({"prompt":"ab"})").status, 503);
}

}  // namespace
}  // namespace rotulus::coordinator
