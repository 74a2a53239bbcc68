// The sequencer alone: messages in, plans out, made-up reports back. No model runs.
#include "worker/scheduler.h"

#include <gtest/gtest.h>

#include "tests/support/model_file.h"
#include "worker/model/gguf_file.h"

namespace rotulus::worker {
namespace {

using protocol::ChunkCommitted;
using protocol::ChunkDamaged;
using protocol::ChunkProgress;
using protocol::ErrorCode;
using protocol::VolumeId;

class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest()
      : file_(GgufFile::open(rotulus::testing::model_file())),
        tokenizer_(file_),
        scheduler_({.rank_count = 2,
                    .context_length = 8192,
                    .vocabulary = tokenizer_.vocabulary_size(),
                    .step_tokens = 256,
                    .holders = {{VolumeId{1}, 0}, {VolumeId{2}, 1}},
                    .store = {}},
                   tokenizer_, [this](protocol::Message message) { events_.push_back(std::move(message)); }) {}

  void open(std::uint64_t id, std::size_t tokens, std::vector<protocol::ObjectRecord> chunks = {}) {
    protocol::OpenContext open;
    open.context = ContextId{id};
    open.description.token_count = tokens;
    open.chunks = std::move(chunks);
    open.chunks.resize(protocol::chunk_count(tokens));
    scheduler_.accept(open);
    scheduler_.accept(protocol::ContextTokens{ContextId{id}, 0, std::vector<TokenId>(tokens, 300)});
  }
  void open_complete(std::uint64_t id, std::size_t tokens) {
    std::vector<protocol::ObjectRecord> chunks;
    for (std::uint64_t i = 0; i < protocol::chunk_count(tokens); ++i) {
      chunks.push_back({ObjectId{900 + i}, {{0, VolumeId{1}}, {128, VolumeId{2}}}, {}});
    }
    open(id, tokens, chunks);
  }
  protocol::StartAnswer question(std::uint64_t request, std::uint64_t context, std::uint32_t max_tokens) {
    protocol::StartAnswer start;
    start.request = RequestId{request};
    start.context = ContextId{context};
    start.question = {301, 302, 303};
    start.max_tokens = max_tokens;
    return start;
  }
  // Both ranks did what the plan says; answers draw `token`.
  void succeed(const StepPlan& plan, TokenId token = 400) {
    std::vector<StepReport> reports(2);
    for (std::uint32_t i = 0; i < plan.items.size(); ++i) {
      if (plan.items[i].logits == LogitRows::last) reports[0].samples.push_back({i, {token, -0.5f, {}}});
    }
    for (std::uint32_t i = 0; i < plan.commits.size(); ++i) {
      reports[0].commits.push_back({i, {VolumeId{1}, 11}});
      reports[1].commits.push_back({i, {VolumeId{2}, 22}});
    }
    scheduler_.absorb(plan, reports, 0.1);
  }
  template <typename T>
  std::vector<T> take() {
    std::vector<T> found;
    for (const auto& event : events_) {
      if (const T* message = std::get_if<T>(&event)) found.push_back(*message);
    }
    std::erase_if(events_, [](const auto& event) { return std::holds_alternative<T>(event); });
    return found;
  }

  GgufFile file_;
  Tokenizer tokenizer_;
  std::vector<protocol::Message> events_;
  Scheduler scheduler_;
};

TEST_F(SchedulerTest, CommitsAListingOnAllVolumes) {
  protocol::ManifestRecord record{.object = ObjectId{7}, .context = ContextId{1}};
  record.objects = {ObjectId{3}, ObjectId{4}};
  scheduler_.accept(protocol::CommitListing{record, 17});
  const StepPlan plan = scheduler_.next_plan();
  ASSERT_EQ(plan.commits.size(), 1u);
  EXPECT_EQ(plan.commits[0].catalogue_sequence, 17u);
  EXPECT_EQ(plan.commits[0].record.objects, record.objects);
  EXPECT_EQ(plan.commits[0].record.placement.size(), 2u);
  succeed(plan);
  const auto said = take<protocol::ListingCommitted>();
  ASSERT_EQ(said.size(), 1u);
  EXPECT_FALSE(said[0].error);
  EXPECT_EQ(said[0].record.object, ObjectId{7});
  EXPECT_EQ(said[0].record.manifests.size(), 2u);

  scheduler_.accept(protocol::CommitListing{record, 18});
  const StepPlan next = scheduler_.next_plan();
  std::vector<StepReport> reports(2);
  reports[0].commits.push_back({0, {VolumeId{1}, 11}});
  reports[1].failures.push_back({true, 0, ErrorCode::storage_full, "full", {}});
  scheduler_.absorb(next, reports, 0.1);
  const auto failed = take<protocol::ListingCommitted>();
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].error, ErrorCode::storage_full);
  EXPECT_EQ(failed[0].record.object, ObjectId{7});
  EXPECT_EQ(scheduler_.next_plan().kind, StepPlan::Kind::park);
}

TEST_F(SchedulerTest, ParksWhenThereIsNothingToDo) {
  EXPECT_EQ(scheduler_.next_plan().kind, StepPlan::Kind::park);
}

// A plan closes before it changes: nothing in it may name what it closes.
TEST_F(SchedulerTest, NamesAClosedContextNoMore) {
  open(1, 600);
  scheduler_.accept(protocol::ComputeChunk{ContextId{1}, 0, ObjectId{5}, 0, 17});
  succeed(scheduler_.next_plan());
  open(2, 100);
  scheduler_.accept(protocol::CloseContext{ContextId{1}});
  scheduler_.accept(protocol::CloseContext{ContextId{2}});
  const StepPlan plan = scheduler_.next_plan();
  EXPECT_EQ(plan.closed_contexts, (std::vector<ContextId>{ContextId{1}, ContextId{2}}));
  EXPECT_EQ(plan.abandoned, std::vector<ObjectId>{ObjectId{5}});
  EXPECT_TRUE(plan.chunks.empty());
  EXPECT_TRUE(plan.contexts.empty());
}

TEST_F(SchedulerTest, RunsAQuestionAndThatIsAllWhereNoTokenIsAskedFor) {
  open_complete(1, 600);
  scheduler_.accept(question(9, 1, 0));
  const StepPlan plan = scheduler_.next_plan();
  ASSERT_EQ(plan.items.size(), 1u);
  EXPECT_TRUE(plan.items[0].ends_question);
  EXPECT_EQ(plan.items[0].logits, LogitRows::none);
  succeed(plan);
  const auto finished = take<protocol::AnswerFinished>();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].completion_tokens, 0u);
  EXPECT_EQ(finished[0].reason, protocol::FinishReason::length);
  EXPECT_TRUE(take<protocol::AnswerToken>().empty());
}

TEST_F(SchedulerTest, ComputesAChunkInStepsAndCommitsItAfterwards) {
  open(1, 600);
  scheduler_.accept(protocol::ComputeChunk{ContextId{1}, 0, ObjectId{5}, 300, 17});
  std::uint64_t next = 0;
  for (const std::size_t rows : {256u, 256u, 88u}) {
    const StepPlan plan = scheduler_.next_plan();
    ASSERT_EQ(plan.items.size(), 1u);
    EXPECT_EQ(plan.items[0].first_position, next);
    EXPECT_EQ(plan.items[0].tokens.size(), rows);
    EXPECT_EQ(plan.items[0].computed_before, 300u);
    EXPECT_TRUE(plan.commits.empty());
    next += rows;
    succeed(plan);
    EXPECT_EQ(take<ChunkProgress>().back().processed, next);
  }
  const StepPlan commit = scheduler_.next_plan();
  ASSERT_EQ(commit.commits.size(), 1u);
  EXPECT_TRUE(commit.items.empty());
  EXPECT_EQ(commit.commits[0].record.object, ObjectId{5});
  EXPECT_EQ(commit.commits[0].record.range, (protocol::TokenRange{0, 600}));
  EXPECT_EQ(commit.commits[0].record.token_ids.size(), 600u);
  EXPECT_EQ(commit.commits[0].catalogue_sequence, 17u);
  EXPECT_TRUE(take<ChunkCommitted>().empty());
  succeed(commit);
  const auto committed = take<ChunkCommitted>();
  ASSERT_EQ(committed.size(), 1u);
  EXPECT_EQ(committed[0].record.manifests.size(), 2u);
  EXPECT_EQ(scheduler_.next_plan().kind, StepPlan::Kind::park);
}

TEST_F(SchedulerTest, AnAnswerGetsATokenInEveryStepWhileADocumentIsRead) {
  open_complete(1, 500);
  open(2, 4000);
  scheduler_.accept(question(7, 1, 100));
  scheduler_.accept(protocol::ComputeChunk{ContextId{2}, 0, ObjectId{5}, 0, 0});
  succeed(scheduler_.next_plan());  // the question
  for (int step = 0; step < 10; ++step) {
    const StepPlan plan = scheduler_.next_plan();
    ASSERT_EQ(plan.items.size(), 2u);
    EXPECT_EQ(plan.items[0].kind, StepItem::Kind::answer);
    EXPECT_EQ(plan.items[1].kind, StepItem::Kind::chunk);
    succeed(plan);
  }
  EXPECT_EQ(take<protocol::AnswerToken>().size(), 11u);
}

TEST_F(SchedulerTest, AReplayedAnswerSaysOnlyWhatIsNew) {
  open_complete(1, 500);
  protocol::StartAnswer start = question(7, 1, 6);
  start.forced = {410, 411, 412};
  scheduler_.accept(start);
  const StepPlan first = scheduler_.next_plan();
  ASSERT_EQ(first.items.size(), 1u);
  EXPECT_EQ(first.items[0].logits, LogitRows::none);
  succeed(first);
  const StepPlan replay = scheduler_.next_plan();
  ASSERT_EQ(replay.items.size(), 1u);
  EXPECT_EQ(replay.items[0].tokens, (std::vector<TokenId>{410, 411, 412}));
  EXPECT_EQ(replay.items[0].sample_index, 3u);
  EXPECT_EQ(replay.items[0].first_position, 503u);
  succeed(replay);
  while (take<protocol::AnswerFinished>().empty()) succeed(scheduler_.next_plan());
  const auto said = take<protocol::AnswerToken>();
  ASSERT_EQ(said.size(), 3u);
  EXPECT_EQ(said.front().index, 3u);
  EXPECT_EQ(said.back().index, 5u);
}

TEST_F(SchedulerTest, EndsAtTheEndOfGenerationTokenWithoutSayingIt) {
  open_complete(1, 500);
  scheduler_.accept(question(7, 1, 100));
  succeed(scheduler_.next_plan(), tokenizer_.eos().value_or(2));
  EXPECT_TRUE(take<protocol::AnswerToken>().empty());
  const auto finished = take<protocol::AnswerFinished>();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].reason, protocol::FinishReason::stop);
}

TEST_F(SchedulerTest, ADamagedBlockIsReportedAndItsAnswersWaitForAReplay) {
  open_complete(1, 5000);
  scheduler_.accept(question(7, 1, 100));
  const StepPlan plan = scheduler_.next_plan();
  std::vector<StepReport> reports(2);
  reports[0].samples.push_back({0, {400, 0, {}}});
  reports[1].failures.push_back({false, 0, ErrorCode::storage_corrupt, "block 33: checksum", ObjectId{901}});
  scheduler_.absorb(plan, reports, 0.1);
  const auto damaged = take<ChunkDamaged>();
  ASSERT_EQ(damaged.size(), 1u);
  EXPECT_EQ(damaged[0].chunk_index, 1u);
  EXPECT_EQ(damaged[0].object, ObjectId{901});
  EXPECT_TRUE(events_.empty());
  EXPECT_EQ(scheduler_.next_plan().closed_answers, std::vector<RequestId>{RequestId{7}});
}

TEST_F(SchedulerTest, AFailedRankFailsTheAttemptAndItsObjectIsAbandoned) {
  open(1, 600);
  scheduler_.accept(protocol::ComputeChunk{ContextId{1}, 0, ObjectId{5}, 0, 0});
  const StepPlan plan = scheduler_.next_plan();
  std::vector<StepReport> reports(2);
  reports[1].failures.push_back({false, 0, ErrorCode::out_of_memory, "no room", {}});
  scheduler_.absorb(plan, reports, 0.1);
  const auto failed = take<protocol::ComputeFailed>();
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].code, ErrorCode::out_of_memory);
  EXPECT_EQ(scheduler_.next_plan().abandoned, std::vector<ObjectId>{ObjectId{5}});
}

TEST_F(SchedulerTest, CancellingStopsAtTheNextStep) {
  open(1, 4000);
  scheduler_.accept(protocol::ComputeChunk{ContextId{1}, 0, ObjectId{5}, 0, 0});
  succeed(scheduler_.next_plan());
  scheduler_.accept(protocol::CancelCompute{ContextId{1}});
  const StepPlan plan = scheduler_.next_plan();
  EXPECT_TRUE(plan.items.empty());
  EXPECT_EQ(plan.abandoned, std::vector<ObjectId>{ObjectId{5}});
}

TEST_F(SchedulerTest, RefusesWhatCannotFitOrIsNotThere) {
  open_complete(1, 8000);
  scheduler_.accept(question(7, 1, 190));
  scheduler_.accept(question(8, 99, 10));
  const auto failed = take<protocol::AnswerFailed>();
  ASSERT_EQ(failed.size(), 2u);
  EXPECT_EQ(failed[0].code, ErrorCode::context_length_exceeded);
  EXPECT_EQ(failed[1].code, ErrorCode::not_found);
}

}  // namespace
}  // namespace rotulus::worker
