// Who may join, and what is agreed on before anything runs. The ranks are real connections (fake_worker_group.h).
#include "coordinator/membership.h"

#include <gtest/gtest.h>

#include "tests/coordinator/running_coordinator.h"

namespace rotulus::coordinator::testing {
namespace {

using protocol::ErrorCode;

class MembershipTest : public ::testing::Test {
 protected:
  TemporaryDirectory directory_;
  FakeDisk disk_;

  FakeGroupOptions options(const RunningCoordinator& coordinator, std::uint64_t group = 1) {
    return {.port = coordinator.port(), .group = group};
  }
  // The one refusal that a group was given.
  protocol::Refusal wait_for_refusal(const FakeWorkerGroup& group) {
    EXPECT_TRUE(eventually([&] { return !group.counts().refusals.empty(); }));
    const auto refusals = group.counts().refusals;
    return refusals.empty() ? protocol::Refusal{ErrorCode::internal, "none came"} : refusals.front();
  }
};

TEST_F(MembershipTest, IsReadyWhenAllRanksAreThereAndTheirVolumesAgree) {
  RunningCoordinator coordinator(directory_.path());
  EXPECT_EQ(coordinator.cluster().state, "waiting for workers");
  const FakeWorkerGroup group(disk_, options(coordinator));
  coordinator.wait_until_ready();
  const ClusterView view = coordinator.cluster();
  ASSERT_EQ(view.ranks.size(), 2u);
  EXPECT_EQ(view.ranks[1].host, "fakehost");
  EXPECT_EQ(view.ranks[1].lanes, (protocol::LaneRange{128, 256}));
  EXPECT_EQ(disk_.volumes[protocol::VolumeId{11}].store, view.store);
}

TEST_F(MembershipTest, TakesRanksWithTheSecretAndNoOthers) {
  RunningCoordinator coordinator(directory_.path(), {.secret = "open sesame"});
  for (const char* wrong : {"", "open barley"}) {
    FakeGroupOptions stranger = options(coordinator, 7);
    stranger.secret = wrong;
    const FakeWorkerGroup refused(disk_, stranger);
    EXPECT_EQ(wait_for_refusal(refused).code, ErrorCode::unauthorized);
  }
  FakeGroupOptions known = options(coordinator, 8);
  known.secret = "open sesame";
  const FakeWorkerGroup group(disk_, known);
  coordinator.wait_until_ready();
}

TEST_F(MembershipTest, RefusesAnotherProtocolVersionByNumber) {
  RunningCoordinator coordinator(directory_.path());
  FakeGroupOptions old = options(coordinator);
  old.before_hello = [](protocol::Hello& hello) { hello.protocol_version = 99; };
  const FakeWorkerGroup group(disk_, old);
  const auto refusal = wait_for_refusal(group);
  EXPECT_EQ(refusal.code, ErrorCode::unsupported);
  EXPECT_NE(refusal.message.find("99"), std::string::npos);
}

// One rank of the group differs in one field: whichever of the two comes second is refused, and the field is named.
TEST_F(MembershipTest, RefusesARankThatDiffersFromItsGroupByTheFieldsName) {
  const std::vector<std::pair<std::string, std::function<void(protocol::Hello&)>>> differences = {
      {"model_fingerprint", [](protocol::Hello& hello) { hello.parameters.model_fingerprint = "other"; }},
      {"tokenizer_fingerprint", [](protocol::Hello& hello) { hello.parameters.tokenizer_fingerprint = "other"; }},
      {"kv_type", [](protocol::Hello& hello) { hello.parameters.kv_type = "f32"; }},
      {"numerics id", [](protocol::Hello& hello) { hello.parameters.numerics_id = "other"; }},
      {"group size", [](protocol::Hello& hello) { hello.size = 3; }},
      {"context length", [](protocol::Hello& hello) { hello.model.context_length = 1; }},
      {"model", [](protocol::Hello& hello) { hello.model.layers = 77; }},
      {"volume", [](protocol::Hello& hello) { hello.volumes[0].volume = protocol::VolumeId{11}; }},
  };
  RunningCoordinator coordinator(directory_.path());
  std::uint64_t number = 100;
  for (const auto& [field, make_different] : differences) {
    FakeGroupOptions mixed = options(coordinator, ++number);
    mixed.before_hello = [make_different = make_different](protocol::Hello& hello) {
      if (hello.rank == 1) make_different(hello);
    };
    const FakeWorkerGroup group(disk_, mixed);
    const auto refusal = wait_for_refusal(group);
    EXPECT_EQ(refusal.code, ErrorCode::conflict) << field;
    EXPECT_NE(refusal.message.find(field), std::string::npos) << refusal.message;
    EXPECT_FALSE(coordinator.cluster().is_ready);
  }
}

TEST_F(MembershipTest, ReplacesAGroupByANewOneAndFencesTheOldOne) {
  RunningCoordinator coordinator(directory_.path());
  auto first = std::make_unique<FakeWorkerGroup>(disk_, options(coordinator, 1));
  coordinator.wait_until_ready();
  const auto epoch = coordinator.cluster().epoch;
  const FakeWorkerGroup second(disk_, options(coordinator, 2));
  EXPECT_TRUE(eventually([&] { return coordinator.cluster().is_ready && coordinator.cluster().epoch > epoch; }));
  const FakeWorkerGroup back_again(disk_, options(coordinator, 1));
  EXPECT_EQ(wait_for_refusal(back_again).code, ErrorCode::stale_epoch);
  EXPECT_TRUE(coordinator.cluster().is_ready);
}

TEST_F(MembershipTest, RaisesTheEpochOverRestartsOfTheCoordinator) {
  protocol::Epoch last;
  for (std::uint64_t life = 1; life <= 3; ++life) {
    RunningCoordinator coordinator(directory_.path());
    const FakeWorkerGroup group(disk_, options(coordinator, life));
    coordinator.wait_until_ready();
    EXPECT_GT(coordinator.cluster().epoch, last);
    last = coordinator.cluster().epoch;
  }
}

TEST_F(MembershipTest, LosesTheGroupWithOneOfItsRanks) {
  RunningCoordinator coordinator(directory_.path());
  FakeWorkerGroup group(disk_, options(coordinator));
  coordinator.wait_until_ready();
  coordinator.lose(group);
  EXPECT_EQ(coordinator.cluster().ranks.size(), 0u);
  EXPECT_NE(coordinator.metrics().find("rotulus_worker_group_restarts_total 1"), std::string::npos);
}

TEST_F(MembershipTest, LosesAGroupThatIsSilentForItsLease) {
  RunningCoordinator coordinator(directory_.path());
  FakeWorkerGroup group(disk_, options(coordinator));
  coordinator.wait_until_ready();
  group.order({.is_deaf = true});
  // In small steps: a clock that jumps is a coordinator that was stopped itself.
  EXPECT_TRUE(eventually([&] {
    coordinator.clock().advance(std::chrono::milliseconds(50));
    return !coordinator.cluster().is_ready;
  }));
  EXPECT_NE(coordinator.log().text().find("silent"), std::string::npos);
}

TEST_F(MembershipTest, TellsOnceOfAVolumeThatIsSalvaged) {
  RunningCoordinator coordinator(directory_.path());
  const FakeWorkerGroup group(disk_, options(coordinator));
  coordinator.wait_until_ready();
  EXPECT_EQ(coordinator.log().text().find("volume_salvaged"), std::string::npos);
  {
    const std::lock_guard lock(disk_.mutex);
    disk_.volumes[protocol::VolumeId{12}].is_salvaged = true;
  }
  EXPECT_TRUE(eventually([&] {
    const auto view = coordinator.cluster();
    return view.ranks[1].volumes.at(0).is_salvaged && !view.ranks[0].volumes.at(0).is_salvaged;
  }));
  const std::uint64_t pings = group.counts().pings;
  EXPECT_TRUE(eventually([&] { return group.counts().pings > pings + 4; }));
  const std::string log = coordinator.log().text();
  const std::size_t told = log.find("volume_salvaged");
  ASSERT_NE(told, std::string::npos);
  EXPECT_EQ(log.find("volume_salvaged", told + 1), std::string::npos);
}

TEST_F(MembershipTest, BlamesNobodyForTheTimeInWhichItWasStoppedItself) {
  RunningCoordinator coordinator(directory_.path());
  const FakeWorkerGroup group(disk_, options(coordinator));
  coordinator.wait_until_ready();
  const auto epoch = coordinator.cluster().epoch;
  coordinator.clock().advance(std::chrono::hours(1));
  const std::uint64_t pings = group.counts().pings;
  EXPECT_TRUE(eventually([&] { return group.counts().pings > pings + 10; }));
  EXPECT_TRUE(coordinator.cluster().is_ready);
  EXPECT_EQ(coordinator.cluster().epoch, epoch);
}

TEST_F(MembershipTest, KeepsTheRanksThatAreThereAliveWhileItWaitsForTheOthers) {
  RunningCoordinator coordinator(directory_.path());
  FakeGroupOptions incomplete = options(coordinator);
  incomplete.ranks_that_come = 1;
  const FakeWorkerGroup group(disk_, incomplete);
  EXPECT_TRUE(eventually([&] { return group.counts().pings > 10; }));
  EXPECT_EQ(coordinator.cluster().state, "waiting for workers: 1 of 2 ranks");
  EXPECT_TRUE(eventually([&] {
    coordinator.clock().advance(std::chrono::seconds(10));
    return coordinator.cluster().ranks.empty();
  }));
  EXPECT_NE(coordinator.log().text().find("rank 1 did not answer in time"), std::string::npos)
      << coordinator.log().text();
}

TEST_F(MembershipTest, RefusesAVolumeOfAnotherStoreByNameAndTouchesNothing) {
  {
    FakeVolume& foreign = disk_.volumes[protocol::VolumeId{12}];
    foreign.store = protocol::StoreId{77};
    foreign.objects[protocol::ObjectId{5}] = {};
  }
  RunningCoordinator coordinator(directory_.path());
  const FakeWorkerGroup group(disk_, options(coordinator));
  coordinator.wait_until_ready();
  const ClusterView view = coordinator.cluster();
  ASSERT_EQ(view.refused.size(), 1u);
  EXPECT_NE(view.refused[0].find(fmt::format("{}", protocol::VolumeId{12})), std::string::npos);
  EXPECT_NE(view.refused[0].find("--rebuild-catalogue"), std::string::npos);
  EXPECT_EQ(disk_.volumes[protocol::VolumeId{12}].store, protocol::StoreId{77});
  EXPECT_EQ(disk_.volumes[protocol::VolumeId{12}].objects.size(), 1u);
}

TEST_F(MembershipTest, IsNotReadyWithoutAnyUsableVolume) {
  for (const std::uint64_t volume : {11, 12}) {
    disk_.volumes[protocol::VolumeId{volume}].store = protocol::StoreId{77};
  }
  RunningCoordinator coordinator(directory_.path());
  const FakeWorkerGroup group(disk_, options(coordinator));
  EXPECT_TRUE(eventually([&] { return coordinator.cluster().state.starts_with("no usable volume"); }))
      << coordinator.cluster().state;
  EXPECT_FALSE(coordinator.cluster().is_ready);
}

TEST_F(MembershipTest, WakesTheOtherRanksOnceForEachMessageOfWork) {
  RunningCoordinator coordinator(directory_.path());
  const FakeWorkerGroup group(disk_, options(coordinator));
  coordinator.wait_until_ready();
  const ContextId id = coordinator.submit("some text");
  coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_TRUE(eventually([&] {
    const FakeGroupCounts counts = group.counts();
    return counts.work_received > 0 && counts.work_received == counts.last_wake;
  }));
}

TEST_F(MembershipTest, DrainsItsWorkers) {
  RunningCoordinator coordinator(directory_.path());
  const FakeWorkerGroup group(disk_, options(coordinator));
  coordinator.wait_until_ready();
  std::promise<void> drained;
  coordinator.on_loop(
      [&](auto& self) { self.membership->drain(std::chrono::seconds(10), [&] { drained.set_value(); }); });
  drained.get_future().get();
  EXPECT_TRUE(group.counts().is_drained);
}

}  // namespace
}  // namespace rotulus::coordinator::testing
