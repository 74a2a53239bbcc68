// What the catalogue acknowledges is there at the next opening, whatever ended the process in between.
#include "coordinator/catalogue.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <set>

#include "tests/coordinator/running_coordinator.h"

namespace rotulus::coordinator::testing {
namespace {

// A catalogue on a loop that the test itself runs.
class OpenCatalogue {
 public:
  explicit OpenCatalogue(const std::filesystem::path& path, bool may_replace = false)
      : catalogue(Catalogue::open(path, loop_.loop(), log_, may_replace)) {}

  void run_until(const bool& is_done) { loop_.run_until(is_done); }
  std::optional<protocol::Error> commit(CatalogueBatch batch, Catalogue::Kind kind = Catalogue::Kind::record) {
    bool is_done = false;
    std::optional<protocol::Error> result;
    catalogue->commit(std::move(batch), kind, [&](const auto& error) {
      result = error;
      is_done = true;
    });
    run_until(is_done);
    return result;
  }

 private:
  RecordingLog log_;
  ManualLoop loop_;

 public:
  std::unique_ptr<Catalogue> catalogue;
};

ContextRecord make_record(std::uint64_t id, std::uint64_t tokens) {
  ContextRecord record;
  record.id = ContextId{id};
  record.status = ContextStatus::in_progress;
  record.parameters.model_fingerprint = "model";
  record.description.display_name = "Genesis";
  record.description.system = "Be brief.";
  record.description.token_count = tokens;
  record.source = SpooledDocument{.path = "abc.text", .kind = SpoolKind::text, .bytes = 17};
  record.source_bytes = 17;
  record.compute_ms = 1234;
  record.last_error = protocol::Error(protocol::ErrorCode::storage_full, "full", "store");
  record.chunks.resize(protocol::chunk_count(tokens));
  return record;
}

protocol::ObjectRecord make_object(std::uint64_t object) {
  return {.object = protocol::ObjectId{object},
          .placement = {{0, protocol::VolumeId{5}}},
          .manifests = {{protocol::VolumeId{5}, object * 3}}};
}

TEST(Catalogue, KeepsContextsOverAReopening) {
  const TemporaryDirectory directory;
  const ContextRecord record = make_record(7, 10'000);
  protocol::StoreId store;
  {
    OpenCatalogue open(directory.path());
    store = open.catalogue->store();
    CatalogueBatch batch;
    batch.put_context(record);
    batch.put_chunk(record.id, 1, make_object(3));
    EXPECT_FALSE(open.commit(std::move(batch), Catalogue::Kind::create));
    open.catalogue->note_computed(record.id, 4321);
  }
  OpenCatalogue open(directory.path());
  EXPECT_EQ(open.catalogue->store(), store);
  EXPECT_EQ(open.catalogue->sequence(), 1u);
  const auto contexts = open.catalogue->take_contexts();
  ASSERT_EQ(contexts.size(), 1u);
  const ContextRecord& read = contexts[0];
  EXPECT_EQ(read.status, record.status);
  EXPECT_EQ(read.description, record.description);
  EXPECT_EQ(read.parameters, record.parameters);
  EXPECT_EQ(read.source->path, record.source->path);
  EXPECT_EQ(read.compute_ms, record.compute_ms);
  EXPECT_EQ(read.computed_before, 4321u);
  EXPECT_EQ(read.last_error->code(), record.last_error->code());
  EXPECT_EQ(read.last_error->message(), "full");
  ASSERT_EQ(read.chunks.size(), 3u);
  EXPECT_FALSE(read.chunks[0].object);
  EXPECT_EQ(read.chunks[1], make_object(3));
}

TEST(Catalogue, NeverGivesOutAnIdTwice) {
  const TemporaryDirectory directory;
  std::set<protocol::ObjectId> objects;
  std::set<ContextId> contexts;
  std::set<protocol::Epoch> epochs;
  for (int life = 0; life < 3; ++life) {
    OpenCatalogue open(directory.path());
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(objects.insert(*open.catalogue->next_object()).second);
      EXPECT_TRUE(contexts.insert(*open.catalogue->next_context()).second);
      const auto epoch = open.catalogue->next_epoch();
      EXPECT_TRUE(epochs.empty() || *epoch > *epochs.rbegin());
      epochs.insert(*epoch);
    }
  }
}

// Far more than one reservation, with the loop running only now and then.
TEST(Catalogue, ReservesMoreIdsBeforeTheyRunOut) {
  const TemporaryDirectory directory;
  OpenCatalogue open(directory.path());
  std::uint64_t last = 0;
  for (int i = 0; i < 200'000; ++i) {
    if (i % 30'000 == 0) {
      bool is_done = false;
      open.catalogue->barrier([&] { is_done = true; });
      open.run_until(is_done);
    }
    const auto object = open.catalogue->next_object();
    ASSERT_TRUE(object);
    ASSERT_EQ(object->value, last + 1);
    last = object->value;
  }
}

TEST(Catalogue, ReadsTokenIdsAcrossPieces) {
  const TemporaryDirectory directory;
  OpenCatalogue open(directory.path());
  std::vector<protocol::TokenId> ids(kTokenIdsPerPiece + 100);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<protocol::TokenId>(i * 2654435761u);
  CatalogueBatch batch;
  batch.put_token_ids(ContextId{1}, 0, std::span(ids).first(kTokenIdsPerPiece));
  batch.put_token_ids(ContextId{1}, 1, std::span(ids).subspan(kTokenIdsPerPiece));
  EXPECT_FALSE(open.commit(std::move(batch)));
  const auto read = [&](std::uint64_t begin, std::uint64_t end) {
    bool is_done = false;
    std::optional<protocol::Error> failed;
    std::vector<protocol::TokenId> found;
    open.catalogue->read_token_ids(ContextId{1}, {begin, end}, [&](const auto& error, auto read_ids) {
      failed = error;
      found = std::move(read_ids);
      is_done = true;
    });
    open.run_until(is_done);
    return std::pair(failed.has_value(), found);
  };
  const auto [has_failed, found] = read(kTokenIdsPerPiece - 3, kTokenIdsPerPiece + 5);
  EXPECT_FALSE(has_failed);
  EXPECT_EQ(found, std::vector(ids.begin() + kTokenIdsPerPiece - 3, ids.begin() + kTokenIdsPerPiece + 5));
  EXPECT_TRUE(read(0, ids.size() + 1).first);
}

TEST(Catalogue, ForgetsAnErasedContextAndNothingBesideIt) {
  const TemporaryDirectory directory;
  {
    OpenCatalogue open(directory.path());
    for (const std::uint64_t id : {1, 2, 3}) {
      CatalogueBatch batch;
      batch.put_context(make_record(id, 5000));
      batch.put_chunk(ContextId{id}, 0, make_object(id));
      EXPECT_FALSE(open.commit(std::move(batch)));
    }
    CatalogueBatch batch;
    batch.erase_context(ContextId{2});
    EXPECT_FALSE(open.commit(std::move(batch), Catalogue::Kind::erase));
  }
  OpenCatalogue open(directory.path());
  const auto contexts = open.catalogue->take_contexts();
  ASSERT_EQ(contexts.size(), 2u);
  EXPECT_EQ(contexts[0].id.value, 1u);
  EXPECT_EQ(contexts[1].id.value, 3u);
  EXPECT_EQ(contexts[1].chunks[0], make_object(3));
}

TEST(Catalogue, NamesTheWayOutWhenItDoesNotOpen) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "catalogue";
  {
    OpenCatalogue open(path);
    CatalogueBatch batch;
    batch.put_context(make_record(1, 10));
    EXPECT_FALSE(open.commit(std::move(batch)));
  }
  std::ofstream(path / "CURRENT") << "nonsense\n";
  try {
    OpenCatalogue open(path);
    FAIL() << "it opened";
  } catch (const protocol::Error& error) {
    EXPECT_EQ(error.code(), protocol::ErrorCode::storage_corrupt);
    EXPECT_NE(error.message().find("--rebuild-catalogue"), std::string::npos) << error.message();
  }
  OpenCatalogue replaced(path, true);
  EXPECT_TRUE(replaced.catalogue->is_empty());
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "catalogue.damaged-1"));
}

// ---------------------------------------------------------------------------------------------------------------
// Killed at each failpoint. The child works through a script and notes each acknowledgement in a file; afterwards the
// catalogue must hold everything acknowledged, each change whole or not at all.

constexpr const char* kChildVariable = "ROTULUS_TEST_CATALOGUE_CHILD";
constexpr std::uint64_t kContexts = 4;

// What the child of the tests below runs, in the folder named by the environment; by itself, undisturbed.
TEST(CatalogueCrash, Child) {
  std::optional<TemporaryDirectory> own;
  const char* given = std::getenv(kChildVariable);
  const std::filesystem::path directory = given != nullptr ? given : own.emplace().path();
  OpenCatalogue open(directory / "catalogue");
  std::ofstream acknowledged(directory / "acknowledged");
  const auto note = [&](const char* what, std::uint64_t id) { acknowledged << what << ' ' << id << std::endl; };
  for (std::uint64_t id = 1; id <= kContexts; ++id) {
    CatalogueBatch created;
    created.put_context(make_record(id, 5000));
    ASSERT_FALSE(open.commit(std::move(created), Catalogue::Kind::create));
    note("created", id);
    CatalogueBatch committed;
    committed.put_context(make_record(id, 5000));
    committed.put_chunk(ContextId{id}, 0, make_object(2 * id));
    committed.put_chunk(ContextId{id}, 1, make_object(2 * id + 1));
    ASSERT_FALSE(open.commit(std::move(committed), Catalogue::Kind::record));
    note("committed", id);
    if (id % 2 != 0) continue;
    CatalogueBatch erased;
    erased.erase_context(ContextId{id});
    ASSERT_FALSE(open.commit(std::move(erased), Catalogue::Kind::erase));
    note("erased", id);
  }
}

int run_child(const std::filesystem::path& directory, const std::string& failpoints) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv(kChildVariable, directory.c_str(), 1);
    ::setenv("ROTULUS_FAILPOINTS", failpoints.c_str(), 1);
    const char* arguments[] = {"coordinator_tests", "--gtest_filter=CatalogueCrash.Child", "--gtest_brief=1", nullptr};
    ::execv("/proc/self/exe", const_cast<char**>(arguments));
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

std::map<std::uint64_t, std::set<std::string>> read_acknowledged(const std::filesystem::path& directory) {
  std::map<std::uint64_t, std::set<std::string>> acknowledged;
  std::ifstream file(directory / "acknowledged");
  std::string what;
  for (std::uint64_t id = 0; file >> what >> id;) acknowledged[id].insert(what);
  return acknowledged;
}

class CatalogueCrashAt : public ::testing::TestWithParam<std::string> {};

TEST_P(CatalogueCrashAt, LosesNothingThatWasAcknowledged) {
  const TemporaryDirectory directory;
  const int status = run_child(directory.path(), GetParam());
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the failpoint was not met";
  const auto acknowledged = read_acknowledged(directory.path());
  OpenCatalogue open(directory.path() / "catalogue");
  std::map<std::uint64_t, ContextRecord> found;
  for (ContextRecord& record : open.catalogue->take_contexts()) found[record.id.value] = record;
  for (std::uint64_t id = 1; id <= kContexts; ++id) {
    const auto noted = acknowledged.contains(id) ? acknowledged.at(id) : std::set<std::string>();
    const bool may_be_erased = id % 2 == 0 && noted.contains("committed");
    if (noted.contains("erased")) {
      EXPECT_FALSE(found.contains(id)) << id;
    }
    if (noted.contains("created") && !may_be_erased) {
      EXPECT_TRUE(found.contains(id)) << id;
    }
    if (!found.contains(id)) continue;
    const auto& chunks = found.at(id).chunks;
    ASSERT_EQ(chunks.size(), 2u);
    EXPECT_EQ(chunks[0].object ? 1 : 0, chunks[1].object ? 1 : 0) << "half a batch of " << id;
    if (noted.contains("committed")) {
      EXPECT_EQ(chunks[1], make_object(2 * id + 1)) << id;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EachFailpoint, CatalogueCrashAt,
                         ::testing::Values("context.created=kill@2", "catalogue.before_record=kill@1",
                                           "catalogue.before_record=kill@4", "catalogue.after_record=kill@3",
                                           "catalogue.before_delete=kill@1", "catalogue.after_delete=kill@1",
                                           "catalogue.after_delete=kill@2"));

}  // namespace
}  // namespace rotulus::coordinator::testing
