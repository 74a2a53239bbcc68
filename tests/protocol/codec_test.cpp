// Every kind of message is taken there and back with random contents; then its bytes are cut, flipped and forged, which
// may give another message or Error{invalid_argument}, and nothing else.
#include "protocol/codec.h"

#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "protocol/error.h"
#include "protocol/limits.h"
#include "tests/protocol/arbitrary_messages.h"

namespace rotulus::protocol {
namespace {

using Bytes = std::vector<std::byte>;

std::size_t any_kind() {
  return *rc::gen::inRange<std::size_t>(0, std::variant_size_v<Message>);
}

// The field that decoding refuses, or "" if it does not.
std::string refused_field(std::span<const std::byte> bytes) {
  try {
    decode(bytes);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.message();
    EXPECT_FALSE(error.message().empty());
    return error.param();
  }
}

std::string refused_field(const Message& message) {
  try {
    encode(message);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.message();
    return error.param();
  }
}

class EveryMessage : public testing::TestWithParam<std::size_t> {};

TEST_P(EveryMessage, IsReadBackAsItWasWrittenAndAlwaysWrittenAlike) {
  EXPECT_TRUE(rc::check([&] {
    const Message message = arbitrary_message(GetParam());
    const Bytes bytes = encode(message);
    RC_ASSERT(decode(bytes) == message);
    RC_ASSERT(encode(decode(bytes)) == bytes);
  }));
}

TEST_P(EveryMessage, IsRefusedWhereverItIsCut) {
  EXPECT_TRUE(rc::check([&] {
    const Bytes bytes = encode(arbitrary_message(GetParam()));
    const auto kept = *rc::gen::inRange<std::size_t>(0, bytes.size());
    RC_ASSERT(refused_field(std::span(bytes).first(kept)) == "message");
  }));
}

TEST_P(EveryMessage, SurvivesFlippedBits) {
  EXPECT_TRUE(rc::check([&] {
    Bytes bytes = encode(arbitrary_message(GetParam()));
    const auto flips = *rc::gen::nonEmpty(
        rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, bytes.size() * 8)));
    for (const std::size_t bit : flips) bytes[bit / 8] ^= std::byte{1} << bit % 8;
    refused_field(bytes);  // expects the type of the error, if there is one
  }));
}

INSTANTIATE_TEST_SUITE_P(Codec, EveryMessage, testing::Range<std::size_t>(0, std::variant_size_v<Message>));

RC_GTEST_PROP(Codec, ReadsRecordsBackAsTheyWereWritten, ()) {
  const auto manifest = arbitrary_manifest_record();
  RC_ASSERT(decode_manifest_record(encode_record(manifest)) == manifest);
  const auto object = arbitrary_object_record();
  RC_ASSERT(decode_object_record(encode_record(object)) == object);
  const auto parameters = arbitrary_context_parameters();
  const auto description = arbitrary_context_description();
  ContextParameters parameters_back;
  ContextDescription description_back;
  decode_context_record(encode_record(parameters, description), parameters_back, description_back);
  RC_ASSERT(parameters_back == parameters);
  RC_ASSERT(description_back == description);
}

RC_GTEST_PROP(Codec, RefusesBytesThatWereNeverAMessage, (const std::vector<std::uint8_t>& noise)) {
  refused_field(std::as_bytes(std::span(noise)));
  try {
    decode_manifest_record(std::as_bytes(std::span(noise)));
  } catch (const Error& error) {
    RC_ASSERT(error.code() == ErrorCode::invalid_argument);
  }
}

RC_GTEST_PROP(Codec, RefusesBytesBehindTheEnd, ()) {
  Bytes bytes = encode(arbitrary_message(any_kind()));
  bytes.resize(bytes.size() + 8);
  RC_ASSERT(refused_field(bytes) == "message");
}

// A message of one segment: its table, then the words given.
Bytes forge(const std::vector<std::uint64_t>& words) {
  std::vector<std::uint64_t> all = {std::uint64_t{words.size()} << 32};
  all.insert(all.end(), words.begin(), words.end());
  Bytes bytes(all.size() * 8);
  std::memcpy(bytes.data(), all.data(), bytes.size());
  return bytes;
}

std::uint64_t struct_pointer(std::uint32_t offset, std::uint16_t data_words, std::uint16_t pointers) {
  return std::uint64_t{offset} << 2 | std::uint64_t{data_words} << 32 | std::uint64_t{pointers} << 48;
}

// The Message struct has one data word (its kind in the lowest 16 bits) and one pointer.
TEST(Codec, RefusesForgedLists) {
  const std::uint64_t root = struct_pointer(0, 1, 1);
  const std::uint64_t manifest_page = 11;
  constexpr std::uint64_t kCompositeList = 1 | 7ull << 32;
  // A page of 2^29 records of no words at all: a few bytes that would become gigabytes.
  const std::uint64_t empty_elements = std::uint64_t{(1u << 29) - 1} << 2;  // tag: count, no words, no pointers
  EXPECT_EQ(refused_field(forge(
                {root, manifest_page, struct_pointer(0, 2, 2), 0, 0, kCompositeList | 1 << 2, 0, empty_elements})),
            "message");
  // A list that ends outside the message.
  EXPECT_EQ(
      refused_field(forge({root, manifest_page, struct_pointer(0, 2, 2), 0, 0, kCompositeList | 1000ull << 35, 0})),
      "message");
}

// A DecodedText whose pieces are `count` pointers to the same 100 words.
Bytes forge_shared_pieces(std::uint64_t count) {
  std::vector<std::uint64_t> words = {
      struct_pointer(0, 1, 1), 18, struct_pointer(0, 2, 3), 0, 0, 0, 1 | 1 << 2 | 6ull << 32 | count << 35, 0};
  for (std::uint64_t i = 0; i < count; ++i) words.push_back(1 | (count - 1 - i) << 2 | 2ull << 32 | 800ull << 35);
  words.resize(words.size() + 100);
  return forge(words);
}

TEST(Codec, RefusesWordsThatAreReadAgainAndAgain) {
  EXPECT_EQ(refused_field(forge_shared_pieces(1)), "");
  EXPECT_EQ(refused_field(forge_shared_pieces(100)), "message");
}

TEST(Codec, RefusesKindsAndEnumeratorsItDoesNotKnow) {
  EXPECT_EQ(refused_field(forge({struct_pointer(0, 1, 1), std::variant_size_v<Message>, 0})), "message");
  EXPECT_EQ(refused_field(forge({struct_pointer(0, 1, 1), 3 /* refusal */, struct_pointer(0, 1, 1), 17, 0})), "code");
}

// A catalogue's record from before contexts kept landmarks: its parameters have two data words and five pointers.
TEST(Codec, ReadsOlderRecordsAsContextsWithoutLandmarks) {
  const std::uint64_t block_and_lanes = 128 | 256ull << 32;
  const std::uint64_t chunk_and_format = 4096 | 1ull << 32;
  const Bytes bytes =
      forge({struct_pointer(0, 0, 2), struct_pointer(1, 2, 5), 0, block_and_lanes, chunk_and_format, 0, 0, 0, 0, 0});
  ContextParameters parameters{.retrieval = {1, 2, 3}};
  ContextDescription description;
  decode_context_record(bytes, parameters, description);
  EXPECT_EQ(parameters.chunk_tokens, kChunkTokens);
  EXPECT_EQ(parameters.retrieval, RetrievalParameters{});
}

// From before a context chose its landmarks: its retrieval parameters end behind three numbers.
TEST(Codec, ReadsOlderRecordsAsContextsWithSketchesAndMeans) {
  const Bytes bytes = forge({struct_pointer(0, 0, 2), struct_pointer(1, 2, 6), 0, 0, 0, 0, 0, 0, 0, 0,
                             struct_pointer(0, 2, 0), 1 | 8192ull << 32, 2048});
  ContextParameters parameters;
  ContextDescription description;
  decode_context_record(bytes, parameters, description);
  EXPECT_EQ(parameters.retrieval, (RetrievalParameters{1, 8192, 2048, kKeepsSketches | kKeepsMeans}));
}

TEST(Codec, MeetsTheLimitsOfTokenIdsInBothDirections) {
  for (const bool is_over : {false, true}) {
    const std::vector<TokenId> ids(kTokenIdsPerMessage + is_over, 7);
    EXPECT_EQ(refused_field(EncodedText{.ids = ids}), is_over ? "ids" : "");
    EXPECT_EQ(refused_field(DecodeTokens{.ids = ids}), is_over ? "ids" : "");
    EXPECT_EQ(refused_field(ContextTokens{.ids = ids}), is_over ? "ids" : "");
    EXPECT_EQ(refused_field(StartAnswer{.question = ids}), is_over ? "question" : "");
    EXPECT_EQ(refused_field(StartAnswer{.forced = ids}), is_over ? "forced" : "");
  }
  // A peer that does not keep to them: a DecodeTokens made by hand.
  for (const bool is_over : {false, true}) {
    const std::uint64_t count = kTokenIdsPerMessage + is_over;
    std::vector<std::uint64_t> words = {struct_pointer(0, 1, 1), 16, struct_pointer(0, 1, 1), 0,
                                        1 | 4ull << 32 | count << 35};
    words.resize(words.size() + (count + 1) / 2);
    EXPECT_EQ(refused_field(forge(words)), is_over ? "ids" : "");
  }
}

TEST(Codec, MeetsTheOtherLimits) {
  for (const bool is_over : {false, true}) {
    const auto expect = [&](const Message& message, const char* field) {
      EXPECT_EQ(refused_field(message), is_over ? field : "") << message.index();
    };
    const std::size_t more = is_over ? 1 : 0;
    expect(TokenizeDocument{.bytes = std::string(kTokenizePieceBytes + more, 'x')}, "bytes");
    expect(SliceRead{.bytes = std::string(kSlicePartBytes + more, 'x')}, "bytes");
    expect(WriteSlice{.bytes = std::string(kSlicePartBytes + more, 'x')}, "bytes");
    expect(StartAnswer{.stop = std::vector<std::string>(kMaxStopStrings + more, "x")}, "stop");
    expect(StartAnswer{.stop = {std::string(kMaxStopStringBytes + more, 'x')}}, "stop");
    expect(StartAnswer{.sampling = {.logprobs = static_cast<std::uint32_t>(kMaxLogprobs + more)}}, "logprobs");
    expect(StartAnswer{.attention = {.budget_tokens = kMaxBudgetTokens + (is_over ? kPageTokens : 0)}},
           "budget_tokens");
    expect(StartAnswer{.attention = {.budget_tokens = 16 + (is_over ? 1u : 0u)}}, "budget_tokens");
    expect(StartAnswer{.attention = {.reread_tokens = kMaxBudgetTokens + (is_over ? kPageTokens : 0)}},
           "reread_tokens");
    expect(StartAnswer{.attention = {.local_tokens = 128 + (is_over ? 16u : 0u)}}, "local_tokens");
    expect(StartAnswer{.attention = {.reselect_every = kMaxReselectEvery << more}}, "reselect_every");
    expect(StartAnswer{.attention = {.rescan_every = kMaxReselectEvery << more}}, "rescan_every");
    expect(StartAnswer{.attention = {.candidate_pages = static_cast<std::uint32_t>(kMaxCandidatePages + more)}},
           "candidate_pages");
    expect(StartAnswer{.attention = {.layer_stride = static_cast<std::uint32_t>(kMaxSelectLayers + more)}},
           "layer_stride");
    std::vector<std::uint32_t> layers(kMaxSelectLayers + more);
    std::iota(layers.begin(), layers.end(), 0u);
    expect(StartAnswer{.attention = {.select_layers = layers}}, "select_layers");
    expect(AnswerFinished{.attention = {.evidence = std::vector<Evidence>(kMaxEvidence + more)}}, "evidence");
    expect(AnswerToken{.top = std::vector<TokenAlternative>(kMaxLogprobs + more)}, "top");
    expect(OpenContext{.description = {.metadata_json = std::string(kMaxMetadataBytes + more, 'x')}}, "metadata");
    expect(ChunkCommitted{.record = {.manifests = std::vector<VolumeManifest>(kLaneCount + more)}}, "manifests");
    expect(DecodedText{.pieces = std::vector<std::string>(kTokenIdsPerMessage + more)}, "pieces");
  }
}

TEST(Codec, RefusesPlacementsAndManifestsThatDoNotHold) {
  for (const Placement& placement :
       {Placement{{1, {7}}}, Placement{{0, {7}}, {0, {8}}}, Placement{{0, {7}}, {256, {8}}}}) {
    EXPECT_EQ(refused_field(ChunkCommitted{.record = {.placement = placement}}), "placement");
  }
  EXPECT_EQ(refused_field(ManifestPage{.records = {{.range = {5, 7}, .token_ids = {1}}}, .hashes = {0}}), "token_ids");
  EXPECT_EQ(refused_field(ManifestPage{.records = {{.range = {7, 5}, .token_ids = {}}}, .hashes = {0}}), "token_ids");
  EXPECT_EQ(refused_field(ManifestPage{.records = {{}}}), "hashes");
}

TEST(Codec, RefusesEvidenceThatIsNone) {
  for (const Evidence& evidence : {Evidence{{7, 5}, 0.5f}, Evidence{{5, 7}, std::nanf("")}}) {
    EXPECT_EQ(refused_field(encode(AnswerFinished{.attention = {.evidence = {evidence}}})), "evidence");
  }
}

TEST(ContextParameters, ConflictNamesTheFirstFieldThatDiffersAndNotTheNumerics) {
  const ContextParameters running{"m", "t", "r", "f16", 1, 2, 3, 4, "n"};
  EXPECT_EQ(find_conflict(running, running), std::nullopt);
  const auto conflict = [&](auto change) {
    ContextParameters stored = running;
    change(stored);
    return find_conflict(stored, running);
  };
  EXPECT_EQ(conflict([](auto& stored) { stored.numerics_id = "other"; }), std::nullopt);
  EXPECT_EQ(conflict([](auto& stored) { stored.model_fingerprint = "x"; }), "model_fingerprint");
  EXPECT_EQ(conflict([](auto& stored) { stored.tokenizer_fingerprint = "x"; }), "tokenizer_fingerprint");
  EXPECT_EQ(conflict([](auto& stored) { stored.rope = "x"; }), "rope");
  EXPECT_EQ(conflict([](auto& stored) { stored.kv_type = "f32"; }), "kv_type");
  EXPECT_EQ(conflict([](auto& stored) { stored.block_tokens = 9; }), "block_tokens");
  EXPECT_EQ(conflict([](auto& stored) { stored.lane_count = 9; }), "lane_count");
  EXPECT_EQ(conflict([](auto& stored) { stored.chunk_tokens = 9; }), "chunk_tokens");
  EXPECT_EQ(conflict([](auto& stored) { stored.format_version = 9; }), "format_version");
}

TEST(ContextParameters, RetrievalIsEachContextsOwnButItsLandmarksMustBeOfAVersionWeRead) {
  const ContextParameters running;
  EXPECT_EQ(find_conflict({.retrieval = {kLandmarkVersion, 8192, 2048}}, running), std::nullopt);
  EXPECT_EQ(find_conflict({.retrieval = {kLandmarkVersion + 1, 8192, 2048}}, running), "landmark_version");
  EXPECT_EQ(find_conflict({.retrieval = {kLandmarkVersion, 8192, 2048, kKnownLandmarks}}, running), std::nullopt);
  EXPECT_EQ(find_conflict({.retrieval = {kLandmarkVersion, 8192, 2048, 2 * kKnownLandmarks}}, running), "landmarks");
}

TEST(Placement, LaneLiesOnTheRunThatBeginsAtOrBeforeIt) {
  const Placement placement = {{0, {11}}, {100, {12}}, {255, {13}}};
  for (std::uint32_t lane = 0; lane < kLaneCount; ++lane) {
    EXPECT_EQ(volume_of_lane(placement, lane).value, lane < 100 ? 11u : lane < 255 ? 12u : 13u) << lane;
  }
  EXPECT_DEATH(volume_of_lane({}, 0), "CHECK failed");
}

}  // namespace
}  // namespace rotulus::protocol
