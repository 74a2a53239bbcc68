// Named methods: that all of them hold, and that a file which does not is refused by name.
#include "protocol/methods.h"

#include <gtest/gtest.h>

#include "protocol/error.h"

namespace rotulus::protocol {
namespace {

TEST(Methods, AreKnownByNameAndAllHold) {
  ASSERT_GE(methods().size(), 13u);
  for (const Method& method : methods()) {
    EXPECT_NO_THROW(check(method.spec)) << method.name;
    ASSERT_NE(find_method(method.name), nullptr);
    EXPECT_EQ(find_method(method.name)->spec, method.spec);
  }
  EXPECT_EQ(find_method("oracle"), nullptr);
  EXPECT_EQ(default_attention(), AttentionSpec{.reread_tokens = 1024}) << "what is reread is nothing to a worker";
  EXPECT_EQ(find_method("exact")->spec.mode, AttentionMode::exact);
  EXPECT_EQ(find_method("streaming_llm")->spec.budget_tokens, 0u);
  EXPECT_EQ(find_method("quest")->spec.landmark, PageLandmark::bounds);
  EXPECT_EQ(find_method("tidal")->spec.select_layers, (std::vector<std::uint32_t>{0, 2, 13}));
}

TEST(Methods, DifferFromEachOther) {
  for (const Method& a : methods()) {
    for (const Method& b : methods()) EXPECT_TRUE(&a == &b || !(a.spec == b.spec)) << a.name << " " << b.name;
  }
}

TEST(Methods, AreReadStrictly) {
  EXPECT_EQ(parse_method("m", "mode = 'retrieval'\ntop_p = 0.5\nselect_layers = [1, 7]").top_p, 0.5f);
  struct Case {
    const char* text;
    const char* field;
    const char* said;
  };
  const Case cases[] = {
      {"budget = 64", "budget", "a field of `attention`"},
      {"budget_tokens = 24", "budget_tokens", "a multiple of 16"},
      {"budget_tokens = -16", "budget_tokens", "a count"},
      {"budget_tokens = 64.0", "budget_tokens", "a count"},
      {"landmark = 'oracle'", "landmark", "one of sketch, mean, bounds, sketched_bounds, centroid"},
      {"landmark = 1", "landmark", "one of"},
      {"second_pass = 'no'", "second_pass", "true or false"},
      {"top_p = 1", "top_p", "with a point"},
      {"top_p = 0.0", "top_p", "above 0"},
      {"top_p = nan", "top_p", "above 0"},
      {"top_p = 0.5\nunit = 'block'", "top_p", "unit"},
      {"reselect_every = 12", "reselect_every", "a power of two"},
      {"rescan_every = 12", "rescan_every", "a power of two"},
      {"candidate_pages = 0", "candidate_pages", "from 1"},
      {"scan_share = 0.0", "scan_share", "above 0"},
      {"layer_stride = 0", "layer_stride", "from 1"},
      {"select_layers = [3, 3]", "select_layers", "ascending"},
      {"select_layers = [3, 'x']", "select_layers", "a count"},
      {"positions = ", "", "line 1"},
  };
  for (const Case& given : cases) {
    try {
      parse_method("m", given.text);
      ADD_FAILURE() << given.text << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_EQ(error.param(), given.field) << given.text;
      EXPECT_NE(error.message().find(given.said), std::string::npos) << error.message();
    }
  }
}

TEST(Landmarks, AreWhatAContextKeeps) {
  EXPECT_EQ(landmark_of(PageLandmark::bounds, kDefaultLandmarks), PageLandmark::sketched_bounds);
  for (const auto landmark : {PageLandmark::sketch, PageLandmark::mean, PageLandmark::sketched_bounds}) {
    EXPECT_EQ(landmark_of(landmark, kKnownLandmarks), landmark);
    EXPECT_EQ(landmark_of(landmark, kKeepsBounds), std::nullopt);
  }
  EXPECT_EQ(landmark_of(PageLandmark::bounds, kKnownLandmarks), PageLandmark::bounds);
  EXPECT_EQ(landmark_of(PageLandmark::bounds, kKeepsBounds), PageLandmark::bounds);
  EXPECT_EQ(landmark_of(PageLandmark::centroid, kKeepsCentroids), PageLandmark::centroid);
  EXPECT_EQ(landmark_of(PageLandmark::centroid, kDefaultLandmarks), PageLandmark::mean);
  EXPECT_EQ(landmark_of(PageLandmark::centroid, kKeepsBounds), std::nullopt);
}

}  // namespace
}  // namespace rotulus::protocol
