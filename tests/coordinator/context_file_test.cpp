// What is written is read back however the bytes come; whatever is not what was written is refused with its place.
#include "coordinator/context_file.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::coordinator {
namespace {

using protocol::Error;
using protocol::ErrorCode;

const std::vector<std::pair<FileRecord, std::string>> kRecords = {{FileRecord::context, "parameters"},
                                                                  {FileRecord::text, "In the beginning"},
                                                                  {FileRecord::tokens, std::string("\1\0\0\0", 4)},
                                                                  {FileRecord::slice, ""},
                                                                  {FileRecord::chunk_end, "four"},
                                                                  {FileRecord::end, ""}};

std::string whole_file() {
  std::string file = context_file_opening();
  std::uint32_t index = 0;
  for (const auto& [kind, payload] : kRecords) file += context_file_record(kind, index++, payload);
  return file;
}

std::vector<std::pair<FileRecord, std::string>> read(std::string_view file, std::size_t piece) {
  ContextFileReader reader;
  std::vector<std::pair<FileRecord, std::string>> records;
  for (; !file.empty(); file.remove_prefix(std::min(piece, file.size()))) {
    reader.append(file.substr(0, piece));
    while (const auto record = reader.next()) records.emplace_back(record->kind, record->payload);
  }
  reader.finish();
  return records;
}

std::optional<Error> refusal(std::string_view file) {
  try {
    read(file, 64);
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

RC_GTEST_PROP(ContextFile, IsReadBackHoweverItsBytesCome, ()) {
  RC_ASSERT(read(whole_file(), *rc::gen::inRange<std::size_t>(1, 200)) == kRecords);
}

TEST(ContextFile, WithAnyBitFlippedIsRefused) {
  const std::string file = whole_file();
  for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
    const bool is_reserved = bit / 8 >= 12 && bit / 8 < 16;  // of the opening; means nothing yet
    std::string damaged = file;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    EXPECT_EQ(refusal(damaged).has_value(), !is_reserved) << bit;
  }
}

TEST(ContextFile, CutAnywhereIsRefused) {
  const std::string file = whole_file();
  for (std::size_t bytes = 0; bytes < file.size(); ++bytes) EXPECT_TRUE(refusal(file.substr(0, bytes))) << bytes;
  EXPECT_TRUE(refusal(file + "x"));
}

TEST(ContextFile, SaysWhereItIsDamaged) {
  std::string file = whole_file();
  const std::size_t second =
      context_file_opening().size() + context_file_record(FileRecord::context, 0, "parameters").size();
  file[second + 20] ^= 1;
  const Error error = refusal(file).value();
  EXPECT_EQ(error.code(), ErrorCode::storage_corrupt);
  EXPECT_NE(error.message().find(fmt::format("at byte {}:", second)), std::string::npos) << error.message();
  // A record that is left out shifts the next into its place.
  const std::string without =
      whole_file().erase(second, context_file_record(FileRecord::text, 1, kRecords[1].second).size());
  EXPECT_EQ(refusal(without).value().code(), ErrorCode::storage_corrupt);
}

TEST(ContextFile, OfAnotherKindOrVersionIsNamedAsThat) {
  EXPECT_EQ(refusal("PK\3\4 this is something else altogether").value().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal("PK").value().code(), ErrorCode::invalid_argument);
  std::string newer = whole_file();
  newer[8] = 2;
  EXPECT_EQ(refusal(newer).value().code(), ErrorCode::unsupported);
}

TEST(ContextFile, HoldsNoRecordBeyondTheLimit) {
  ContextFileReader reader;
  reader.append(context_file_opening());
  const std::string record = context_file_record(FileRecord::slice, 0, std::string(protocol::kMaxFileRecordBytes, 'x'));
  reader.append(record);
  EXPECT_TRUE(reader.next());
  const std::string larger =
      context_file_record(FileRecord::slice, 1, std::string(protocol::kMaxFileRecordBytes + 1, 'x'));
  reader.append(std::string_view(larger).substr(0, 16));
  EXPECT_THROW(reader.next(), Error);
}

}  // namespace
}  // namespace rotulus::coordinator
