// Contexts that go on: appended to, forked, and what runs on them meanwhile.
#include <random>

#include "coordinator/catalogue_records.h"
#include "tests/coordinator/coordinator_test.h"

namespace rotulus::coordinator::testing {
namespace {

using protocol::ErrorCode;
using protocol::TokenId;

std::string text_of(std::size_t bytes) {
  std::mt19937 random(5);
  std::string text(bytes, ' ');
  for (char& letter : text) letter = static_cast<char>('a' + random() % 26);
  return text;
}

class VersionsTest : public CoordinatorTest {
 protected:
  const std::string whole_ = text_of(7000);
  const std::string first_ = whole_.substr(0, 5000);
  const std::string rest_ = whole_.substr(5000);
  static ContextId submit(RunningCoordinator& coordinator, const std::string& text, SpoolKind kind = SpoolKind::text) {
    protocol::ContextDescription description;
    description.frame = protocol::Frame::raw;
    description.display_name = "log";
    const ContextId id = coordinator.submit(text, description, kind);
    coordinator.wait_for(id, ContextStatus::completed);
    return id;
  }
  using Derived = std::pair<std::optional<protocol::Error>, ContextView>;
  static Derived derive(RunningCoordinator& coordinator, ContextId id, const std::string& text, bool is_fork) {
    std::promise<Derived> promise;
    coordinator.on_loop([&](auto& self) {
      const auto done = [&](std::optional<protocol::Error> error, ContextView view) {
        promise.set_value({error, view});
      };
      is_fork ? self.contexts->fork(id, text, done) : self.contexts->append(id, text, done);
      return 0;
    });
    return promise.get_future().get();
  }
  static Derived append(RunningCoordinator& coordinator, ContextId id, const std::string& text) {
    return derive(coordinator, id, text, false);
  }
  static std::vector<TokenId> ask(RunningCoordinator& coordinator, ContextId id) {
    const auto record = coordinator.ask({.context = id, .prompt = std::string("?"), .max_tokens = 5});
    EXPECT_TRUE(eventually([&] { return record->is_ended(); }));
    EXPECT_FALSE(record->failed) << record->failed->message();
    return record->tokens_now();
  }
  // What the fake model says behind a document.
  static std::vector<TokenId> expected_answer(const std::string& document) {
    std::vector<TokenId> tokens(document.begin(), document.end());
    tokens.push_back('?');
    std::vector<TokenId> answer;
    for (int i = 0; i < 5; ++i) {
      answer.push_back(fake_next_token(tokens));
      tokens.push_back(answer.back());
    }
    return answer;
  }
  std::size_t chunks_on_disk() {
    const std::lock_guard lock(disk_.mutex);
    const auto& objects = disk_.volumes[protocol::VolumeId{11}].objects;
    return static_cast<std::size_t>(std::count_if(
        objects.begin(), objects.end(), [](const auto& item) { return item.second.manifest.objects.empty(); }));
  }
  std::size_t spool_files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(directory_.path() / "spool"), {}));
  }
};

TEST_F(VersionsTest, AnswersAfterAnAppendAsIfTheWholeTextHadBeenSubmitted) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, first_);
  EXPECT_EQ(ask(coordinator, id), expected_answer(first_));
  const auto [error, view] = append(coordinator, id, rest_);
  ASSERT_FALSE(error) << error->message();
  EXPECT_EQ(view.id, id);
  EXPECT_EQ(view.status, ContextStatus::in_progress);
  const ContextView longer = coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_EQ(longer.id, id);
  EXPECT_EQ(longer.progress.total, 7000u);
  EXPECT_EQ(longer.description.display_name, "log");
  EXPECT_EQ(ask(coordinator, id), expected_answer(whole_));
  // Its first chunk was there; of the rest nothing is left that was not needed.
  EXPECT_EQ(group->counts().tokens_computed, 5000u + 7000u - 4096u);
  EXPECT_TRUE(eventually([&] { return chunks_on_disk() == 2 && spool_files() == 1; }));
  EXPECT_EQ(coordinator.on_loop([](auto& self) { return self.contexts->list({}, 10).size(); }), 1u);
}

TEST_F(VersionsTest, ComputesAgainWhatGrowsBeyondTheWindow) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, first_);
  ASSERT_FALSE(append(coordinator, id, text_of(5000)).first);
  const ContextView view = coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_EQ(view.progress.total, 10'000u);
  EXPECT_NE(view.parameters.retrieval.landmark_version, 0u);
  EXPECT_EQ(group->counts().tokens_computed, 15'000u);
}

TEST_F(VersionsTest, LetsARunningAnswerEndOnWhatItBeganWith) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, first_);
  group->order({.stall_answers_at = 2});
  const auto running = coordinator.ask({.context = id, .prompt = std::string("?"), .max_tokens = 5});
  ASSERT_TRUE(eventually([&] { return running->tokens_now().size() == 2; }));
  ASSERT_FALSE(append(coordinator, id, rest_).first);
  EXPECT_EQ(coordinator.wait_for(id, ContextStatus::completed).progress.total, 7000u);
  EXPECT_EQ(chunks_on_disk(), 3u);
  coordinator.lose(*group);  // it is replayed on what it began with
  group = start_group(coordinator);
  ASSERT_TRUE(eventually([&] { return running->is_ended(); }));
  EXPECT_EQ(running->tokens_now(), expected_answer(first_));
  EXPECT_EQ(ask(coordinator, id), expected_answer(whole_));
  EXPECT_TRUE(eventually([&] { return chunks_on_disk() == 2; }));
}

TEST_F(VersionsTest, AnswersOnWhatThereWasUntilTheLongerOneIsComplete) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, first_);
  group->order({.stall_computing_at = 5120});
  ASSERT_FALSE(append(coordinator, id, rest_).first);
  ASSERT_TRUE(eventually([&] { return coordinator.find(id)->progress.processed == 5120; }));
  EXPECT_EQ(coordinator.find(id)->status, ContextStatus::in_progress);
  EXPECT_EQ(ask(coordinator, id), expected_answer(first_));
  EXPECT_EQ(append(coordinator, id, "more").first->code(), ErrorCode::conflict);
}

// Both with the coordinator: what was acknowledged is there after any of its deaths.
TEST_F(VersionsTest, GoesOnWithAnAppendAfterARestart) {
  ContextId id;
  {
    RunningCoordinator coordinator(directory_.path());
    const auto group = start_group(coordinator);
    id = submit(coordinator, first_);
    group->order({.stall_computing_at = 5120});
    ASSERT_FALSE(append(coordinator, id, rest_).first);
    ASSERT_TRUE(eventually([&] { return coordinator.find(id)->progress.processed == 5120; }));
  }
  {
    RunningCoordinator coordinator(directory_.path());
    EXPECT_EQ(coordinator.find(id)->status, ContextStatus::in_progress);
    const auto group = start_group(coordinator, {.stall_computing_at = 5120});
    coordinator.wait_until_ready();
    EXPECT_EQ(ask(coordinator, id), expected_answer(first_));
    group->order({});
    coordinator.wait_for(id, ContextStatus::completed);
    EXPECT_EQ(ask(coordinator, id), expected_answer(whole_));
  }
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  coordinator.wait_until_ready();
  EXPECT_EQ(coordinator.find(id)->progress.total, 7000u);
  EXPECT_EQ(ask(coordinator, id), expected_answer(whole_));
  EXPECT_TRUE(eventually([&] { return chunks_on_disk() == 2; }));
  EXPECT_EQ(group->counts().tokens_computed, 0u);
}

TEST_F(VersionsTest, LeavesTheContextAsItWasWhereAnAppendIsCancelledOrFails) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, first_);
  group->order({.stall_computing_at = 5120});
  ASSERT_FALSE(append(coordinator, id, rest_).first);
  ASSERT_TRUE(eventually([&] { return coordinator.find(id)->progress.processed == 5120; }));
  EXPECT_EQ(coordinator.on_loop([&](auto& self) { return self.contexts->cancel(id); }).status,
            ContextStatus::completed);
  group->order({.fail_chunks = ErrorCode::storage_full});
  ASSERT_FALSE(append(coordinator, id, rest_).first);
  ASSERT_TRUE(eventually([&] { return coordinator.find(id)->last_error.has_value(); }));
  const ContextView view = coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_EQ(view.last_error->code(), ErrorCode::storage_full);
  EXPECT_EQ(view.progress.total, 5000u);
  EXPECT_EQ(ask(coordinator, id), expected_answer(first_));
  group->order({});
  ASSERT_FALSE(append(coordinator, id, rest_).first);
  EXPECT_FALSE(coordinator.wait_for(id, ContextStatus::completed).last_error);
  EXPECT_EQ(ask(coordinator, id), expected_answer(whole_));
  EXPECT_TRUE(eventually([&] { return chunks_on_disk() == 2 && spool_files() == 1; }));
}

TEST_F(VersionsTest, AppendsAgainAndAgainAndErasesItAll) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, "a");
  std::string text = "a";
  for (int i = 0; i < 5; ++i) {
    text += text_of(1000);
    ASSERT_FALSE(append(coordinator, id, text_of(1000)).first);
    coordinator.wait_for(id, ContextStatus::completed);
    EXPECT_EQ(ask(coordinator, id), expected_answer(text));
  }
  group->order({.stall_computing_at = 4608});
  ASSERT_FALSE(append(coordinator, id, rest_).first);
  ASSERT_FALSE(coordinator.erase(id));
  EXPECT_FALSE(coordinator.find(id));
  EXPECT_TRUE(eventually([&] {
    const std::lock_guard lock(disk_.mutex);
    return disk_.volumes[protocol::VolumeId{11}].objects.empty() && spool_files() == 0;
  }));
}

TEST_F(VersionsTest, RefusesToAppendToWhatIsNotACompletedText) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  EXPECT_EQ(append(coordinator, ContextId{77}, "x").first->code(), ErrorCode::not_found);
  const ContextId ids =
      submit(coordinator, records::token_ids_value(std::vector<TokenId>{5, 6, 7}), SpoolKind::token_ids);
  EXPECT_EQ(append(coordinator, ids, "x").first->code(), ErrorCode::conflict);
  const ContextId text = submit(coordinator, "abc");
  coordinator.on_loop([&](auto& self) { return self.contexts->append(text, "x", [](auto, auto) {}), 0; });
  ASSERT_TRUE(eventually([&] { return coordinator.find(text)->progress.total == 4; }));
  // A version has no id of its own.
  EXPECT_FALSE(coordinator.find(ContextId{text.value + 1}));
}

TEST_F(VersionsTest, ForksWithoutComputingAndGoesOnDifferently) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, first_);
  const auto [error, view] = derive(coordinator, id, "", true);
  ASSERT_FALSE(error);
  EXPECT_NE(view.id, id);
  EXPECT_EQ(coordinator.wait_for(view.id, ContextStatus::completed).shared_tokens, 5000u);
  EXPECT_EQ(group->counts().tokens_computed, 5000u);
  const ContextId other = derive(coordinator, id, rest_, true).second.id;
  coordinator.wait_for(other, ContextStatus::completed);
  EXPECT_EQ(ask(coordinator, id), expected_answer(first_));
  EXPECT_EQ(ask(coordinator, view.id), expected_answer(first_));
  EXPECT_EQ(ask(coordinator, other), expected_answer(whole_));
  ASSERT_FALSE(coordinator.erase(id));
  EXPECT_EQ(ask(coordinator, view.id), expected_answer(first_));
}

TEST_F(VersionsTest, RestoresTheLastVersionFromTheVolumes) {
  ContextId id;
  {
    RunningCoordinator coordinator(directory_.path());
    const auto group = start_group(coordinator);
    id = submit(coordinator, first_);
    ASSERT_FALSE(append(coordinator, id, rest_).first);
    coordinator.wait_for(id, ContextStatus::completed);
  }
  std::filesystem::remove_all(directory_.path() / "catalogue");
  RunningCoordinator coordinator(directory_.path(), {.rebuild = true});
  const auto group = start_group(coordinator);
  coordinator.wait_until_ready();
  ASSERT_TRUE(coordinator.find(id));
  EXPECT_EQ(coordinator.find(id)->status, ContextStatus::completed);
  EXPECT_EQ(ask(coordinator, id), expected_answer(whole_));
  EXPECT_EQ(group->counts().tokens_computed, 0u);
  EXPECT_EQ(append(coordinator, id, "x").first->code(), ErrorCode::conflict);  // its text went with the catalogue
}

TEST_F(VersionsTest, TellsWhoFollowsTheContextOfItsNextVersion) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = submit(coordinator, first_);
  std::mutex mutex;
  std::vector<ContextView> seen;
  std::shared_ptr<void> subscription;
  coordinator.on_loop([&](auto& self) {
    subscription = self.contexts->subscribe(id, [&](const ContextEvent& event) {
      const std::lock_guard lock(mutex);
      seen.push_back(event.view);
    });
    return 0;
  });
  ASSERT_FALSE(append(coordinator, id, rest_).first);
  const auto has_ended = [&] {
    const std::lock_guard lock(mutex);
    return seen.back().status == ContextStatus::completed && seen.back().progress.total == 7000;
  };
  EXPECT_TRUE(eventually(has_ended));
  EXPECT_TRUE(std::any_of(seen.begin(), seen.end(),
                          [](const ContextView& view) { return view.status == ContextStatus::in_progress; }));
  coordinator.on_loop([&](auto&) { return subscription.reset(), 0; });
}

}  // namespace
}  // namespace rotulus::coordinator::testing
