// Chunks whose cost is made up by the very formula: the model must find its two numbers again.
#include "coordinator/cost_model.h"

#include <gtest/gtest.h>

namespace rotulus::coordinator {
namespace {

using protocol::RetrievalParameters;
using protocol::TokenRange;

constexpr double kFixed = 1e-3;
constexpr double kPerAttended = 1e-7;
constexpr RetrievalParameters kExact{};
constexpr RetrievalParameters kRetrieval{protocol::kLandmarkVersion, 8192, 2048};

double cost(TokenRange range, const RetrievalParameters& retrieval) {
  double seconds = 0;
  for (std::uint64_t position = range.begin; position < range.end; ++position) {
    const bool is_exact = retrieval.landmark_version == 0 || position < retrieval.exact_tokens;
    seconds += kFixed + kPerAttended * (is_exact ? static_cast<double>(position) + 1 : 128.0 + 2048.0);
  }
  return seconds;
}

TEST(CostModel, KnowsNothingBeforeTheFirstChunk) {
  EXPECT_EQ(CostModel().seconds(1000, kExact), std::nullopt);
}

TEST(CostModel, FindsWhatEachTokenAndEachAttendedTokenCost) {
  CostModel model;
  for (std::uint64_t chunk = 0; chunk < 4; ++chunk) {
    const TokenRange range = protocol::chunk_range(chunk, 14'000);
    model.observe(range, kRetrieval, cost(range, kRetrieval));
  }
  EXPECT_NEAR(*model.seconds(8000, kExact), cost({0, 8000}, kExact), 1e-6);
  EXPECT_NEAR(*model.seconds(100'000, kRetrieval), cost({0, 100'000}, kRetrieval), 1e-4);
}

// One chunk says how long a token takes, and nothing of the slope; noise is not taken for a negative one.
TEST(CostModel, DoesNotGuessASlope) {
  CostModel model;
  model.observe({0, 4096}, kExact, 4.096);
  EXPECT_NEAR(*model.seconds(8192, kExact), 8.192, 1e-9);
  model.observe({4096, 8192}, kExact, 2.048);
  EXPECT_NEAR(*model.seconds(8192, kExact), 6.144, 1e-9);
}

TEST(MeanAttended, CountsExactRowsAndWindows) {
  EXPECT_EQ(mean_attended({0, 4}, kExact), 2.5);
  EXPECT_EQ(mean_attended({8192, 12'288}, kRetrieval), 2176);
  EXPECT_EQ(mean_attended({8191, 8193}, kRetrieval), (8192 + 2176) / 2.0);
}

}  // namespace
}  // namespace rotulus::coordinator
