// A model in parts is the model in one file: the same fingerprint. Whatever does not belong together is refused by
// name.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "protocol/error.h"
#include "tests/support/tiny_model.h"
#include "worker/model/model.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using testing::GgufBuilder;
using testing::GgufType;
using testing::tiny_model;

constexpr std::uint16_t kParts = 3;

void set_u16(GgufBuilder& file, const std::string& key, std::uint16_t value) {
  std::erase_if(file.entries, [&key](const auto& entry) { return entry.first == key; });
  file.number(key, GgufType::u16, value);
}

// The tiny model, cut into parts as llama.cpp's splitter does: metadata in the first, tensors in order.
std::vector<GgufBuilder> split_model() {
  GgufBuilder whole = tiny_model();
  const auto tensors = static_cast<std::int32_t>(whole.tensors.size());
  std::vector<GgufBuilder> parts(kParts);
  parts[0].entries = whole.entries;
  for (std::uint16_t part = 0; part < kParts; ++part) {
    set_u16(parts[part], "split.no", part);
    set_u16(parts[part], "split.count", kParts);
    parts[part].number("split.tensors.count", GgufType::i32, tensors);
  }
  for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
    parts[i * kParts / whole.tensors.size()].tensor(whole.tensors[i]);
  }
  return parts;
}

// Files that are gone with the test.
class SplitFiles final {
 public:
  explicit SplitFiles(const std::vector<GgufBuilder>& parts)
      : folder_(std::filesystem::temp_directory_path() / ("split-" + std::to_string(::getpid()))) {
    std::filesystem::create_directory(folder_);
    for (std::size_t part = 0; part < parts.size(); ++part) {
      const auto bytes = parts[part].build();
      std::ofstream(path(part), std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
  }
  ~SplitFiles() { std::filesystem::remove_all(folder_); }
  SplitFiles(const SplitFiles&) = delete;
  SplitFiles& operator=(const SplitFiles&) = delete;

  std::filesystem::path path(std::size_t part) const {
    return folder_ / ("tiny-0000" + std::to_string(part + 1) + "-of-00003.gguf");
  }

 private:
  std::filesystem::path folder_;
};

std::unique_ptr<Model> load(const std::filesystem::path& path) {
  const auto backend = kernels::make_cpu_backend(kernels::Isa::scalar, 1);
  return load_model(path, *backend);
}

TEST(SplitFile, IsTheModelOfOneFile) {
  const SplitFiles files(split_model());
  const testing::TemporaryModel whole(tiny_model(), "whole");
  const auto model = load(files.path(0));
  EXPECT_EQ(model->fingerprint, load(whole.path())->fingerprint);
  std::uint64_t bytes = 0;
  for (std::size_t part = 0; part < kParts; ++part) bytes += std::filesystem::file_size(files.path(part));
  EXPECT_EQ(model->file.bytes(), bytes);
}

struct Misfit {
  std::string name;
  std::function<void(std::vector<GgufBuilder>&)> change;
  ErrorCode code;
  std::vector<std::string> says;
  std::size_t opened = 0;
};

void PrintTo(const Misfit& misfit, std::ostream* out) {
  *out << misfit.name;
}

std::vector<Misfit> misfits() {
  constexpr auto kMalformed = ErrorCode::malformed_file;
  return {
      {"PartMissing", [](auto& parts) { parts.pop_back(); }, ErrorCode::not_found, {"tiny-00003-of-00003.gguf"}},
      {"AnotherPartNamed", [](auto&) {}, ErrorCode::unsupported, {"\"-00001-of-00003.gguf\"", "name that one"}, 1},
      {"PartsChangedPlaces",
       [](auto& parts) { std::swap(parts[1], parts[2]); },
       kMalformed,
       {"tiny-00002-of-00003.gguf", "part 2 of 3"}},
      {"PartOfAnotherCut",
       [](auto& parts) { set_u16(parts[2], "split.count", 4); },
       kMalformed,
       {"tiny-00003-of-00003.gguf", "part 3 of 3"}},
      {"PartThatSaysNothing",
       [](auto& parts) { parts[1].entries.clear(); },
       kMalformed,
       {"tiny-00002-of-00003.gguf", "part 2 of 3"}},
      {"PartThatIsNoGguf",
       [](auto& parts) { parts[1].magic = "GGML"; },
       kMalformed,
       {"tiny-00002-of-00003.gguf", "not a GGUF file"}},
      {"PartCutShort",
       [](auto& parts) { parts[2].tensors.back().data.resize(4); },
       kMalformed,
       {"tiny-00003-of-00003.gguf", "beyond"}},
      {"TensorTwice",
       [](auto& parts) {
         parts[2].tensors.pop_back();
         parts[2].tensor(parts[1].tensors.front());
       },
       kMalformed,
       {"two parts"}},
      {"TensorsMissing",
       [](auto& parts) { parts[2].tensors.pop_back(); },
       kMalformed,
       {"\"split.tensors.count\" is 21", "have 20"}},
      {"MoreFilesThanThereAre",
       [](auto& parts) { set_u16(parts[0], "split.count", 65535); },
       ErrorCode::unsupported,
       {"65535 files"}},
  };
}

class MisfitOfParts : public ::testing::TestWithParam<Misfit> {};

TEST_P(MisfitOfParts, IsRefusedByName) {
  std::vector<GgufBuilder> parts = split_model();
  GetParam().change(parts);
  const SplitFiles files(parts);
  try {
    load(files.path(GetParam().opened));
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code) << error.message();
    for (const std::string& part : GetParam().says) {
      EXPECT_NE(error.message().find(part), std::string::npos) << part << " is not in: " << error.message();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(SplitFile, MisfitOfParts, ::testing::ValuesIn(misfits()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace rotulus::worker
