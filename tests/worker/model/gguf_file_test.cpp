// True files are read to the value; each lie that a file can tell is refused with its typed error, with a message that
// names what is wrong and where, and without allocating what the lie claims.
#include "worker/model/gguf_file.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "protocol/error.h"
#include "protocol/limits.h"
#include "tests/support/allocation_meter.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/model_file.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using testing::AllocationMeter;
using testing::ByteWriter;
using testing::GgufBuilder;
using testing::GgufType;

constexpr std::uint32_t kF32 = 0;
constexpr std::uint32_t kQ4_0 = 2;
constexpr std::size_t kMaxAllocation = 64u << 20;

// Two tensors and a key of each kind.
GgufBuilder good_file() {
  GgufBuilder file;
  file.string("general.architecture", "llama").u32("llama.block_count", 3).f32("llama.epsilon", 0.5f);
  file.number("small", GgufType::i8, std::int8_t{-7}).number("flag", GgufType::boolean, std::uint8_t{1});
  file.strings("words", {"a", "", "three"});
  file.entry("numbers", ByteWriter()
                            .number(GgufType::array)
                            .number(GgufType::i32)
                            .number<std::uint64_t>(2)
                            .number(std::int32_t{-1})
                            .number(std::int32_t{2}));
  file.zeros("first", {32, 2}, kQ4_0, 36).zeros("second", {3}, kF32, 12);
  return file;
}

ByteWriter array_of(GgufType type, std::uint64_t count) {
  return ByteWriter().number(GgufType::array).number(type).number(count);
}

TEST(GgufFile, ReadsWhatAWriterWrote) {
  for (const std::uint32_t version : {2u, 3u}) {
    GgufBuilder builder = good_file();
    builder.version = version;
    const auto bytes = builder.build();
    const GgufFile file = GgufFile::parse(bytes);
    EXPECT_EQ(file.version(), version);
    EXPECT_EQ(file.require_string("general.architecture"), "llama");
    EXPECT_EQ(file.require_unsigned("llama.block_count"), 3u);
    EXPECT_EQ(file.require_number("llama.epsilon"), 0.5);
    EXPECT_EQ(file.require_number("small"), -7);
    EXPECT_EQ(file.find_unsigned("small"), std::nullopt);
    EXPECT_EQ(file.find_bool("flag"), true);
    EXPECT_EQ(std::get<std::vector<std::string_view>>(std::get<GgufArray>(file.metadata().at("words"))),
              (std::vector<std::string_view>{"a", "", "three"}));
    EXPECT_EQ(std::get<std::vector<std::int64_t>>(std::get<GgufArray>(file.metadata().at("numbers"))),
              (std::vector<std::int64_t>{-1, 2}));
    ASSERT_EQ(file.tensors().size(), 2u);
    EXPECT_EQ(file.tensors()[0].shape, (std::vector<std::uint64_t>{32, 2}));
    EXPECT_EQ(to_string(file.tensors()[0].type), "Q4_0");
    EXPECT_EQ(file.tensors()[0].bytes.size(), 36u);
    const GgufTensor* second = file.find_tensor("second");
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(second->bytes.data() + second->bytes.size(), bytes.data() + bytes.size());
    EXPECT_EQ(file.find_tensor("third"), nullptr);
  }
}

TEST(GgufFile, HonoursAnotherAlignment) {
  GgufBuilder builder = good_file();
  builder.u32("general.alignment", 256).alignment = 256;
  const auto bytes = builder.build();
  const GgufFile file = GgufFile::parse(bytes);
  EXPECT_EQ((file.find_tensor("second")->bytes.data() - bytes.data()) % 256, 0);
}

TEST(GgufFile, NamesTheKeyThatIsMissingOrOfAnotherType) {
  const auto bytes = good_file().build();
  const GgufFile file = GgufFile::parse(bytes);
  const auto message = [](const std::function<void()>& read) -> std::string {
    try {
      read();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::malformed_file);
      return error.message();
    }
    return "";
  };
  EXPECT_EQ(message([&] { file.require_unsigned("absent"); }), "metadata key \"absent\" is missing");
  EXPECT_EQ(message([&] { file.require_unsigned("words"); }), "metadata key \"words\" is not a non-negative integer");
  EXPECT_EQ(message([&] { file.require_string("small"); }), "metadata key \"small\" is not a string");
  EXPECT_EQ(message([&] { file.require_number("flag"); }), "metadata key \"flag\" is not a number");
}

struct Lie {
  std::string name;
  std::function<std::vector<std::byte>()> file;
  ErrorCode code;
  std::vector<std::string> says;  // parts of the message
};

void PrintTo(const Lie& lie, std::ostream* out) {
  *out << lie.name;
}

std::vector<std::byte> changed(const std::function<void(GgufBuilder&)>& change) {
  GgufBuilder builder = good_file();
  change(builder);
  return builder.build();
}

// A file that has one entry more, whose type and value are `value`.
Lie entry_lie(std::string name, std::string key, ByteWriter value, ErrorCode code, std::vector<std::string> says) {
  return {std::move(name), [=] { return changed([&](GgufBuilder& file) { file.entry(key, value); }); }, code,
          std::move(says)};
}

// A file that has one tensor more.
Lie tensor_lie(std::string name, GgufBuilder::Tensor tensor, ErrorCode code, std::vector<std::string> says) {
  return {std::move(name), [=] { return changed([&](GgufBuilder& file) { file.tensor(tensor); }); }, code,
          std::move(says)};
}

Lie file_lie(std::string name, std::function<void(GgufBuilder&)> change, ErrorCode code,
             std::vector<std::string> says) {
  return {std::move(name), [=] { return changed(change); }, code, std::move(says)};
}

constexpr auto kMalformed = ErrorCode::malformed_file;
constexpr auto kUnsupported = ErrorCode::unsupported;
constexpr std::uint64_t kHuge = ~std::uint64_t{0};

std::vector<Lie> header_lies() {
  return {
      {"Empty", [] { return std::vector<std::byte>(); }, kMalformed, {"byte 0", "not a GGUF file"}},
      {"OnlyMagic", [] { return ByteWriter().raw("GGUF").bytes(); }, kMalformed, {"byte 4", "version"}},
      file_lie("BadMagic", [](auto& file) { file.magic = "GGML"; }, kMalformed, {"byte 0", "not a GGUF file"}),
      file_lie("VersionZero", [](auto& file) { file.version = 0; }, kMalformed, {"byte 4", "version 0"}),
      file_lie("VersionOne", [](auto& file) { file.version = 1; }, kUnsupported, {"byte 4", "version 1"}),
      file_lie("VersionOfTheFuture", [](auto& file) { file.version = 4; }, kUnsupported, {"byte 4", "version 4"}),
      file_lie("BigEndian", [](auto& file) { file.version = 0x03000000; }, kUnsupported, {"byte 4", "big-endian"}),
      file_lie("TensorCountBeyondTheFile", [](auto& file) { file.tensor_count = 1000; }, kMalformed,
               {"byte 8", "tensor count 1000"}),
      file_lie("TensorCountHuge", [](auto& file) { file.tensor_count = kHuge; }, kMalformed,
               {"byte 8", "tensor count 18446744073709551615"}),
      file_lie("TensorCountAboveTheTruth", [](auto& file) { file.tensor_count = 3; }, kMalformed, {"tensor"}),
      file_lie("KeyCountBeyondTheFile", [](auto& file) { file.key_count = 1000; }, kMalformed,
               {"byte 16", "key count 1000"}),
      file_lie("KeyCountHuge", [](auto& file) { file.key_count = kHuge; }, kMalformed,
               {"byte 16", "key count 18446744073709551615"}),
      file_lie("KeyCountAboveTheTruth", [](auto& file) { file.key_count = 8; }, kMalformed, {"byte"}),
      {"TensorCountAboveTheLimit",
       [] {
         GgufBuilder file;
         file.tensor_count = protocol::kMaxGgufEntries + 1;
         return ByteWriter().raw(file.build()).raw(std::vector<std::byte>(4u << 20)).bytes();
       },
       kUnsupported,
       {"byte 8", "tensor count 65537", "limit 65536"}},
      {"KeyCountAboveTheLimit",
       [] {
         GgufBuilder file;
         file.key_count = protocol::kMaxGgufEntries + 1;
         return ByteWriter().raw(file.build()).raw(std::vector<std::byte>(4u << 20)).bytes();
       },
       kUnsupported,
       {"byte 16", "key count 65537", "limit 65536"}},
  };
}

std::vector<Lie> entry_lies() {
  return {
      {"KeyLengthBeyondTheFile",
       [] {
         return ByteWriter()
             .raw("GGUF")
             .number(3u)
             .number<std::uint64_t>(0)
             .number<std::uint64_t>(1)
             .number(kHuge)
             .raw("some bytes of a key")
             .bytes();
       },
       kMalformed,
       {"byte 32", "metadata key", "18446744073709551615"}},
      entry_lie("EmptyKey", "", ByteWriter().number(GgufType::u32).number(1u), kMalformed, {"empty metadata key"}),
      entry_lie("KeyTooLong", std::string(65536, 'k'), ByteWriter().number(GgufType::u32).number(1u), kMalformed,
                {"65536 bytes"}),
      entry_lie("UnknownValueType", "odd", ByteWriter().number(13u).number(1u), kMalformed,
                {"\"odd\"", "value type 13"}),
      entry_lie("StringBeyondTheFile", "text", ByteWriter().number(GgufType::string).number<std::uint64_t>(1u << 30),
                kMalformed, {"\"text\"", "1073741824 bytes"}),
      entry_lie("StringHuge", "text", ByteWriter().number(GgufType::string).number(kHuge), kMalformed, {"\"text\""}),
      entry_lie("BoolThatIsNeither", "flag2", ByteWriter().number(GgufType::boolean).number<std::uint8_t>(2),
                kMalformed, {"\"flag2\"", "bool of value 2"}),
      file_lie("DuplicateKey", [](auto& file) { file.u32("llama.block_count", 3); }, kMalformed,
               {"\"llama.block_count\"", "twice"}),
      entry_lie("UnknownElementType", "list", array_of(GgufType{99}, 1), kMalformed, {"\"list\"", "element type 99"}),
      entry_lie("ArrayOfArrays", "list", array_of(GgufType::array, 1), kUnsupported, {"\"list\"", "array of arrays"}),
      entry_lie("ArrayBeyondTheFile", "list", array_of(GgufType::u64, 1000), kMalformed, {"\"list\"", "1000 elements"}),
      entry_lie("ArrayHuge", "list", array_of(GgufType::u64, kHuge), kMalformed, {"\"list\""}),
      entry_lie("ArrayWhoseSizeOverflows", "list", array_of(GgufType::u64, (kHuge >> 3) + 2), kMalformed, {"\"list\""}),
      entry_lie("ArrayOfStringsHuge", "list", array_of(GgufType::string, kHuge / 8), kMalformed, {"\"list\""}),
      entry_lie("StringInArrayBeyondTheFile", "list", array_of(GgufType::string, 1).number<std::uint64_t>(1u << 20),
                kMalformed, {"\"list\"", "1048576 bytes"}),
      entry_lie("ArrayThatGrowsInMemory", "list",
                array_of(GgufType::u8, 16u << 20).raw(std::vector<std::byte>(16u << 20)), kUnsupported,
                {"\"list\"", "16777216 elements", "limit"}),
      entry_lie("KeyWithControlCharacters", "bad\n\x1b[0mkey", ByteWriter().number(77u), kMalformed,
                {"\"bad\\x0a\\x1b[0mkey\"", "value type 77"}),
      entry_lie("AlignmentOfWrongType", "general.alignment",
                ByteWriter().number(GgufType::u64).number(std::uint64_t{32}), kMalformed,
                {"\"general.alignment\"", "must be u32"}),
      entry_lie("AlignmentZero", "general.alignment", ByteWriter().number(GgufType::u32).number(0u), kMalformed,
                {"\"general.alignment\"", "is 0", "power of two"}),
      entry_lie("AlignmentNoPowerOfTwo", "general.alignment", ByteWriter().number(GgufType::u32).number(24u),
                kMalformed, {"\"general.alignment\"", "is 24", "power of two"}),
      entry_lie("AlignmentTooSmall", "general.alignment", ByteWriter().number(GgufType::u32).number(4u), kMalformed,
                {"\"general.alignment\"", "is 4"}),
      entry_lie("AlignmentBeyondTheFile", "general.alignment", ByteWriter().number(GgufType::u32).number(1u << 31),
                kMalformed, {"\"first\"", "beyond"}),
      entry_lie("AlignmentOtherThanTheOffsets", "general.alignment", ByteWriter().number(GgufType::u32).number(128u),
                kMalformed, {"\"second\"", "offset 64", "alignment 128"}),
  };
}

std::vector<Lie> tensor_lies() {
  const auto bytes = [](std::size_t count) { return std::vector<std::byte>(count); };
  return {
      tensor_lie("TensorNameTooLong", {std::string(65, 't'), {1}, kF32, bytes(4)}, kMalformed, {"65 bytes"}),
      tensor_lie("TensorNameEmpty", {"", {1}, kF32, bytes(4)}, kMalformed, {"0 bytes"}),
      {"TensorNameBeyondTheFile",
       [] {
         return ByteWriter()
             .raw("GGUF")
             .number(3u)
             .number<std::uint64_t>(1)
             .number<std::uint64_t>(0)
             .number(kHuge)
             .raw(std::vector<std::byte>(64))
             .bytes();
       },
       kMalformed,
       {"byte 32", "tensor name"}},
      tensor_lie("NoDimension", {"scalar", {}, kF32, bytes(4)}, kMalformed, {"\"scalar\"", "0 dimensions"}),
      tensor_lie("FiveDimensions", {"deep", {1, 1, 1, 1, 1}, kF32, bytes(4)}, kMalformed, {"\"deep\"", "5 dimensions"}),
      tensor_lie("ZeroDimension", {"flat", {4, 0}, kF32, {}}, kMalformed, {"\"flat\"", "dimension of zero"}),
      tensor_lie("ExtentHuge", {"wide", {kHuge}, kF32, {}}, kMalformed, {"\"wide\"", "larger than any file"}),
      tensor_lie("ElementsOverflow", {"wide", {1ull << 32, 1ull << 32}, kF32, {}}, kMalformed,
                 {"\"wide\"", "[4294967296, 4294967296]"}),
      tensor_lie("BytesOverflow", {"wide", {1ull << 31, 1ull << 31}, kF32, {}}, kMalformed, {"\"wide\""}),
      tensor_lie("BytesOverflowToNothing", {"wide", {1ull << 32, 1ull << 30}, kF32, {}}, kMalformed, {"\"wide\""}),
      tensor_lie("RowsOfPartialBlocks", {"odd", {48}, kQ4_0, bytes(36)}, kMalformed,
                 {"\"odd\"", "48 elements", "Q4_0", "multiple of 32"}),
      tensor_lie("UnknownTensorType", {"odd", {32}, 1000, bytes(36)}, kUnsupported, {"\"odd\"", "type 1000"}),
      tensor_lie("RemovedTensorType", {"odd", {32}, 4, bytes(36)}, kUnsupported, {"\"odd\"", "type 4"}),
      tensor_lie("DuplicateName", {"first", {1}, kF32, bytes(4)}, kMalformed, {"\"first\"", "twice"}),
      tensor_lie("OffsetUnaligned", {"third", {1}, kF32, bytes(64), 100}, kMalformed,
                 {"\"third\"", "offset 100", "alignment 32"}),
      tensor_lie("OffsetBeyondTheFile", {"third", {1}, kF32, bytes(4), 1u << 20}, kMalformed,
                 {"\"third\"", "offset 1048576", "beyond"}),
      tensor_lie("OffsetHuge", {"third", {1}, kF32, bytes(4), kHuge - 31}, kMalformed, {"\"third\"", "beyond"}),
      tensor_lie("OffsetPlusSizeOverflows", {"third", {64}, kF32, bytes(256), kHuge - 127}, kMalformed,
                 {"\"third\"", "beyond"}),
      tensor_lie("SizeBeyondTheFile", {"third", {1u << 20}, kF32, bytes(64)}, kMalformed,
                 {"\"third\"", "4194304 bytes", "beyond"}),
      tensor_lie("OneByteTooFew", {"third", {4}, kF32, bytes(15)}, kMalformed, {"\"third\"", "beyond"}),
      tensor_lie("SamePlace", {"third", {1}, kF32, bytes(4), 0}, kMalformed, {"\"first\"", "\"third\"", "overlap"}),
      tensor_lie("PartialOverlap", {"third", {1}, kF32, bytes(4), 32}, kMalformed,
                 {"\"first\"", "\"third\"", "overlap", "offset 32"}),
      file_lie("NoTensorData",
               [](auto& file) {
                 for (auto& tensor : file.tensors) tensor.data.clear();
               },
               kMalformed, {"\"first\"", "beyond"}),
  };
}

class MalformedGguf : public ::testing::TestWithParam<Lie> {};

TEST_P(MalformedGguf, IsRefusedByName) {
  const auto bytes = GetParam().file();
  const AllocationMeter meter;
  try {
    GgufFile::parse(bytes);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code) << error.message();
    EXPECT_NE(error.message().find("byte "), std::string::npos) << error.message();
    for (const std::string& part : GetParam().says) {
      EXPECT_NE(error.message().find(part), std::string::npos) << part << " is not in: " << error.message();
    }
  }
  EXPECT_LE(meter.peak_bytes(), kMaxAllocation);
}

std::string name_of(const ::testing::TestParamInfo<Lie>& info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Header, MalformedGguf, ::testing::ValuesIn(header_lies()), name_of);
INSTANTIATE_TEST_SUITE_P(Entry, MalformedGguf, ::testing::ValuesIn(entry_lies()), name_of);
INSTANTIATE_TEST_SUITE_P(Tensor, MalformedGguf, ::testing::ValuesIn(tensor_lies()), name_of);

// Every prefix of a good file lacks something, so each must be refused as cut short.
TEST(GgufFile, RefusesAFileCutAtAnyByte) {
  const auto whole = good_file().build();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    try {
      GgufFile::parse(cut);
      ADD_FAILURE() << "accepted " << size << " of " << whole.size() << " bytes";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), kMalformed) << size;
    }
  }
}

// Any change of a good file either leaves a good file or is refused; what is accepted lies inside the file.
RC_GTEST_PROP(GgufFileProperty, NeverLeavesTheFileWhateverItsBytes, ()) {
  auto bytes = good_file().build();
  const auto changes = *rc::gen::inRange<std::size_t>(1, 9);
  for (std::size_t i = 0; i < changes; ++i) {
    const auto at = *rc::gen::inRange<std::size_t>(0, bytes.size());
    bytes[at] = static_cast<std::byte>(*rc::gen::element(0x00, 0x01, 0x7f, 0x80, 0xff, 0x20, 0x0c));
  }
  const AllocationMeter meter;
  try {
    const GgufFile file = GgufFile::parse(bytes);
    for (const GgufTensor& tensor : file.tensors()) {
      RC_ASSERT(tensor.bytes.data() >= bytes.data());
      RC_ASSERT(tensor.bytes.data() + tensor.bytes.size() <= bytes.data() + bytes.size());
    }
  } catch (const Error& error) {
    RC_ASSERT(error.code() == kMalformed || error.code() == kUnsupported);
  }
  RC_ASSERT(meter.peak_bytes() <= kMaxAllocation);
}

// The most that the limits allow still fits: all keys, all tensors and full arrays at once.
TEST(GgufFile, StaysInsideItsMemoryAtEveryLimit) {
  GgufBuilder builder;
  for (std::size_t i = 0; i + 1 < protocol::kMaxGgufEntries; ++i) builder.u32("key " + std::to_string(i), 1);
  builder.entry("bytes", array_of(GgufType::u8, protocol::kMaxGgufArrayBytes / 8)
                             .raw(std::vector<std::byte>(protocol::kMaxGgufArrayBytes / 8)));
  for (std::size_t i = 0; i < protocol::kMaxGgufEntries; ++i) {
    builder.zeros("tensor " + std::to_string(i), {1}, kF32, 4);
  }
  const auto bytes = builder.build();
  const AllocationMeter meter;
  const GgufFile file = GgufFile::parse(bytes);
  EXPECT_EQ(file.tensors().size(), protocol::kMaxGgufEntries);
  EXPECT_EQ(file.metadata().size(), protocol::kMaxGgufEntries);
  EXPECT_LE(meter.peak_bytes(), kMaxAllocation);
}

TEST(GgufFile, NamesTheFileThatCannotBeOpened) {
  const auto expect = [](const std::filesystem::path& path, ErrorCode code) {
    try {
      GgufFile::open(path);
      ADD_FAILURE() << "opened " << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.message();
      EXPECT_NE(error.message().find(path.string()), std::string::npos) << error.message();
    }
  };
  const auto folder = std::filesystem::path(::testing::TempDir());
  expect(folder / "absent.gguf", ErrorCode::not_found);
  expect(folder, kMalformed);
  std::ofstream(folder / "empty.gguf").close();
  expect(folder / "empty.gguf", kMalformed);
  std::ofstream(folder / "text.gguf") << "no model";
  expect(folder / "text.gguf", kMalformed);
}

TEST(GgufFile, MapsAFileFromDisk) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "good.gguf";
  const auto bytes = good_file().build();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  GgufFile first = GgufFile::open(path);
  const GgufFile file = std::move(first);
  EXPECT_EQ(file.require_string("general.architecture"), "llama");
  EXPECT_EQ(file.find_tensor("first")->bytes[35], std::byte{0});
}

TEST(GgufFile, ReadsTheModelOfTheTests) {
  const GgufFile file = GgufFile::open(testing::model_file());
  EXPECT_EQ(file.require_string("general.architecture"), "llama");
  EXPECT_FALSE(file.tensors().empty());
  const GgufTensor* embeddings = file.find_tensor("token_embd.weight");
  ASSERT_NE(embeddings, nullptr);
  const auto& tokens = std::get<GgufArray>(file.metadata().at("tokenizer.ggml.tokens"));
  EXPECT_EQ(embeddings->shape[1], std::get<std::vector<std::string_view>>(tokens).size());
}

}  // namespace
}  // namespace rotulus::worker
