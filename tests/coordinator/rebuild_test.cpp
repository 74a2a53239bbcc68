// A catalogue that was lost, restored from the volumes of a worker group.
#include "coordinator/rebuild.h"

#include <gtest/gtest.h>

#include "tests/coordinator/running_coordinator.h"

namespace rotulus::coordinator::testing {
namespace {

protocol::ManifestRecord make_manifest(std::uint64_t object, std::uint32_t chunk, std::uint64_t volume,
                                       std::uint64_t tokens = 5000) {
  protocol::ManifestRecord manifest{
      .object = protocol::ObjectId{object}, .context = ContextId{9}, .chunk_index = chunk};
  manifest.range = protocol::chunk_range(chunk, tokens);
  manifest.store = protocol::StoreId{1};
  manifest.volume = protocol::VolumeId{volume};
  manifest.placement = {{0, protocol::VolumeId{1}}, {128, protocol::VolumeId{2}}};
  manifest.description.token_count = tokens;
  manifest.token_ids.assign(manifest.range.count(), chunk);
  return manifest;
}

TEST(CatalogueRebuild, TakesTheLatestObjectThatAllItsVolumesHave) {
  CatalogueRebuild rebuild(protocol::StoreId{1}, 41);
  for (const std::uint64_t volume : {2, 1}) {
    rebuild.add(make_manifest(10, 0, volume), 100 + volume);
    rebuild.add(make_manifest(12, 0, volume), 120 + volume);
    rebuild.add(make_manifest(11, 1, volume), 110 + volume);
  }
  rebuild.add(make_manifest(13, 0, 1), 131);  // volume 2 never had its part
  const auto rebuilt = rebuild.finish();
  EXPECT_EQ(rebuilt.sequence, 42u);
  EXPECT_GT(rebuilt.first_object, 13u);
  EXPECT_GT(rebuilt.first_context, 9u);
  ASSERT_EQ(rebuilt.contexts.size(), 1u);
  const auto& [record, ids] = rebuilt.contexts[0];
  EXPECT_EQ(record.status, ContextStatus::completed);
  EXPECT_EQ(record.chunks[0].object, protocol::ObjectId{12});
  EXPECT_EQ(record.chunks[0].manifests,
            (std::vector<protocol::VolumeManifest>{{protocol::VolumeId{1}, 121}, {protocol::VolumeId{2}, 122}}));
  EXPECT_EQ(ids.size(), 5000u);
}

TEST(CatalogueRebuild, HasAChunkComputedAgainOfWhichOnlyAPartIsLeft) {
  CatalogueRebuild rebuild(protocol::StoreId{1}, 0);
  rebuild.add(make_manifest(10, 0, 1), 1);
  for (const std::uint64_t volume : {1, 2}) rebuild.add(make_manifest(11, 1, volume), 2);
  const auto rebuilt = rebuild.finish();
  const auto& [record, ids] = rebuilt.contexts[0];
  EXPECT_EQ(record.status, ContextStatus::in_progress);
  EXPECT_FALSE(record.chunks[0].object);
  EXPECT_EQ(record.chunks[1].object, protocol::ObjectId{11});
  EXPECT_EQ(ids.size(), 5000u);
}

TEST(CatalogueRebuild, FailsAContextWhoseTokenIdsAreLostWithTheNumbers) {
  CatalogueRebuild rebuild(protocol::StoreId{1}, 0);
  for (const std::uint64_t volume : {1, 2}) rebuild.add(make_manifest(10, 0, volume), 1);
  const auto rebuilt = rebuild.finish();
  const auto& [record, ids] = rebuilt.contexts[0];
  EXPECT_EQ(record.status, ContextStatus::failed);
  EXPECT_NE(record.last_error->message().find("1 of 2 chunks"), std::string::npos) << record.last_error->message();
  EXPECT_NE(record.last_error->message().find("904 of 5000 tokens"), std::string::npos);
}

TEST(Rebuild, RestoresALostCatalogueWithoutComputingAnything) {
  const TemporaryDirectory directory;
  FakeDisk disk;
  ContextId id;
  protocol::StoreId store;
  const std::string text(6000, 'k');
  std::vector<protocol::TokenId> answer;
  const auto ask = [&](RunningCoordinator& coordinator) {
    const auto record = coordinator.ask({.context = id, .prompt = std::string("?"), .max_tokens = 5});
    EXPECT_TRUE(eventually([&] { return record->is_ended(); }));
    return record->tokens_now();
  };
  {
    RunningCoordinator coordinator(directory.path());
    const FakeWorkerGroup group(disk, {.port = coordinator.port(), .group = 1});
    protocol::ContextDescription description;
    description.frame = protocol::Frame::raw;
    description.display_name = "Kings";
    id = coordinator.submit(text, description);
    coordinator.wait_for(id, ContextStatus::completed);
    answer = ask(coordinator);
    store = coordinator.cluster().store;
  }
  std::filesystem::remove_all(directory.path() / "catalogue");
  {
    // Without being asked for, nothing is restored, and nothing is touched.
    RunningCoordinator coordinator(directory.path());
    const FakeWorkerGroup group(disk, {.port = coordinator.port(), .group = 2});
    EXPECT_TRUE(eventually([&] { return coordinator.cluster().refused.size() == 2; }));
    EXPECT_NE(coordinator.cluster().refused[0].find("--rebuild-catalogue"), std::string::npos);
    EXPECT_EQ(disk.volumes[protocol::VolumeId{11}].objects.size(), 2u);
  }
  for (int life = 0; life < 2; ++life) {  // once to restore; asked for again, there is nothing to do
    RunningCoordinator coordinator(directory.path(), {.rebuild = true});
    const FakeWorkerGroup group(disk, {.port = coordinator.port(), .group = 3u + static_cast<std::uint64_t>(life)});
    coordinator.wait_until_ready();
    EXPECT_EQ(coordinator.cluster().store, store);
    const auto view = coordinator.find(id);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->status, ContextStatus::completed);
    EXPECT_EQ(view->description.display_name, "Kings");
    EXPECT_EQ(ask(coordinator), answer);
    EXPECT_EQ(group.counts().chunks_asked, 0u);
    const ContextId next = coordinator.submit("a new one");
    EXPECT_GT(next, id);
    coordinator.wait_for(next, ContextStatus::completed);
  }
}

}  // namespace
}  // namespace rotulus::coordinator::testing
