#include "worker/step_plan.h"

#include <gtest/gtest.h>

namespace rotulus::worker {
namespace {

StepPlan full_plan() {
  StepPlan plan;
  plan.kind = StepPlan::Kind::run;
  plan.step = 41;
  plan.work_seen = 7;
  const ChunkLocation chunk{ObjectId{9}, {{0, protocol::VolumeId{3}}, {128, protocol::VolumeId{4}}}};
  plan.contexts = {{ContextId{1}, 5000, {}, {chunk, {}}}};
  plan.closed_contexts = {ContextId{2}};
  plan.chunks = {{ContextId{1}, 1, chunk}};
  plan.abandoned = {ObjectId{8}};
  plan.answers = {{RequestId{5}, ContextId{1}, 2, {0.5f, 40, 0.9f, 0.05f, 77, 5}}};
  plan.answers[0].attention = {protocol::AttentionMode::retrieval, 512, 256, false, true};
  protocol::AttentionSpec& spec = plan.answers[0].attention;
  spec.landmark = protocol::PageLandmark::bounds;
  spec.vote = protocol::PageVote::sum;
  spec.vote_over = protocol::VoteScope::layer;
  spec.unit = protocol::SelectionUnit::block;
  spec.top_p = 0.5f;
  spec.reselect_every = 4;
  spec.rescan_every = 32;
  spec.candidate_pages = 300;
  spec.scan_share = 0.25f;
  spec.layer_stride = 3;
  spec.select_layers = {0, 2, 13};
  spec.positions = protocol::PositionPolicy::clamped;
  spec.wants_missed_mass = spec.audits = true;
  plan.closed_answers = {RequestId{6}};
  plan.items = {{StepItem::Kind::chunk, ContextId{1}, {}, 4096, {1, 2, 3}, LogitRows::all, 0, 4097},
                {StepItem::Kind::answer, {}, RequestId{5}, 5003, {9}, LogitRows::last, 4, 0}};
  plan.items[1].scored = {9, 11};
  PlanCommit commit;
  commit.record.object = ObjectId{9};
  commit.record.context = ContextId{1};
  commit.record.range = {0, 3};
  commit.record.token_ids = {1, 2, 3};
  commit.record.description.system = "be brief";
  commit.catalogue_sequence = 12;
  plan.commits = {commit};
  return plan;
}

TEST(StepPlan, IsReadBackAsItWasWritten) {
  const StepPlan plan = full_plan();
  EXPECT_EQ(decode_step_plan(encode(plan)), plan);
  EXPECT_EQ(decode_step_plan(encode(StepPlan{})), StepPlan{});
}

TEST(StepPlan, EveryRowIsDealtOnceAndRunsAreEven) {
  for (std::uint32_t size = 1; size <= 7; ++size) {
    for (std::size_t rows = 0; rows < 40; ++rows) {
      std::size_t next = 0;
      for (std::uint32_t rank = 0; rank < size; ++rank) {
        const RowRun run = rows_of_rank(rows, rank, size);
        ASSERT_EQ(run.begin, next);
        ASSERT_LE(run.count(), rows / size + 1);
        next = run.end;
      }
      ASSERT_EQ(next, rows);
    }
  }
}

TEST(StepReport, IsReadBackAsItWasWritten) {
  StepReport report;
  report.failures = {{true, 1, protocol::ErrorCode::storage_full, "disk full", ObjectId{4}}};
  report.samples = {{2, {17, -0.5f, {{17, -0.5f}, {3, -1.25f}}}}};
  report.scores = {{2, {18, -0.25f, {}}}, {2, {19, -2.0f, {}}}};
  report.commits = {{1, {protocol::VolumeId{3}, 99}}};
  report.attention.resize(2);
  report.attention[0].report = {protocol::AttentionMode::retrieval,
                                900,
                                400,
                                3,
                                true,
                                {{{16, 32}, 0.5f}},
                                77,
                                protocol::MissedMass{0.1f, 0.2f, true, 0.3f, 0.4f, true, 0.5f, 0.6f, 0.7f},
                                protocol::PageLandmark::bounds};
  const StepReport read = decode_step_report(encode(report));
  ASSERT_EQ(read.failures.size(), 1u);
  EXPECT_EQ(read.failures[0].message, "disk full");
  EXPECT_EQ(read.failures[0].damaged, ObjectId{4});
  ASSERT_EQ(read.samples.size(), 1u);
  EXPECT_EQ(read.samples[0].token.top, report.samples[0].token.top);
  ASSERT_EQ(read.scores.size(), 2u);
  EXPECT_EQ(read.scores[1].token.token, 19u);
  EXPECT_EQ(read.scores[1].token.logprob, -2.0f);
  ASSERT_EQ(read.commits.size(), 1u);
  EXPECT_EQ(read.commits[0].manifest, report.commits[0].manifest);
  ASSERT_EQ(read.attention.size(), 2u);
  EXPECT_EQ(read.attention[0].report, report.attention[0].report);
  EXPECT_EQ(read.attention[1].report, report.attention[1].report);
}

}  // namespace
}  // namespace rotulus::worker
