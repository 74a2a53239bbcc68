// Contexts that travel as files between coordinators whose worker groups work without a model: what arrives must answer
// as what left, without anything computed, on any number of ranks; and what does not arrive whole must leave nothing.
#include <future>

#include "coordinator/context_file.h"
#include "tests/coordinator/coordinator_test.h"

namespace rotulus::coordinator::testing {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using protocol::TokenId;
using protocol::VolumeId;

constexpr std::size_t kPieceBytes = 256u << 10;

std::string text_of(std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += fmt::format("{} bottles; ", text.size());
  text.resize(bytes);
  return text;
}

FakeGroupOptions ranks(std::vector<VolumeId> volumes) {
  FakeGroupOptions options{.size = static_cast<std::uint32_t>(volumes.size()), .volumes = std::move(volumes)};
  options.model.layers = 2;
  return options;
}

class TransfersTest : public CoordinatorTest {
 protected:
  std::unique_ptr<FakeWorkerGroup> start(const RunningCoordinator& coordinator, FakeDisk& disk,
                                         FakeGroupOptions options) {
    options.port = coordinator.port();
    options.group = ++last_group_;
    return std::make_unique<FakeWorkerGroup>(disk, options);
  }

  static std::string export_all(RunningCoordinator& coordinator, ContextId id) {
    auto file = coordinator.on_loop([&](auto& self) { return self.contexts->begin_export(id); });
    std::string bytes;
    for (;;) {
      std::promise<std::pair<std::optional<Error>, std::string>> piece;
      coordinator.on_loop([&](auto&) {
        file->next([&](std::optional<Error> error, std::string next) { piece.set_value({error, std::move(next)}); });
      });
      auto [error, next] = piece.get_future().get();
      if (error) throw *error;
      if (next.empty()) break;
      bytes += next;
    }
    coordinator.on_loop([&](auto&) { file.reset(); });
    return bytes;
  }

  static std::shared_ptr<ContextImport> begin_import(RunningCoordinator& coordinator, ImportRequest request = {}) {
    return coordinator.on_loop(
        [&](auto& self) { return std::shared_ptr<ContextImport>(self.contexts->begin_import(std::move(request))); });
  }
  static void take(RunningCoordinator& coordinator, ContextImport& file, std::string_view bytes) {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(kPieceBytes, bytes.size()))) {
      std::promise<std::optional<Error>> taken;
      coordinator.on_loop([&](auto&) {
        file.take(bytes.substr(0, kPieceBytes), [&](const std::optional<Error>& error) { taken.set_value(error); });
      });
      if (const auto error = taken.get_future().get()) throw *error;
    }
  }
  static ContextView finish(RunningCoordinator& coordinator, ContextImport& file) {
    std::promise<std::pair<std::optional<Error>, ContextView>> finished;
    coordinator.on_loop([&](auto&) {
      file.finish([&](std::optional<Error> error, ContextView view) { finished.set_value({error, std::move(view)}); });
    });
    auto [error, view] = finished.get_future().get();
    if (error) throw *error;
    return view;
  }
  static ContextView import_all(RunningCoordinator& coordinator, std::string_view bytes, ImportRequest request = {}) {
    auto file = begin_import(coordinator, std::move(request));
    const auto let_go = [&] { coordinator.on_loop([&](auto&) { file.reset(); }); };
    try {
      take(coordinator, *file, bytes);
      const ContextView view = finish(coordinator, *file);
      let_go();
      return view;
    } catch (const Error&) {
      let_go();
      throw;
    }
  }
  static Error import_error(RunningCoordinator& coordinator, std::string_view bytes) {
    try {
      import_all(coordinator, bytes);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "it was imported";
    return Error(ErrorCode::internal, "");
  }

  static std::vector<TokenId> ask(RunningCoordinator& coordinator, ContextId id) {
    const auto record = coordinator.ask({.context = id, .prompt = std::string("?"), .max_tokens = 5});
    EXPECT_TRUE(eventually([&] { return record->is_ended(); }));
    EXPECT_FALSE(record->failed) << record->failed->message();
    return record->tokens_now();
  }

  static std::size_t objects(FakeDisk& disk) {
    const std::lock_guard lock(disk.mutex);
    std::size_t count = 0;
    for (const auto& [id, volume] : disk.volumes) count += volume.objects.size();
    return count;
  }
  std::size_t spooled(const TemporaryDirectory& directory) const {
    std::size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory.path() / "spool")) ++files;
    return files;
  }

  // A context of 9,000 tokens and its file, from a cluster of two ranks.
  void make_file() {
    RunningCoordinator coordinator(directory_.path());
    const auto group = start(coordinator, disk_, ranks({{11}, {12}}));
    coordinator.wait_until_ready();
    protocol::ContextDescription description{.frame = protocol::Frame::raw, .display_name = "bottles"};
    const ContextId id = coordinator.submit(text_of(9000), description);
    coordinator.wait_for(id, ContextStatus::completed);
    said_ = ask(coordinator, id);
    file_ = export_all(coordinator, id);
  }

  std::string file_;
  std::vector<TokenId> said_;
  TemporaryDirectory other_directory_;
  FakeDisk other_disk_;
};

TEST_F(TransfersTest, AContextAnswersAlikeOnAnotherNumberOfRanksWithNothingComputed) {
  make_file();
  for (const auto& volumes : {std::vector<VolumeId>{{21}}, std::vector<VolumeId>{{31}, {32}, {33}}}) {
    const TemporaryDirectory directory;
    FakeDisk disk;
    ContextId id;
    {
      RunningCoordinator coordinator(directory.path());
      const auto group = start(coordinator, disk, ranks(volumes));
      coordinator.wait_until_ready();
      const ContextView view = import_all(coordinator, file_);
      id = view.id;
      EXPECT_EQ(view.status, ContextStatus::completed);
      EXPECT_EQ(view.description.display_name, "bottles");
      EXPECT_EQ(view.progress.committed, 9000u);
      EXPECT_EQ(ask(coordinator, id), said_);
      EXPECT_EQ(group->counts().chunks_asked, 0u);
      EXPECT_EQ(group->counts().tokens_computed, 0u);
      EXPECT_EQ(group->counts().bytes_tokenized, 0u);
      // Apart from when it was made, what leaves here is what came.
      const std::string again = export_all(coordinator, id);
      const std::size_t document = file_.find("0 bottles");
      EXPECT_EQ(again.substr(document), file_.substr(document));
    }
    RunningCoordinator coordinator(directory.path());
    const auto group = start(coordinator, disk, ranks(volumes));
    coordinator.wait_until_ready();
    EXPECT_EQ(ask(coordinator, id), said_);
    EXPECT_EQ(group->counts().chunks_asked, 0u);
  }
}

TEST_F(TransfersTest, AnImportedContextMayBeAppendedToAndErased) {
  make_file();
  RunningCoordinator coordinator(other_directory_.path());
  const auto group = start(coordinator, other_disk_, ranks({{21}}));
  coordinator.wait_until_ready();
  const ContextId id = import_all(coordinator, file_, {.display_name = "other"}).id;
  EXPECT_EQ(coordinator.find(id)->description.display_name, "other");
  std::promise<std::optional<Error>> appended;
  coordinator.on_loop([&](auto& self) {
    self.contexts->append(id, text_of(100), [&](const auto& error, const auto&) { appended.set_value(error); });
  });
  ASSERT_FALSE(appended.get_future().get());
  EXPECT_TRUE(eventually([&] { return coordinator.find(id)->description.token_count == 9100; }));
  EXPECT_EQ(coordinator.find(id)->shared_tokens, 8192u);
  EXPECT_EQ(group->counts().tokens_computed, 9100u - 8192u);
  EXPECT_FALSE(coordinator.erase(id));
  EXPECT_TRUE(eventually([&] { return objects(other_disk_) == 0; }));
}

// Each of its records holds, and so does their order; what it says of itself is more than it has.
TEST_F(TransfersTest, AFileThatEndsBehindItsFirstChunkIsRefusedAndLeavesNothing) {
  make_file();
  ContextFileReader whole;
  whole.append(file_);
  std::string shorter = context_file_opening();
  std::uint32_t records = 0;
  bool is_behind_first = false;
  while (const auto record = whole.next()) {
    if (is_behind_first && record->kind != FileRecord::end) continue;
    shorter += context_file_record(record->kind, records++, record->payload);
    is_behind_first |= record->kind == FileRecord::chunk_end;
  }
  ASSERT_LT(shorter.size(), file_.size());
  RunningCoordinator coordinator(other_directory_.path());
  const auto group = start(coordinator, other_disk_, ranks({{21}, {22}}));
  coordinator.wait_until_ready();
  EXPECT_EQ(import_error(coordinator, shorter).code(), ErrorCode::storage_corrupt);
  EXPECT_TRUE(eventually([&] { return objects(other_disk_) == 0; }));
}

TEST_F(TransfersTest, AnImportThatIsCutOrDamagedLeavesNothing) {
  make_file();
  RunningCoordinator coordinator(other_directory_.path());
  const auto group = start(coordinator, other_disk_, ranks({{21}, {22}}));
  coordinator.wait_until_ready();
  for (const double share : {0.0001, 0.3, 0.7, 0.9999}) {
    const auto bytes = static_cast<std::size_t>(share * static_cast<double>(file_.size()));
    EXPECT_EQ(import_error(coordinator, std::string_view(file_).substr(0, bytes)).code(), ErrorCode::storage_corrupt);
    std::string damaged = file_;
    damaged[bytes] = static_cast<char>(damaged[bytes] ^ 4);
    const Error error = import_error(coordinator, damaged);
    EXPECT_EQ(error.code(), ErrorCode::storage_corrupt);
    EXPECT_NE(error.message().find("at byte"), std::string::npos) << error.message();
  }
  EXPECT_GT(group->counts().slices_written, 0u);
  EXPECT_TRUE(eventually([&] { return objects(other_disk_) == 0; }));
  EXPECT_TRUE(eventually([&] { return spooled(other_directory_) == 0; }));
  EXPECT_TRUE(coordinator.on_loop([](auto& self) { return self.contexts->list({}, 10); }).empty());
}

TEST_F(TransfersTest, AnImportUnderWhichTheWorkersAreLostLeavesNothing) {
  make_file();
  RunningCoordinator coordinator(other_directory_.path());
  auto group = start(coordinator, other_disk_, ranks({{21}}));
  coordinator.wait_until_ready();
  auto file = begin_import(coordinator);
  const std::size_t most = file_.size() - 100;
  take(coordinator, *file, std::string_view(file_).substr(0, most));
  EXPECT_GT(objects(other_disk_), 0u);
  coordinator.lose(*group);
  group = start(coordinator, other_disk_, ranks({{21}}));
  coordinator.wait_until_ready();
  EXPECT_EQ(objects(other_disk_), 0u);
  const auto go_on = [&] {
    take(coordinator, *file, std::string_view(file_).substr(most));
    finish(coordinator, *file);
  };
  try {
    go_on();
    ADD_FAILURE() << "its objects are gone";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unavailable);
  }
  coordinator.on_loop([&](auto&) { file.reset(); });
  EXPECT_EQ(ask(coordinator, import_all(coordinator, file_).id), said_);
}

TEST_F(TransfersTest, WhatWouldAnswerOtherwiseIsRefusedByName) {
  make_file();
  struct Difference {
    const char* field;
    std::function<void(protocol::ContextParameters&)> make;
  };
  const Difference differences[] = {
      {"model_fingerprint", [](auto& parameters) { parameters.model_fingerprint = "another"; }},
      {"kv_type", [](auto& parameters) { parameters.kv_type = "f32"; }},
      {"numerics_id", [](auto& parameters) { parameters.numerics_id = "fake-2"; }},
  };
  for (const auto& [field, make] : differences) {
    const TemporaryDirectory directory;
    FakeDisk disk;
    RunningCoordinator coordinator(directory.path());
    FakeGroupOptions options = ranks({{21}});
    make(options.parameters);
    const auto group = start(coordinator, disk, options);
    coordinator.wait_until_ready();
    const Error error = import_error(coordinator, file_);
    EXPECT_EQ(error.code(), ErrorCode::conflict);
    EXPECT_EQ(error.param(), field);
    EXPECT_EQ(group->counts().slices_written, 0u);
  }
}

TEST_F(TransfersTest, WhatDoesNotFitIsRefusedBeforeAnythingIsWritten) {
  make_file();
  other_disk_.volumes[{21}].bytes_free = 1000;
  RunningCoordinator coordinator(other_directory_.path());
  const auto group = start(coordinator, other_disk_, ranks({{21}}));
  coordinator.wait_until_ready();
  EXPECT_EQ(import_error(coordinator, file_).code(), ErrorCode::storage_full);
  EXPECT_EQ(group->counts().slices_written, 0u);
}

TEST_F(TransfersTest, AnExportThatMeetsDamageEndsAndTheChunkIsComputedAgain) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start(coordinator, disk_, ranks({{11}, {12}}));
  coordinator.wait_until_ready();
  const ContextId id = coordinator.submit(text_of(9000), {.frame = protocol::Frame::raw});
  coordinator.wait_for(id, ContextStatus::completed);
  {
    const std::lock_guard lock(disk_.mutex);
    std::next(disk_.volumes[{12}].objects.begin())->second.is_damaged = true;
  }
  try {
    export_all(coordinator, id);
    ADD_FAILURE() << "it was exported";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::storage_corrupt);
  }
  EXPECT_TRUE(eventually([&] { return coordinator.find(id)->chunks_repaired == 1; }));
  coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_FALSE(export_all(coordinator, id).empty());
}

TEST_F(TransfersTest, WhatIsNotThereOrNotCompletedIsNotExported) {
  RunningCoordinator coordinator(directory_.path());
  const auto begin = [&](ContextId id) {
    return coordinator.on_loop([&](auto& self) -> std::optional<ErrorCode> {
      try {
        self.contexts->begin_export(id);
      } catch (const Error& error) {
        return error.code();
      }
      return std::nullopt;
    });
  };
  EXPECT_EQ(begin({77}), ErrorCode::not_found);
  const ContextId id = coordinator.submit(text_of(900), {.frame = protocol::Frame::raw});
  EXPECT_EQ(begin(id), ErrorCode::conflict);
  const auto group = start(coordinator, disk_, ranks({{11}}));
  coordinator.wait_for(id, ContextStatus::completed);
  EXPECT_EQ(begin(id), std::nullopt);
}

TEST_F(TransfersTest, NoMoreThanTheLimitAreUnderWay) {
  make_file();
  RunningCoordinator coordinator(other_directory_.path());
  const auto group = start(coordinator, other_disk_, ranks({{21}}));
  coordinator.wait_until_ready();
  std::vector<std::shared_ptr<ContextImport>> files;
  for (std::size_t i = 0; i < protocol::kMaxTransfers; ++i) files.push_back(begin_import(coordinator));
  const auto one_more = [&] {
    return coordinator.on_loop([](auto& self) {
      try {
        self.contexts->begin_import({});
      } catch (const Error& error) {
        return error.code() == ErrorCode::unavailable;
      }
      return false;
    });
  };
  EXPECT_TRUE(one_more());
  coordinator.on_loop([&](auto&) { files.pop_back(); });
  EXPECT_FALSE(one_more());
  coordinator.on_loop([&](auto&) { files.clear(); });
}

}  // namespace
}  // namespace rotulus::coordinator::testing
