// Contexts that begin alike list the same objects, with a worker group that counts what it computes and keeps what it
// is told to keep (fake_worker_group.h).
#include <random>

#include "coordinator/prefix_keys.h"
#include "tests/coordinator/coordinator_test.h"

namespace rotulus::coordinator::testing {
namespace {

using protocol::TokenId;

// Bytes are tokens. Two texts of one seed begin alike.
std::string text_of(std::size_t bytes, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string text(bytes, ' ');
  for (char& letter : text) letter = static_cast<char>('a' + random() % 26);
  return text;
}

class SharingTest : public CoordinatorTest {
 protected:
  static ContextId submit(RunningCoordinator& coordinator, const std::string& text,
                          protocol::AttentionMode attention = protocol::AttentionMode::automatic) {
    protocol::ContextDescription description;
    description.frame = protocol::Frame::raw;
    description.attention = attention;
    return coordinator.submit(text, description);
  }
  static std::vector<TokenId> ask(RunningCoordinator& coordinator, ContextId id) {
    const auto record = coordinator.ask({.context = id, .prompt = std::string("?"), .max_tokens = 5});
    EXPECT_TRUE(eventually([&] { return record->is_ended(); }));
    EXPECT_FALSE(record->failed) << record->failed->message();
    return record->tokens_now();
  }
  // On volume 11: of chunks, or of both.
  enum class Kind { chunks, all };
  std::set<protocol::ObjectId> objects(Kind kind = Kind::chunks) {
    const std::lock_guard lock(disk_.mutex);
    std::set<protocol::ObjectId> ids;
    for (const auto& [id, stored] : disk_.volumes[protocol::VolumeId{11}].objects) {
      if (kind == Kind::all || stored.manifest.objects.empty()) ids.insert(id);
    }
    return ids;
  }
};

TEST(PrefixKeys, DependOnAllTokensBeforeAndOnTheParametersButNotOnHowTheyCame) {
  std::vector<TokenId> ids(9000);
  std::mt19937 random(3);
  for (TokenId& id : ids) id = random() % 50'000;
  const auto keys = [](std::span<const TokenId> of, std::size_t piece, const protocol::ContextParameters& parameters) {
    PrefixChain chain;
    for (; !of.empty(); of = of.subspan(std::min(piece, of.size()))) chain.append(of.first(std::min(piece, of.size())));
    return chain.keys(parameters);
  };
  const protocol::ContextParameters parameters{.model_fingerprint = "m", .numerics_id = "n"};
  const auto whole = keys(ids, ids.size(), parameters);
  ASSERT_EQ(whole.size(), 3u);
  EXPECT_EQ(keys(ids, 1000, parameters), whole);
  EXPECT_EQ(keys(std::span(ids).first(8192), 4096, parameters), std::vector(whole.begin(), whole.begin() + 2));

  auto first_changed = ids;
  first_changed[0] ^= 1;
  auto last_changed = ids;
  last_changed.back() ^= 1;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_NE(keys(first_changed, 9000, parameters)[i], whole[i]);
    EXPECT_EQ(keys(last_changed, 9000, parameters)[i] == whole[i], i != 2);
  }
  // A document that ends inside a chunk does not have that chunk's key.
  EXPECT_NE(keys(std::span(ids).first(8191), 9000, parameters)[1], whole[1]);

  std::vector<protocol::ContextParameters> others(6, parameters);
  others[0].model_fingerprint = "o";
  others[1].rope = "other";
  others[2].kv_type = "f32";
  others[3].lane_count = 128;
  others[4].numerics_id = "o";
  others[5].retrieval.exact_tokens = 1;
  for (const auto& other : others) EXPECT_NE(keys(ids, 9000, other)[0], whole[0]);
}

TEST_F(SharingTest, ComputesADocumentOnceThatIsSubmittedTwice) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId first = submit(coordinator, text_of(6000));
  const auto answer = [&] {
    coordinator.wait_for(first, ContextStatus::completed);
    return ask(coordinator, first);
  }();
  const auto stored = objects();
  const ContextId second = submit(coordinator, text_of(6000));
  const ContextView view = coordinator.wait_for(second, ContextStatus::completed);
  EXPECT_EQ(view.shared_tokens, 6000u);
  EXPECT_EQ(view.progress.committed, 6000u);
  EXPECT_EQ(coordinator.find(first)->shared_tokens, 0u);
  EXPECT_EQ(group->counts().tokens_computed, 6000u);
  EXPECT_EQ(objects(), stored);
  EXPECT_EQ(ask(coordinator, second), answer);
  EXPECT_NE(coordinator.metrics().find("rotulus_context_tokens_shared_total 6000"), std::string::npos);
}

TEST_F(SharingTest, SharesWholeChunksOfTwoDocumentsThatBeginAlike) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const std::string longer = text_of(20'000);
  coordinator.wait_for(submit(coordinator, longer), ContextStatus::completed);
  const std::string other = longer.substr(0, 8192) + text_of(9000, 2);
  const ContextView view = coordinator.wait_for(submit(coordinator, other), ContextStatus::completed);
  EXPECT_EQ(view.shared_tokens, 8192u);
  EXPECT_EQ(group->counts().tokens_computed, 20'000u + 9000u);
}

TEST_F(SharingTest, SharesNothingBetweenContextsThatAreComputedInOtherWays) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  coordinator.wait_for(submit(coordinator, text_of(6000)), ContextStatus::completed);
  coordinator.wait_for(submit(coordinator, text_of(6000), protocol::AttentionMode::retrieval),
                       ContextStatus::completed);
  EXPECT_EQ(group->counts().tokens_computed, 12'000u);
  coordinator.lose(*group);
  FakeGroupOptions other;
  other.parameters.numerics_id = "fake-2";
  group = start_group(coordinator, {}, other);
  EXPECT_EQ(coordinator.wait_for(submit(coordinator, text_of(6000)), ContextStatus::completed).shared_tokens, 0u);
}

// The second waits for what the first one has under way, and goes on by itself where that stops.
TEST_F(SharingTest, SharesWhatIsCommittedWhileTheFirstIsStillComputed) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_computing_at = 5120});
  const ContextId first = submit(coordinator, text_of(12'000));
  ASSERT_TRUE(eventually([&] { return coordinator.find(first)->progress.processed == 5120; }));
  const ContextId second = submit(coordinator, text_of(12'000));
  ASSERT_TRUE(eventually([&] { return coordinator.find(second)->progress.committed == 4096; }));
  EXPECT_EQ(coordinator.find(second)->phase, "");
  EXPECT_EQ(group->counts().chunks_asked, 2u);
  coordinator.on_loop([&](auto& self) { return self.contexts->cancel(first); });
  ASSERT_TRUE(eventually([&] { return group->counts().chunks_asked == 3; }));  // it has heard of it
  group->order({});
  const ContextView view = coordinator.wait_for(second, ContextStatus::completed);
  EXPECT_EQ(view.shared_tokens, 4096u);
  EXPECT_EQ(group->counts().tokens_computed, 5120u + (12'000u - 4096u));
}

TEST_F(SharingTest, ComputesEachChunkOnceForTwoDocumentsUnderWay) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_computing_at = 512});
  const ContextId first = submit(coordinator, text_of(12'000));
  const ContextId second = submit(coordinator, text_of(12'000));
  ASSERT_TRUE(eventually([&] { return coordinator.find(second)->progress.total == 12'000; }));
  group->order({});
  coordinator.wait_for(first, ContextStatus::completed);
  coordinator.wait_for(second, ContextStatus::completed);
  EXPECT_EQ(group->counts().tokens_computed, 12'000u);
}

TEST_F(SharingTest, ErasesOnlyWhatNoOtherContextLists) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const std::string longer = text_of(9000);
  const ContextId first = submit(coordinator, longer);
  coordinator.wait_for(first, ContextStatus::completed);
  const ContextId second = submit(coordinator, longer.substr(0, 8192) + text_of(500, 2));
  coordinator.wait_for(second, ContextStatus::completed);
  const auto answer = ask(coordinator, second);
  ASSERT_FALSE(coordinator.erase(first));
  ASSERT_TRUE(eventually([&] { return group->counts().objects_erased > 0; }));
  EXPECT_EQ(ask(coordinator, second), answer);
  ASSERT_FALSE(coordinator.erase(second));
  EXPECT_TRUE(eventually([&] { return objects(Kind::all).empty(); }));
}

TEST_F(SharingTest, ErasesWhatTwoContextsListWhenBothGoAtOnce) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  std::vector<ContextId> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(submit(coordinator, text_of(6000)));
    coordinator.wait_for(ids.back(), ContextStatus::completed);
  }
  coordinator.on_loop([&](auto& self) {
    for (const ContextId id : ids) self.contexts->erase(id, [](const auto&) {});
    return 0;
  });
  EXPECT_TRUE(eventually([&] { return objects(Kind::all).empty(); }));
}

TEST_F(SharingTest, KnowsAfterARestartWhatItHas) {
  std::vector<TokenId> answer;
  ContextId first;
  {
    RunningCoordinator coordinator(directory_.path());
    const auto group = start_group(coordinator);
    first = submit(coordinator, text_of(6000));
    coordinator.wait_for(first, ContextStatus::completed);
    answer = ask(coordinator, first);
  }
  ContextId second;
  {
    RunningCoordinator coordinator(directory_.path());
    const auto group = start_group(coordinator);
    second = submit(coordinator, text_of(6000));
    EXPECT_EQ(coordinator.wait_for(second, ContextStatus::completed).shared_tokens, 6000u);
    ASSERT_FALSE(coordinator.erase(first));
    EXPECT_EQ(group->counts().tokens_computed, 0u);
  }
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  coordinator.wait_until_ready();
  EXPECT_EQ(coordinator.find(second)->shared_tokens, 6000u);
  EXPECT_EQ(ask(coordinator, second), answer);
  EXPECT_EQ(group->counts().tokens_computed, 0u);
}

TEST_F(SharingTest, MendsEveryContextThatListsADamagedObjectByComputingItOnce) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  std::vector<ContextId> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(submit(coordinator, text_of(9000)));
    coordinator.wait_for(ids.back(), ContextStatus::completed);
  }
  const auto answer = ask(coordinator, ids[0]);
  const auto before = objects();
  {
    const std::lock_guard lock(disk_.mutex);
    disk_.volumes[protocol::VolumeId{11}].objects.begin()->second.is_damaged = true;  // the first chunk's
  }
  for (const ContextId id : ids) EXPECT_EQ(ask(coordinator, id), answer);
  EXPECT_EQ(group->counts().tokens_computed, 9000u + 4096u);
  for (const ContextId id : ids) {
    const ContextView view = coordinator.wait_for(id, ContextStatus::completed);
    EXPECT_EQ(view.chunks_repaired, 1u);
    EXPECT_LE(view.shared_tokens, 9000u);
  }
  EXPECT_TRUE(eventually([&] { return !objects().contains(*before.begin()); }));
}

// A disk that could not hold the document a second time holds it a second time.
TEST_F(SharingTest, TakesNoRoomForWhatIsThere) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  coordinator.wait_for(submit(coordinator, text_of(6000)), ContextStatus::completed);
  coordinator.lose(*group);
  {
    const std::lock_guard lock(disk_.mutex);
    for (const std::uint64_t volume : {11, 12}) disk_.volumes[protocol::VolumeId{volume}].bytes_free = 10'000'000;
  }
  group = start_group(coordinator);
  coordinator.wait_until_ready();
  coordinator.wait_for(submit(coordinator, text_of(6000)), ContextStatus::completed);
  const ContextView other = coordinator.wait_for(submit(coordinator, text_of(6000, 2)), ContextStatus::failed);
  EXPECT_EQ(other.last_error->code(), protocol::ErrorCode::storage_full);
}

TEST_F(SharingTest, DoesNotShareWhatLiesOnAVolumeThatIsAbsent) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  coordinator.wait_for(submit(coordinator, text_of(6000)), ContextStatus::completed);
  coordinator.lose(*group);
  FakeGroupOptions other;
  other.volumes = {protocol::VolumeId{21}, protocol::VolumeId{22}};
  group = start_group(coordinator, {}, other);
  const ContextView view = coordinator.wait_for(submit(coordinator, text_of(6000)), ContextStatus::completed);
  EXPECT_EQ(view.shared_tokens, 0u);
}

// Of each context that shares, those that were there first included; of others none.
TEST_F(SharingTest, WritesAListOfItsObjectsForEachContextThatSharesAny) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  coordinator.wait_for(submit(coordinator, text_of(6000, 7)), ContextStatus::completed);
  EXPECT_EQ(objects(Kind::all).size(), 2u);
  const ContextId first = submit(coordinator, text_of(6000));
  coordinator.wait_for(first, ContextStatus::completed);
  const ContextId second = submit(coordinator, text_of(6000));
  coordinator.wait_for(second, ContextStatus::completed);
  std::map<ContextId, std::vector<protocol::ObjectId>> lists;
  {
    const std::lock_guard lock(disk_.mutex);
    for (const auto& [id, stored] : disk_.volumes[protocol::VolumeId{12}].objects) {
      if (!stored.manifest.objects.empty()) lists[stored.manifest.context] = stored.manifest.objects;
    }
  }
  ASSERT_EQ(lists.size(), 2u);
  EXPECT_EQ(lists[first], lists[second]);
  EXPECT_EQ(lists[first].size(), 2u);
}

TEST_F(SharingTest, FailsADocumentWhoseListCannotBeWrittenAndKeepsTheOther) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.fail_listings = protocol::ErrorCode::storage_full});
  const ContextId first = submit(coordinator, text_of(6000));
  coordinator.wait_for(first, ContextStatus::completed);
  const auto answer = ask(coordinator, first);
  const ContextId second = submit(coordinator, text_of(6000));
  EXPECT_EQ(coordinator.wait_for(second, ContextStatus::failed).last_error->code(), protocol::ErrorCode::storage_full);
  EXPECT_EQ(coordinator.find(first)->status, ContextStatus::completed);
  EXPECT_EQ(ask(coordinator, first), answer);
}

TEST_F(SharingTest, WritesAListAgainThatAVolumeHasLost) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  for (int i = 0; i < 2; ++i) coordinator.wait_for(submit(coordinator, text_of(6000)), ContextStatus::completed);
  coordinator.lose(*group);
  const auto before = objects(Kind::all);
  ASSERT_EQ(before.size(), 4u);
  {
    const std::lock_guard lock(disk_.mutex);
    disk_.volumes[protocol::VolumeId{11}].objects.erase(*before.rbegin());
  }
  group = start_group(coordinator);
  EXPECT_TRUE(eventually([&] { return objects(Kind::all).size() == 4; }));
  EXPECT_EQ(group->counts().listings_asked, 1u);
  EXPECT_EQ(group->counts().chunks_asked, 0u);
}

TEST_F(SharingTest, RestoresContextsThatShareFromTheVolumes) {
  const std::string longer = text_of(9000);
  const std::vector<std::string> texts = {longer, longer, longer.substr(0, 8192) + text_of(100, 2), text_of(5000, 3)};
  std::vector<ContextId> ids;
  std::vector<std::vector<TokenId>> answers;
  {
    RunningCoordinator coordinator(directory_.path());
    const auto group = start_group(coordinator);
    for (const std::string& text : texts) {
      ids.push_back(submit(coordinator, text));
      coordinator.wait_for(ids.back(), ContextStatus::completed);
      answers.push_back(ask(coordinator, ids.back()));
    }
    ASSERT_FALSE(coordinator.erase(ids[0]));  // its objects stay, it does not
    ASSERT_TRUE(eventually([&] { return group->counts().objects_erased > 0; }));
  }
  std::filesystem::remove_all(directory_.path() / "catalogue");
  {
    RunningCoordinator coordinator(directory_.path(), {.rebuild = true});
    const auto group = start_group(coordinator);
    coordinator.wait_until_ready();
    EXPECT_FALSE(coordinator.find(ids[0]));
    for (std::size_t i = 1; i < ids.size(); ++i) {
      EXPECT_EQ(coordinator.wait_for(ids[i], ContextStatus::completed).shared_tokens, i == 1   ? 9000u
                                                                                      : i == 2 ? 8192u
                                                                                               : 0u);
      EXPECT_EQ(ask(coordinator, ids[i]), answers[i]);
    }
    const ContextId again = submit(coordinator, longer);
    EXPECT_EQ(coordinator.wait_for(again, ContextStatus::completed).shared_tokens, 9000u);
    EXPECT_EQ(group->counts().tokens_computed, 0u);
    ids.push_back(again);
    for (std::size_t i = 1; i < ids.size(); ++i) ASSERT_FALSE(coordinator.erase(ids[i]));
    EXPECT_TRUE(eventually([&] { return objects(Kind::all).empty(); }));
  }
}

// A prompt without a context finds its beginning in a document, or in the prompt before it.
TEST_F(SharingTest, SharesWithPrompts) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const auto ask_all = [&](const std::string& prompt) {
    const auto record = coordinator.ask({.prompt = prompt, .max_tokens = 2});
    EXPECT_TRUE(eventually([&] { return record->is_ended(); }));
  };
  ask_all(text_of(5000));
  EXPECT_EQ(group->counts().tokens_computed, 4999u);
  ask_all(text_of(5000) + "and then?");
  EXPECT_EQ(group->counts().tokens_computed, 4999u + 5008u - 4096u);
}

}  // namespace
}  // namespace rotulus::coordinator::testing
