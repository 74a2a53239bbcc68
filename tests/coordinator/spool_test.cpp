#include "coordinator/spool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "protocol/error.h"
#include "tests/coordinator/running_coordinator.h"

namespace rotulus::coordinator::testing {
namespace {

std::size_t count_files(const std::filesystem::path& directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

TEST(Spool, GivesBackInPiecesWhatWasAppended) {
  const TemporaryDirectory directory;
  SpoolWriter writer(directory.path(), SpoolKind::text);
  writer.append("In the beginning ");
  writer.append("was the word");
  const SpooledDocument document = writer.finish();
  EXPECT_EQ(document.path.extension(), ".text");
  EXPECT_EQ(document.bytes, 29u);
  EXPECT_EQ(read_spooled(document, 0, 17) + read_spooled(document, 17, 100), "In the beginning was the word");
}

TEST(Spool, RemovesWhatWasNotFinished) {
  const TemporaryDirectory directory;
  {
    SpoolWriter writer(directory.path(), SpoolKind::token_ids);
    writer.append("half");
    EXPECT_EQ(count_files(directory.path()), 1u);
  }
  EXPECT_EQ(count_files(directory.path()), 0u);
}

TEST(Spool, CleansAwayAllButWhatIsNeeded) {
  const TemporaryDirectory directory;
  SpoolWriter kept(directory.path(), SpoolKind::text);
  const SpooledDocument needed = kept.finish();
  SpoolWriter(directory.path(), SpoolKind::text).finish();
  EXPECT_EQ(clean_spool(directory.path(), {needed.path.filename()}), 1u);
  EXPECT_TRUE(std::filesystem::exists(needed.path));
}

TEST(Spool, SaysWhichDocumentIsShorterThanItWas) {
  const TemporaryDirectory directory;
  SpoolWriter writer(directory.path(), SpoolKind::text);
  writer.append("twelve bytes");
  const SpooledDocument document = writer.finish();
  std::filesystem::resize_file(document.path, 5);
  EXPECT_THROW(read_spooled(document, 0, 12), protocol::Error);
}

}  // namespace
}  // namespace rotulus::coordinator::testing
