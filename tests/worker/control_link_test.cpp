// A link with a real TCP peer on the loopback: the opening, the roads of each kind of message, back-pressure both ways,
// and every way in which a coordinator can be lost.
#include "worker/control_link.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "protocol/error.h"
#include "protocol/proof.h"
#include "tests/worker/fake_coordinator.h"

namespace rotulus::worker {
namespace {

using namespace std::chrono_literals;
using protocol::Error;
using protocol::ErrorCode;
using protocol::Message;

constexpr protocol::Epoch kEpoch{0xabc};

// What the handlers were called with, to be waited for.
class Calls {
 public:
  void add(Message message) {
    const std::lock_guard lock(mutex_);
    messages_.push_back(std::move(message));
    changed_.notify_all();
  }
  void lose(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    losses_.push_back(reason);
    changed_.notify_all();
  }
  std::vector<Message> wait_for_messages(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 10s, [&] { return messages_.size() >= count; });
    return messages_;
  }
  std::string wait_for_loss() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 10s, [&] { return !losses_.empty(); });
    return losses_.size() == 1 ? losses_.front() : fmt::format("there were {} losses", losses_.size());
  }
  std::size_t losses() {
    const std::lock_guard lock(mutex_);
    return losses_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Message> messages_;
  std::vector<std::string> losses_;
};

class ControlLinkTest : public testing::Test {
 protected:
  protocol::Hello hello(std::uint32_t rank = 0) {
    return {.group = 99, .rank = rank, .size = 2, .host = "here", .pid = 4, .model = {.name = "m"}};
  }
  ControlLinkHandlers handlers() {
    return {.on_text = [this](Message message) { calls_.add(std::move(message)); },
            .on_volume = [this](Message message) { calls_.add(std::move(message)); },
            .make_pong = [] { return protocol::Pong{.stats = {.steps = 42}}; },
            .on_lost = [this](const std::string& reason) { calls_.lose(reason); }};
  }
  ControlLinkConfig config() { return {.host = "127.0.0.1", .port = coordinator_.port()}; }

  // A link whose opening is over.
  std::unique_ptr<ControlLink> open(protocol::Hello hello, ControlLinkConfig config, ControlLinkHandlers handlers) {
    coordinator_.listen();
    auto link = std::make_unique<ControlLink>(std::move(config), std::move(hello), std::move(handlers));
    auto welcomed = std::async(std::launch::async, [&] { return link->connect(); });
    hello_ = coordinator_.welcome(kEpoch);
    welcome_ = welcomed.get();
    return link;
  }
  std::unique_ptr<ControlLink> open(std::uint32_t rank = 0) { return open(hello(rank), config(), handlers()); }

  // What connect() throws while the test plays the coordinator.
  template <typename Play>
  std::optional<Error> connect_error(ControlLinkConfig config, Play play) {
    ControlLink link(std::move(config), hello(), handlers());
    auto connecting = std::async(std::launch::async, [&]() -> std::optional<Error> {
      try {
        link.connect();
        return std::nullopt;
      } catch (const Error& error) {
        return error;
      }
    });
    play();
    return connecting.get();
  }

  FakeCoordinator coordinator_;
  Calls calls_;
  protocol::Hello hello_;
  protocol::Welcome welcome_;
};

// -- opening ------------------------------------------------------------------------------------------------------

TEST_F(ControlLinkTest, ProvesThatItKnowsTheSecret) {
  ControlLinkConfig with_secret = config();
  with_secret.secret = "a secret";
  const auto link = open(hello(), with_secret, handlers());
  EXPECT_TRUE(protocol::is_proven("a secret", FakeCoordinator::challenge(), hello_));
  EXPECT_FALSE(protocol::is_proven("another", FakeCoordinator::challenge(), hello_));
  EXPECT_FALSE(protocol::is_proven("a secret", protocol::Challenge{}, hello_));
  EXPECT_EQ(welcome_, (protocol::Welcome{.epoch = kEpoch, .store = {77}, .catalogue_sequence = 5}));
  hello_.proof = {};
  EXPECT_EQ(hello_, hello());
}

TEST_F(ControlLinkTest, ProvesNothingWithoutASecret) {
  const auto link = open();
  EXPECT_EQ(hello_, hello());
}

TEST_F(ControlLinkTest, PassesOnTheWordsOfARefusal) {
  coordinator_.listen();
  const auto error = connect_error(config(), [&] {
    coordinator_.accept();
    coordinator_.send(FakeCoordinator::challenge());
    coordinator_.receive();
    coordinator_.send(protocol::Refusal{ErrorCode::conflict, "its model is another"});
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::conflict);
  EXPECT_NE(error->message().find("its model is another"), std::string::npos) << error->message();
  EXPECT_EQ(calls_.losses(), 0u);
}

TEST_F(ControlLinkTest, TriesAgainUntilTheCoordinatorIsThereAndDoesNotHangUp) {
  ControlLink link(config(), hello(), handlers());
  auto welcomed = std::async(std::launch::async, [&] { return link.connect(); });
  EXPECT_EQ(welcomed.wait_for(150ms), std::future_status::timeout);  // nobody listens
  coordinator_.listen();
  coordinator_.accept();
  coordinator_.hang_up();  // before the challenge
  coordinator_.accept();
  coordinator_.send(FakeCoordinator::challenge());
  coordinator_.receive();
  coordinator_.hang_up();  // before the welcome
  coordinator_.welcome(kEpoch);
  EXPECT_EQ(welcomed.get().epoch, kEpoch);
}

TEST_F(ControlLinkTest, GivesUpAtItsDeadlineAndNamesTheCoordinator) {
  ControlLinkConfig impatient = config();
  impatient.connect_timeout = 150ms;
  const auto error = connect_error(impatient, [] {});
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::unavailable);
  EXPECT_NE(error->message().find(fmt::format("127.0.0.1:{} within 150 ms", coordinator_.port())), std::string::npos)
      << error->message();
}

TEST_F(ControlLinkTest, GivesUpOnAPeerThatAcceptsAndSaysNothing) {
  ControlLinkConfig impatient = config();
  impatient.connect_timeout = impatient.hello_timeout = 100ms;
  coordinator_.listen();
  const auto error = connect_error(impatient, [&] { coordinator_.accept(); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::unavailable);
  EXPECT_NE(error->message().find("no challenge came"), std::string::npos) << error->message();
}

TEST_F(ControlLinkTest, DoesNotTryAgainWhereNoCoordinatorListens) {
  coordinator_.listen();
  const auto error = connect_error(config(), [&] {
    coordinator_.accept();
    coordinator_.send_raw("HTTP/1.1 400 Bad Request\r\n\r\nthis is not the port you think it is");
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::invalid_argument);
}

TEST_F(ControlLinkTest, AnswersPingsWhileItWaitsToBeWelcomed) {
  coordinator_.listen();
  ControlLink link(config(), hello(), handlers());
  auto welcomed = std::async(std::launch::async, [&] { return link.connect(); });
  coordinator_.accept();
  coordinator_.send(FakeCoordinator::challenge());
  coordinator_.receive();
  coordinator_.send(protocol::Ping{8});
  EXPECT_EQ(coordinator_.receive_pong().sequence, 8u);
  coordinator_.send(protocol::Welcome{.epoch = kEpoch});
  EXPECT_EQ(welcomed.get().epoch, kEpoch);
}

// -- roads ----------------------------------------------------------------------------------------------------------

TEST_F(ControlLinkTest, GivesWorkToTheEngineOfRankZeroInOrder) {
  const auto link = open();
  EXPECT_TRUE(link->take_work().empty());
  const std::vector<Message> work = {protocol::OpenContext{.context = {1}},   protocol::ContextTokens{.ids = {1, 2}},
                                     protocol::CloseContext{.context = {2}},  protocol::ComputeChunk{.chunk_index = 3},
                                     protocol::CancelCompute{.context = {4}}, protocol::StartAnswer{.request = {5}},
                                     protocol::CancelAnswer{.request = {6}}};
  for (const Message& message : work) coordinator_.send(message);
  std::vector<Message> taken;
  while (taken.size() < work.size()) {
    link->park(link->work_seen());
    for (Message& message : link->take_work()) taken.push_back(std::move(message));
    EXPECT_EQ(link->work_seen(), taken.size());
  }
  EXPECT_EQ(taken, work);
}

TEST_F(ControlLinkTest, WakesTheOtherRanksWhenThereIsWorkBeyondWhatTheySaw) {
  const auto link = open(1);
  coordinator_.send(protocol::Wake{3});
  link->park(2);
  EXPECT_EQ(link->work_seen(), 3u);
  EXPECT_TRUE(link->take_work().empty());
  auto parked = std::async(std::launch::async, [&] { link->park(3); });
  EXPECT_EQ(parked.wait_for(20ms), std::future_status::timeout);
  coordinator_.send(protocol::Wake{4});
  parked.get();
  EXPECT_EQ(link->work_seen(), 4u);
}

TEST_F(ControlLinkTest, AnswersPingsWhileAVolumeIsBusyAndTextsToo) {
  std::promise<void> is_erased;
  ControlLinkHandlers busy = handlers();
  busy.on_volume = [this, erased = is_erased.get_future().share()](Message message) {
    erased.wait();
    calls_.add(std::move(message));
  };
  const auto link = open(hello(), config(), busy);
  coordinator_.send(protocol::EraseObjects{.objects = {{1}}});
  coordinator_.send(protocol::ListManifests{.volume = {2}});
  coordinator_.send(protocol::EncodeText{.call = 3});
  coordinator_.send(protocol::Ping{4});
  EXPECT_EQ(coordinator_.receive_pong(), (protocol::Pong{.sequence = 4, .stats = {.steps = 42}}));
  EXPECT_EQ(calls_.wait_for_messages(1).front(), Message(protocol::EncodeText{.call = 3}));
  is_erased.set_value();
  const auto handled = calls_.wait_for_messages(3);
  ASSERT_EQ(handled.size(), 3u);
  EXPECT_EQ(handled[1], Message(protocol::EraseObjects{.objects = {{1}}}));
  EXPECT_EQ(handled[2], Message(protocol::ListManifests{.volume = {2}}));
}

TEST_F(ControlLinkTest, SendsFromSeveralThreadsEachInItsOrder) {
  const auto link = open();
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t context = 0; context < 3; ++context) {
      threads.emplace_back([&link, context] {
        for (std::uint64_t i = 1; i <= 100; ++i) link->send(protocol::ChunkProgress{{context}, i});
      });
    }
  }
  std::array<std::uint64_t, 3> last{};
  for (int i = 0; i < 300; ++i) {
    const auto progress = std::get<protocol::ChunkProgress>(coordinator_.receive());
    EXPECT_EQ(progress.processed, ++last[progress.context.value]);
  }
}

// The queue runs empty again and again, just as the next message is added: each must still be written once.
TEST_F(ControlLinkTest, SendsEachMessageOnceWhereTheQueueKeepsRunningEmpty) {
  constexpr std::uint64_t kMessages = 60'000;
  const auto link = open();
  std::jthread sender([&link] {
    for (std::uint64_t i = 1; i <= kMessages; ++i) {
      link->send(protocol::ChunkProgress{{1}, i});
      std::this_thread::yield();
    }
  });
  for (std::uint64_t i = 1; i <= kMessages; ++i) {
    ASSERT_EQ(std::get<protocol::ChunkProgress>(coordinator_.receive()).processed, i);
  }
}

TEST_F(ControlLinkTest, DropsFramesOfAnotherEpoch) {
  const auto link = open();
  coordinator_.set_epoch({kEpoch.value - 1});
  coordinator_.send(protocol::StartAnswer{.request = {1}});
  coordinator_.set_epoch(kEpoch);
  coordinator_.send(protocol::StartAnswer{.request = {2}});
  link->park(0);
  const auto work = link->take_work();
  ASSERT_EQ(work.size(), 1u);
  EXPECT_EQ(std::get<protocol::StartAnswer>(work.front()).request.value, 2u);
}

TEST_F(ControlLinkTest, LeavesItsParkWhenItIsToldToDrainAndSendsWhatIsQueued) {
  auto link = open();
  EXPECT_FALSE(link->draining());
  coordinator_.send(protocol::Drain{});
  link->park(0);
  EXPECT_TRUE(link->draining());
  EXPECT_TRUE(link->is_stopping());
  EXPECT_FALSE(link->is_lost());
  for (std::uint32_t i = 0; i < 20; ++i) {
    link->send(protocol::AnswerToken{.index = i, .text = std::string(100'000, 'x')});
  }
  auto closed = std::async(std::launch::async, [&] { link.reset(); });
  for (std::uint32_t i = 0; i < 20; ++i) EXPECT_EQ(std::get<protocol::AnswerToken>(coordinator_.receive()).index, i);
  EXPECT_TRUE(coordinator_.is_closed());
  closed.get();
  EXPECT_EQ(calls_.losses(), 0u);
}

// -- back-pressure ------------------------------------------------------------------------------------------------

TEST_F(ControlLinkTest, MakesSendersWaitWhileTheCoordinatorDoesNotRead) {
  constexpr std::uint32_t kMessages = 64;  // of nearly 1 MiB: more than the queue and all buffers of the kernel hold
  const auto link = open();
  std::atomic<std::uint32_t> sent = 0;
  std::jthread sender([&] {
    for (std::uint32_t i = 0; i < kMessages; ++i, ++sent) {
      link->send(protocol::AnswerToken{.index = i, .text = std::string(1'000'000, 'x')});
    }
  });
  while (sent < protocol::kMaxQueuedFrameBytes / 1'048'576) std::this_thread::yield();
  std::this_thread::sleep_for(100ms);  // time for a sender that is not held back
  EXPECT_LT(sent, kMessages);
  for (std::uint32_t i = 0; i < kMessages; ++i) {
    ASSERT_EQ(std::get<protocol::AnswerToken>(coordinator_.receive()).index, i);
  }
}

TEST_F(ControlLinkTest, StopsReadingWhatIsNotTakenAndStillTellsThatItLives) {
  constexpr std::uint64_t kMessages = 100;  // of half a MiB
  const auto link = open();
  coordinator_.send(protocol::Ping{6});
  EXPECT_EQ(coordinator_.receive_pong().sequence, 6u);
  std::atomic<std::uint64_t> sent = 0;
  auto sender = std::async(std::launch::async, [&] {
    for (std::uint64_t i = 0; i < kMessages; ++i, ++sent) {
      coordinator_.send(protocol::ContextTokens{.offset = i, .ids = std::vector<protocol::TokenId>(128 << 10)});
    }
  });
  while (sent < 2 * protocol::kMaxQueuedFrameBytes / 1'048'576) std::this_thread::yield();
  EXPECT_EQ(coordinator_.receive_pong().sequence, 6u) << "told unasked";
  EXPECT_EQ(sender.wait_for(0ms), std::future_status::timeout);
  std::uint64_t next = 0;
  while (next < kMessages) {
    link->park(0);
    for (const Message& message : link->take_work()) {
      EXPECT_EQ(std::get<protocol::ContextTokens>(message).offset, next++);
    }
    ASSERT_FALSE(link->is_lost());
  }
  sender.get();
  coordinator_.send(protocol::Ping{7});
  protocol::Pong pong = coordinator_.receive_pong();
  while (pong.sequence == 6) pong = coordinator_.receive_pong();
  EXPECT_EQ(pong.sequence, 7u);
}

// -- loss -------------------------------------------------------------------------------------------------------------

TEST_F(ControlLinkTest, EndsEveryWaitWhenTheCoordinatorHangsUp) {
  const auto link = open();
  auto parked = std::async(std::launch::async, [&] { link->park(0); });
  coordinator_.hang_up();
  const std::string reason = calls_.wait_for_loss();
  EXPECT_NE(reason.find(fmt::format("127.0.0.1:{}", coordinator_.port())), std::string::npos) << reason;
  parked.get();
  EXPECT_TRUE(link->is_lost());
  EXPECT_TRUE(link->is_stopping());
  link->send(protocol::ChunkProgress{{1}, 2});  // goes nowhere, and does not wait
  EXPECT_EQ(calls_.losses(), 1u);
}

TEST_F(ControlLinkTest, CountsSilenceForALeaseAsALoss) {
  ControlLinkConfig impatient = config();
  impatient.lease_timeout = 100ms;
  const auto link = open(hello(), impatient, handlers());
  EXPECT_NE(calls_.wait_for_loss().find("was silent for 100 ms"), std::string::npos);
}

TEST_F(ControlLinkTest, LosesACoordinatorThatTakesNoMessagesThoughItTalks) {
  ControlLinkConfig impatient = config();
  impatient.lease_timeout = 500ms;
  const auto link = open(hello(1), impatient, handlers());
  std::jthread sender([&] {
    while (!link->is_lost()) link->send(protocol::AnswerToken{.text = std::string(1'000'000, 'x')});
  });
  try {
    for (std::uint64_t work = 1; !link->is_lost(); ++work) {
      coordinator_.send(protocol::Wake{work});
      std::this_thread::sleep_for(10ms);
    }
  } catch (const std::runtime_error&) {  // it has hung up
  }
  EXPECT_NE(calls_.wait_for_loss().find("took no message for 500 ms"), std::string::npos);
}

TEST_F(ControlLinkTest, LosesACoordinatorThatCannotBeUnderstood) {
  const auto link = open();
  coordinator_.send_raw(std::string(64, 'x'));
  EXPECT_NE(calls_.wait_for_loss().find("magic"), std::string::npos);
  EXPECT_TRUE(coordinator_.is_closed());
}

class ForeignMessage : public ControlLinkTest, public testing::WithParamInterface<Message> {};

TEST_P(ForeignMessage, EndsTheLink) {
  const auto link = open(0);
  coordinator_.send(GetParam());
  EXPECT_NE(calls_.wait_for_loss().find("not for rank 0"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(ControlLink, ForeignMessage,
                         testing::Values(protocol::Wake{1}, protocol::Hello{}, protocol::Pong{}, protocol::Welcome{}),
                         [](const auto& info) { return fmt::format("Kind{}", info.param.index()); });

TEST_F(ControlLinkTest, TakesNoWorkOnOtherRanksThanTheFirst) {
  const auto link = open(1);
  coordinator_.send(protocol::StartAnswer{});
  EXPECT_NE(calls_.wait_for_loss().find("not for rank 1"), std::string::npos);
}

TEST_F(ControlLinkTest, IsLostWhenAHandlerFails) {
  ControlLinkHandlers failing = handlers();
  failing.on_text = [](Message) { throw Error(ErrorCode::internal, "out of words"); };
  const auto link = open(hello(), config(), failing);
  coordinator_.send(protocol::DecodeTokens{});
  EXPECT_NE(calls_.wait_for_loss().find("out of words"), std::string::npos);
}

TEST_F(ControlLinkTest, ThrowsWhereAMessageDoesNotFitAFrame) {
  const auto link = open();
  try {
    link->send(protocol::AnswerToken{.text = std::string(protocol::kMaxFrameBytes, 'x')});
    FAIL() << "it was sent";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::payload_too_large);
  }
  link->send(protocol::ChunkProgress{{1}, 2});
  EXPECT_EQ(coordinator_.receive(), Message(protocol::ChunkProgress{{1}, 2}));
}

}  // namespace
}  // namespace rotulus::worker
