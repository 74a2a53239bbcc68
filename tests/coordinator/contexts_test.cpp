// The lives of contexts, with a worker group that works, stalls, damages and dies on request (fake_worker_group.h).
#include "coordinator/catalogue_records.h"
#include "tests/coordinator/coordinator_test.h"

namespace rotulus::coordinator::testing {
namespace {

using protocol::ErrorCode;

// Bytes are tokens: two chunks and a bit less than the window.
std::string document(std::size_t bytes = 6000) {
  std::string text(bytes, ' ');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('a' + i * i % 26);
  return text;
}

class ContextsTest : public CoordinatorTest {
 protected:
  static protocol::ContextDescription raw(protocol::AttentionMode attention) {
    protocol::ContextDescription description;
    description.frame = protocol::Frame::raw;
    description.attention = attention;
    return description;
  }
  // Without a frame around it, unless the test is about that.
  static ContextId submit(RunningCoordinator& coordinator, const std::string& text,
                          protocol::Frame frame = protocol::Frame::raw, SpoolKind kind = SpoolKind::text) {
    protocol::ContextDescription description;
    description.frame = frame;
    return coordinator.submit(text, description, kind);
  }
  std::size_t objects_on_disk() {
    const std::lock_guard lock(disk_.mutex);
    return disk_.volumes[protocol::VolumeId{11}].objects.size();
  }
  std::size_t spool_files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(directory_.path() / "spool"), {}));
  }
};

TEST_F(ContextsTest, TakesADocumentFromTheSpoolToCompletion) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, document());
  const ContextView view = coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_EQ(view.progress.total, 6000u);
  EXPECT_EQ(view.progress.processed, 6000u);
  EXPECT_EQ(view.progress.committed, 6000u);
  EXPECT_EQ(view.chunks_committed, 2u);
  EXPECT_EQ(view.kv_bytes, 6'000'000u);
  EXPECT_EQ(view.parameters.kv_type, "f16");
  EXPECT_EQ(view.description.token_count, 6000u);
  EXPECT_EQ(group->counts().tokens_computed, 6000u);
  EXPECT_EQ(group->counts().tokens_recomputed, 0u);
  EXPECT_EQ(spool_files(), 1u);  // its text stays with it
  ASSERT_FALSE(coordinator.erase(id));
  EXPECT_TRUE(eventually([&] { return spool_files() == 0; }));
}

TEST_F(ContextsTest, AcceptsDocumentsWhileNoWorkerIsThere) {
  RunningCoordinator coordinator(directory_.path());
  const ContextId id = submit(coordinator, document());
  EXPECT_EQ(coordinator.find(id)->status, ContextStatus::queued);
  const auto group = start_group(coordinator);
  coordinator.wait_for(id, ContextStatus::completed);
}

TEST_F(ContextsTest, PutsTheFramesOpeningBeforeTheDocument) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  EXPECT_EQ(
      coordinator.wait_for(submit(coordinator, "abc", protocol::Frame::chat), ContextStatus::completed).progress.total,
      5u);
  EXPECT_EQ(
      coordinator.wait_for(submit(coordinator, "abc", protocol::Frame::raw), ContextStatus::completed).progress.total,
      3u);
}

TEST_F(ContextsTest, ReadsTokenIdsAsTheyAre) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, records::token_ids_value(std::vector<protocol::TokenId>{5, 255, 0}),
                              protocol::Frame::raw, SpoolKind::token_ids);
  EXPECT_EQ(coordinator.wait_for(id, ContextStatus::completed).progress.total, 3u);
  EXPECT_EQ(disk_.volumes[protocol::VolumeId{11}].objects.begin()->second.manifest.token_ids,
            (std::vector<protocol::TokenId>{5, 255, 0}));
}

TEST_F(ContextsTest, FailsTokenIdsOutsideTheVocabularyByIndex) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, records::token_ids_value(std::vector<protocol::TokenId>{5, 256}),
                              protocol::Frame::raw, SpoolKind::token_ids);
  const ContextView view = coordinator.wait_for(id, ContextStatus::failed);
  EXPECT_EQ(view.last_error->code(), ErrorCode::invalid_argument);
  EXPECT_NE(view.last_error->message().find("index 1"), std::string::npos) << view.last_error->message();
}

TEST_F(ContextsTest, FailsAnEmptyDocument) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  for (const auto frame : {protocol::Frame::raw, protocol::Frame::chat}) {
    EXPECT_EQ(coordinator.wait_for(submit(coordinator, "", frame), ContextStatus::failed).last_error->code(),
              ErrorCode::invalid_argument);
  }
}

constexpr protocol::RetrievalParameters kRetrieval{protocol::kLandmarkVersion, 8192, 2048};

TEST_F(ContextsTest, KeepsLandmarksOfADocumentBeyondTheWindow) {
  ContextId id;
  {
    RunningCoordinator coordinator(directory_.path());
    const auto group = start_group(coordinator);
    id = submit(coordinator, document(20'000));
    const ContextView view = coordinator.wait_for(id, ContextStatus::completed);
    EXPECT_EQ(view.progress.committed, 20'000u);
    EXPECT_EQ(view.parameters.retrieval, kRetrieval);
    EXPECT_EQ(view.kv_bytes, 22'000'000u);
    EXPECT_EQ(group->counts().last_opened->parameters.retrieval, kRetrieval);
  }
  RunningCoordinator coordinator(directory_.path());
  EXPECT_EQ(coordinator.find(id)->parameters.retrieval, kRetrieval);
}

TEST_F(ContextsTest, KeepsLandmarksWithinTheWindowWhereTheyAreAskedFor) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId plain = coordinator.submit(document(), raw(protocol::AttentionMode::automatic));
  const ContextId asked = coordinator.submit(document(), raw(protocol::AttentionMode::retrieval));
  EXPECT_EQ(coordinator.wait_for(plain, ContextStatus::completed).parameters.retrieval.landmark_version, 0u);
  EXPECT_EQ(coordinator.wait_for(asked, ContextStatus::completed).parameters.retrieval, kRetrieval);
}

// Far more than the volumes hold: only so much of it is read as is needed to know.
TEST_F(ContextsTest, FailsADocumentThatNoVolumeCanHoldAsSoonAsThatIsCertain) {
  disk_.volumes[protocol::VolumeId{11}].bytes_free = 50'000'000;
  disk_.volumes[protocol::VolumeId{12}].bytes_free = 50'000'000;
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextView view = coordinator.wait_for(submit(coordinator, document(5u << 20)), ContextStatus::failed);
  EXPECT_EQ(view.last_error->code(), ErrorCode::storage_full);
  EXPECT_NE(view.last_error->message().find("100000000 bytes free"), std::string::npos) << view.last_error->message();
  EXPECT_NE(view.last_error->message().find("delete contexts"), std::string::npos) << view.last_error->message();
  EXPECT_EQ(group->counts().bytes_tokenized, protocol::kTokenizePieceBytes);
  EXPECT_EQ(group->counts().chunks_asked, 0u);
  EXPECT_TRUE(eventually([&] { return spool_files() == 0; }));
}

// What was asked for is durable before the tokens are counted.
TEST_F(ContextsTest, KeepsToTheAttentionAskedForAfterARestart) {
  ContextId id;
  {
    RunningCoordinator coordinator(directory_.path());
    id = coordinator.submit(document(9000), raw(protocol::AttentionMode::exact));
  }
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextView view = coordinator.wait_for(id, ContextStatus::failed);
  EXPECT_EQ(view.last_error->code(), ErrorCode::context_length_exceeded);
}

TEST_F(ContextsTest, EstimatesWithoutDoingAnything) {
  RunningCoordinator coordinator(directory_.path());
  const auto estimate = [&](std::uint64_t tokens, protocol::AttentionMode asked) {
    return coordinator.on_loop([&](auto& self) { return self.contexts->estimate(tokens, {asked}); });
  };
  EXPECT_THROW(estimate(1, protocol::AttentionMode::automatic), protocol::Error);
  const auto group = start_group(coordinator);
  coordinator.wait_until_ready();
  const ContextEstimate longer = estimate(20'000, protocol::AttentionMode::automatic);
  EXPECT_EQ(longer.retrieval, kRetrieval);
  EXPECT_EQ(longer.disk_bytes, 22'000'000u);
  EXPECT_EQ(longer.disk_bytes_free, 2ull << 40);
  EXPECT_FALSE(longer.obstacle);
  EXPECT_FALSE(longer.seconds);
  EXPECT_EQ(estimate(20'000, protocol::AttentionMode::exact).obstacle->code(), ErrorCode::context_length_exceeded);
  EXPECT_EQ(estimate(1ull << 40, protocol::AttentionMode::automatic).obstacle->code(), ErrorCode::storage_full);
  EXPECT_EQ(group->counts().work_received, 0u);
  coordinator.wait_for(submit(coordinator, document()), ContextStatus::completed);
  EXPECT_GT(estimate(20'000, protocol::AttentionMode::automatic).seconds.value_or(0), 0);
}

// Exact attention far beyond the window: only so much of it is read as is needed to know.
TEST_F(ContextsTest, FailsAnExactDocumentBeyondTheWindowAsSoonAsThatIsCertain) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = coordinator.submit(document(5u << 20), raw(protocol::AttentionMode::exact));
  const ContextView view = coordinator.wait_for(id, ContextStatus::failed);
  EXPECT_EQ(view.last_error->code(), ErrorCode::context_length_exceeded);
  EXPECT_NE(view.last_error->message().find("8192"), std::string::npos);
  EXPECT_EQ(group->counts().bytes_tokenized, protocol::kTokenizePieceBytes);
  EXPECT_EQ(group->counts().chunks_asked, 0u);
  EXPECT_TRUE(eventually([&] { return spool_files() == 0; }));
}

TEST_F(ContextsTest, CountsADiskOnceThatVolumesShare) {
  for (const std::uint64_t volume : {11, 12}) {
    disk_.volumes[protocol::VolumeId{volume}].bytes_free = 5'000'000;
    disk_.volumes[protocol::VolumeId{volume}].disk = 7;
  }
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  coordinator.wait_until_ready();
  const ContextEstimate estimate = coordinator.on_loop([](auto& self) { return self.contexts->estimate(100, {}); });
  EXPECT_EQ(estimate.disk_bytes_free, 5'000'000u);
}

TEST_F(ContextsTest, FailsWhatDoesNotFitTheDisksBeforeComputing) {
  disk_.volumes[protocol::VolumeId{11}].bytes_free = 1'000'000;
  disk_.volumes[protocol::VolumeId{12}].bytes_free = 2'000'000;
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextView view = coordinator.wait_for(submit(coordinator, document()), ContextStatus::failed);
  EXPECT_EQ(view.last_error->code(), ErrorCode::storage_full);
  EXPECT_NE(view.last_error->message().find("3000000"), std::string::npos) << view.last_error->message();
  EXPECT_EQ(group->counts().chunks_asked, 0u);
}

TEST_F(ContextsTest, GoesOnFromTheLastCommittedChunkWhenTheGroupIsLost) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator, {.stall_computing_at = 5120});
  const ContextId id = submit(coordinator, document());
  ASSERT_TRUE(eventually([&] { return coordinator.find(id)->progress.processed == 5120; }));
  EXPECT_EQ(coordinator.find(id)->progress.committed, 4096u);
  coordinator.lose(*group);
  EXPECT_TRUE(eventually([&] { return coordinator.find(id)->progress.processed == 4096; }));
  group = start_group(coordinator);
  coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_EQ(group->counts().tokens_computed, 6000u - 4096u);
  EXPECT_EQ(group->counts().tokens_recomputed, 5120u - 4096u);
  EXPECT_TRUE(eventually(
      [&] { return coordinator.metrics().find("rotulus_recomputed_tokens_total 1024") != std::string::npos; }));
}

TEST_F(ContextsTest, GoesOnFromTheLastCommittedChunkWhenTheCoordinatorIsStartedAgain) {
  ContextId id;
  {
    RunningCoordinator coordinator(directory_.path());
    const auto group = start_group(coordinator, {.stall_computing_at = 5120});
    id = submit(coordinator, document());
    ASSERT_TRUE(eventually([&] { return coordinator.find(id)->progress.processed == 5120; }));
  }
  RunningCoordinator coordinator(directory_.path());
  EXPECT_EQ(coordinator.find(id)->status, ContextStatus::in_progress);
  const auto group = start_group(coordinator);
  coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_EQ(group->counts().tokens_computed, 6000u - 4096u);
  EXPECT_EQ(group->counts().tokens_recomputed, 5120u - 4096u);
}

TEST_F(ContextsTest, ComputesNothingAgainAfterARestart) {
  ContextId id;
  {
    RunningCoordinator coordinator(directory_.path());
    const auto group = start_group(coordinator);
    id = submit(coordinator, document());
    coordinator.wait_for(id, ContextStatus::completed);
  }
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  coordinator.wait_until_ready();
  const ContextView view = *coordinator.find(id);
  EXPECT_EQ(view.status, ContextStatus::completed);
  EXPECT_EQ(view.progress.committed, 6000u);
  EXPECT_EQ(group->counts().chunks_asked, 0u);
  EXPECT_NE(coordinator.metrics().find("rotulus_recomputed_tokens_total 0"), std::string::npos);
}

TEST_F(ContextsTest, TokenizesAgainWhatWasNotTokenizedWhenTheProcessEnded) {
  ContextId id;
  {
    RunningCoordinator coordinator(directory_.path());
    id = submit(coordinator, document());
  }
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  coordinator.wait_for(id, ContextStatus::completed);
}

TEST_F(ContextsTest, ComputesOnlyTheChunkThatAVolumeHasLost) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, document());
  coordinator.wait_for(id, ContextStatus::completed);
  coordinator.lose(*group);
  {
    const std::lock_guard lock(disk_.mutex);
    auto& objects = disk_.volumes[protocol::VolumeId{12}].objects;
    objects.erase(objects.begin());
  }
  group = start_group(coordinator);
  ASSERT_TRUE(eventually([&] { return group->counts().tokens_computed == 4096; }));
  const ContextView view = coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_EQ(view.chunks_repaired, 1u);
  EXPECT_EQ(group->counts().tokens_recomputed, 4096u);
}

TEST_F(ContextsTest, VerifiesEveryPartOfEveryChunkAndHasTheDamagedComputedAgain) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, document());
  coordinator.wait_for(id, ContextStatus::completed);
  std::size_t parts = 0;
  {
    const std::lock_guard lock(disk_.mutex);
    for (auto& [volume, held] : disk_.volumes) parts += held.objects.size();
    disk_.volumes[protocol::VolumeId{12}].objects.rbegin()->second.is_damaged = true;
  }
  const auto pass = [&] {
    coordinator.on_loop([&](auto& c) { return c.contexts->verify(id).id; });
    VerificationView seen;
    EXPECT_TRUE(eventually([&] {
      seen = coordinator.find(id)->verification.value();
      return !seen.is_running && !seen.is_mending;
    }));
    return seen;
  };
  const VerificationView first = pass();
  EXPECT_EQ(first.blocks_verified, parts - 1);
  EXPECT_EQ(first.blocks_damaged, 1u);
  EXPECT_EQ(first.chunks_damaged, 1u);
  EXPECT_EQ(coordinator.find(id)->chunks_repaired, 1u);
  const VerificationView second = pass();
  EXPECT_EQ(second.blocks_verified, parts);
  EXPECT_EQ(second.blocks_damaged, 0u);
}

TEST_F(ContextsTest, VerifiesOnWhenTheGroupIsLostAndSaysWhichVolumeIsAbsent) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, document());
  coordinator.wait_for(id, ContextStatus::completed);
  coordinator.lose(*group);
  coordinator.on_loop([&](auto& c) { return c.contexts->verify(id).id; });
  EXPECT_TRUE(coordinator.find(id)->verification->is_running);
  FakeGroupOptions options;
  options.volumes = {{11}};
  group = start_group(coordinator, {}, options);
  ASSERT_TRUE(eventually([&] { return !coordinator.find(id)->verification->is_running; }));
  const auto error = coordinator.find(id)->verification->error;
  ASSERT_TRUE(error.has_value());
  EXPECT_NE(error->message().find(fmt::format("{}", protocol::VolumeId{12})), std::string::npos) << error->message();
}

TEST_F(ContextsTest, TriesAFailedChunkAgainButNotForEver) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.fail_chunks = ErrorCode::internal});
  const ContextView view = coordinator.wait_for(submit(coordinator, document()), ContextStatus::failed);
  EXPECT_EQ(view.last_error->code(), ErrorCode::internal);
  EXPECT_EQ(group->counts().chunks_asked, 3u);
}

TEST_F(ContextsTest, FailsAtOnceWhenTheWorkersDiskIsFull) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.fail_chunks = ErrorCode::storage_full});
  const ContextView view = coordinator.wait_for(submit(coordinator, document()), ContextStatus::failed);
  EXPECT_EQ(view.last_error->code(), ErrorCode::storage_full);
  EXPECT_EQ(group->counts().chunks_asked, 1u);
}

TEST_F(ContextsTest, WaitsForTheNextGroupWhenAVolumeIsAbsent) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator, {.fail_chunks = ErrorCode::unavailable});
  const ContextId id = submit(coordinator, document());
  ASSERT_TRUE(eventually([&] { return coordinator.find(id)->last_error.has_value(); }));
  EXPECT_EQ(coordinator.find(id)->status, ContextStatus::in_progress);
  coordinator.lose(*group);
  group = start_group(coordinator);
  EXPECT_FALSE(coordinator.wait_for(id, ContextStatus::completed).last_error);
}

TEST_F(ContextsTest, LeavesAContextAsItIsWhileItsVolumeIsAbsentAndServesTheRest) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, document());
  coordinator.wait_for(id, ContextStatus::completed);
  coordinator.lose(*group);
  FakeGroupOptions one_rank;
  one_rank.size = 1;
  one_rank.volumes = {protocol::VolumeId{11}};
  group = start_group(coordinator, {}, one_rank);
  // The group before may still count as ready: its loss and the new one's hello are on their way.
  ASSERT_TRUE(eventually([&] { return !coordinator.find(id)->absent_volumes.empty(); }));
  const ContextView view = *coordinator.find(id);
  EXPECT_EQ(view.status, ContextStatus::completed);
  EXPECT_EQ(view.absent_volumes, std::vector<std::string>{fmt::format("{}", protocol::VolumeId{12})});
  coordinator.wait_for(submit(coordinator, "another"), ContextStatus::completed);
  EXPECT_EQ(group->counts().tokens_recomputed, 0u);
}

TEST_F(ContextsTest, NamesTheFieldInWhichTheWorkersDiffer) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, document());
  coordinator.wait_for(id, ContextStatus::completed);
  coordinator.lose(*group);
  FakeGroupOptions other;
  other.parameters.kv_type = "f32";
  group = start_group(coordinator, {}, other);
  coordinator.wait_until_ready();
  const auto record = coordinator.ask({.context = id, .prompt = std::vector<protocol::TokenId>{1}, .max_tokens = 1});
  ASSERT_TRUE(eventually([&] { return record->is_ended(); }));
  EXPECT_EQ(record->failed->code(), ErrorCode::conflict);
  EXPECT_EQ(record->failed->param(), "kv_type");
}

TEST_F(ContextsTest, SaysWhenTheNumericsAreOthersAndServesAllTheSame) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, document());
  EXPECT_FALSE(coordinator.wait_for(id, ContextStatus::completed).numerics_changed);
  coordinator.lose(*group);
  FakeGroupOptions other;
  other.parameters.numerics_id = "fake-2";
  group = start_group(coordinator, {}, other);
  coordinator.wait_until_ready();
  EXPECT_TRUE(coordinator.find(id)->numerics_changed);
}

TEST_F(ContextsTest, StopsComputingWhenItIsCancelled) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_computing_at = 1024});
  const ContextId id = submit(coordinator, document());
  ASSERT_TRUE(eventually([&] { return coordinator.find(id)->progress.processed == 1024; }));
  EXPECT_EQ(coordinator.on_loop([&](auto& self) { return self.contexts->cancel(id).status; }),
            ContextStatus::cancelled);
  coordinator.wait_for(id, ContextStatus::cancelled);
  const ContextId next = submit(coordinator, "next");
  coordinator.wait_for(next, ContextStatus::completed);
  EXPECT_EQ(group->counts().tokens_computed, 1024u + 4u);
}

TEST_F(ContextsTest, ErasesItsBytesFromTheVolumes) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, document());
  const ContextId kept = submit(coordinator, document(100));
  coordinator.wait_for(id, ContextStatus::completed);
  coordinator.wait_for(kept, ContextStatus::completed);
  EXPECT_EQ(objects_on_disk(), 3u);
  EXPECT_FALSE(coordinator.erase(id));
  EXPECT_FALSE(coordinator.find(id));
  EXPECT_TRUE(eventually([&] { return objects_on_disk() == 1; }));
  EXPECT_EQ(coordinator.erase(id)->code(), ErrorCode::not_found);
}

TEST_F(ContextsTest, ErasesFromTheVolumesLaterWhatWasErasedWithoutWorkers) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, document());
  coordinator.wait_for(id, ContextStatus::completed);
  coordinator.lose(*group);
  EXPECT_FALSE(coordinator.erase(id));
  EXPECT_EQ(objects_on_disk(), 2u);
  group = start_group(coordinator);
  EXPECT_TRUE(eventually([&] { return objects_on_disk() == 0; }));
}

TEST_F(ContextsTest, ListsTheNewestFirstPageByPage) {
  RunningCoordinator coordinator(directory_.path());
  std::vector<ContextId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(submit(coordinator, "text"));
  const auto first = coordinator.on_loop([&](auto& self) { return self.contexts->list(std::nullopt, 3); });
  ASSERT_EQ(first.size(), 3u);
  EXPECT_EQ(first[0].id, ids[4]);
  const auto rest = coordinator.on_loop([&](auto& self) { return self.contexts->list(first[2].id, 10); });
  ASSERT_EQ(rest.size(), 2u);
  EXPECT_EQ(rest[1].id, ids[0]);
}

TEST_F(ContextsTest, ForgetsAContextAfterItsTimeToLiveUnlessItIsPinned) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId brief = coordinator.submit("brief", {}, SpoolKind::text, std::chrono::seconds(60));
  const ContextId kept = coordinator.submit("kept", {}, SpoolKind::text, std::chrono::seconds(60));
  const ContextId endless = coordinator.submit("endless");
  for (const ContextId id : {brief, kept, endless}) coordinator.wait_for(id, ContextStatus::completed);
  std::promise<std::optional<protocol::Error>> pinned;
  coordinator.on_loop([&](auto& self) {
    self.contexts->pin(kept, [&](const auto& error, const ContextView& view) {
      EXPECT_EQ(view.description.expires_at_unix_ms, 0);
      pinned.set_value(error);
    });
  });
  EXPECT_FALSE(pinned.get_future().get());
  const auto expire_after = [&](std::chrono::seconds time) {
    coordinator.clock().advance(time);
    coordinator.on_loop([](auto& self) { self.contexts->expire(); });
  };
  expire_after(std::chrono::seconds(1));
  EXPECT_TRUE(coordinator.find(brief));
  expire_after(std::chrono::seconds(60));
  EXPECT_TRUE(eventually([&] { return !coordinator.find(brief); }));
  EXPECT_TRUE(coordinator.find(kept));
  EXPECT_TRUE(coordinator.find(endless));
}

TEST_F(ContextsTest, TellsASubscriberOfEveryChangeInOrder) {
  RunningCoordinator coordinator(directory_.path());
  std::mutex mutex;
  std::vector<ContextEvent> events;
  const ContextId id = submit(coordinator, document());
  auto subscription = coordinator.on_loop([&](auto& self) {
    return self.contexts->subscribe(id, [&](const ContextEvent& event) {
      const std::lock_guard lock(mutex);
      events.push_back(event);
    });
  });
  const auto group = start_group(coordinator);
  coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_FALSE(coordinator.erase(id));
  coordinator.on_loop([&](auto&) { subscription.reset(); });
  ASSERT_GE(events.size(), 4u);
  EXPECT_EQ(events.front().view.status, ContextStatus::queued);
  for (std::size_t i = 1; i < events.size(); ++i) EXPECT_EQ(events[i].sequence, events[i - 1].sequence + 1);
  EXPECT_EQ(events.back().view.last_error->code(), ErrorCode::not_found);
  EXPECT_EQ(events[events.size() - 2].view.status, ContextStatus::completed);
}

TEST_F(ContextsTest, ComputesInTheOrderOfArrivalWithRepairsFirst) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId damaged = submit(coordinator, document(100));
  coordinator.wait_for(damaged, ContextStatus::completed);
  coordinator.lose(*group);
  disk_.volumes[protocol::VolumeId{11}].objects.clear();
  group = start_group(coordinator, {.stall_computing_at = 0});
  const ContextId second = submit(coordinator, document(5000));
  const ContextId third = submit(coordinator, document(50));
  ASSERT_TRUE(eventually([&] { return coordinator.find(third)->status == ContextStatus::in_progress; }));
  group->order({});
  coordinator.wait_for(third, ContextStatus::completed);
  EXPECT_EQ(group->counts().compute_order, (std::vector<ContextId>{damaged, second, second, third}));
}

TEST_F(ContextsTest, StopsAtTheLastCommittedChunkWhenItIsDrained) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_computing_at = 5120});
  const ContextId id = submit(coordinator, document());
  ASSERT_TRUE(eventually([&] { return coordinator.find(id)->progress.processed == 5120; }));
  coordinator.on_loop([](auto& self) { self.contexts->drain(); });
  group->order({});
  EXPECT_EQ(coordinator.find(id)->status, ContextStatus::in_progress);
  EXPECT_EQ(coordinator.find(id)->progress.committed, 4096u);
  EXPECT_THROW(submit(coordinator, "too late"), protocol::Error);
}

}  // namespace
}  // namespace rotulus::coordinator::testing
