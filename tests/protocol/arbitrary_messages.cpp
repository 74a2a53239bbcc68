#include "tests/protocol/arbitrary_messages.h"

#include <rapidcheck.h>

#include <algorithm>
#include <boost/pfr.hpp>
#include <type_traits>
#include <utility>

#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::protocol {
namespace {

void fill(std::string& value) {
  value = *rc::gen::arbitrary<std::string>();
}
void fill(ErrorCode& code) {
  code = static_cast<ErrorCode>(*rc::gen::inRange(0, 17));
}
void fill(Frame& frame) {
  frame = static_cast<Frame>(*rc::gen::inRange(0, 2));
}
void fill(EncodeText::Kind& kind) {
  kind = static_cast<EncodeText::Kind>(*rc::gen::inRange(0, 6));
}
void fill(FinishReason& reason) {
  reason = static_cast<FinishReason>(*rc::gen::inRange(0, 2));
}
void fill(AttentionMode& mode) {
  mode = static_cast<AttentionMode>(*rc::gen::inRange(0, 3));
}

void fill(PageLandmark& landmark) {
  landmark = static_cast<PageLandmark>(*rc::gen::inRange(0, 4));
}
void fill(PageVote& vote) {
  vote = static_cast<PageVote>(*rc::gen::inRange(0, 2));
}
void fill(VoteScope& scope) {
  scope = static_cast<VoteScope>(*rc::gen::inRange(0, 2));
}
void fill(SelectionUnit& unit) {
  unit = static_cast<SelectionUnit>(*rc::gen::inRange(0, 2));
}
void fill(PositionPolicy& positions) {
  positions = static_cast<PositionPolicy>(*rc::gen::inRange(0, 4));
}

// All of them before the templates, which would not find those for types of std.
void fill(Placement& placement);
void fill(SamplingSpec& sampling);
void fill(AttentionSpec& attention);
void fill(Evidence& evidence);
void fill(ManifestRecord& record);
void fill(ManifestPage& page);
template <typename T>
void fill(T& value);
template <typename T>
void fill(std::optional<T>& value);
template <std::size_t kCount>
void fill(std::array<std::uint8_t, kCount>& bytes);

template <typename T>
void fill(std::vector<T>& values) {
  values.resize(static_cast<std::size_t>(*rc::gen::inRange(0, 5)));
  for (T& value : values) fill(value);
}

template <typename T>
void fill(std::optional<T>& value) {
  value.reset();
  if (*rc::gen::arbitrary<bool>()) fill(value.emplace());
}

template <std::size_t kCount>
void fill(std::array<std::uint8_t, kCount>& bytes) {
  for (std::uint8_t& byte : bytes) byte = *rc::gen::arbitrary<std::uint8_t>();
}

void fill(Placement& placement) {
  const auto lanes = *rc::gen::unique<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(1, kLaneCount));
  placement.assign(1, {});
  for (const std::uint32_t lane : lanes) placement.push_back({lane, {}});
  std::sort(placement.begin(), placement.end(), [](auto& a, auto& b) { return a.first_lane < b.first_lane; });
  for (PlacementRun& run : placement) fill(run.volume);
  if (*rc::gen::arbitrary<bool>()) placement.clear();
}

void fill(SamplingSpec& sampling) {
  boost::pfr::for_each_field(sampling, [](auto& field) { fill(field); });
  sampling.logprobs %= kMaxLogprobs + 1;
}

void fill(AttentionSpec& attention) {
  boost::pfr::for_each_field(attention, [](auto& field) { fill(field); });
  attention.budget_tokens = *rc::gen::inRange<std::uint32_t>(0, kMaxBudgetTokens / kPageTokens + 1) * kPageTokens;
  attention.reread_tokens = *rc::gen::inRange<std::uint32_t>(0, kMaxBudgetTokens / kPageTokens + 1) * kPageTokens;
  attention.local_tokens -= attention.local_tokens % kBlockTokens;
  attention.top_p = 1;
  if (attention.unit == SelectionUnit::page) attention.top_p -= static_cast<float>(*rc::gen::inRange(0, 100)) / 100;
  attention.reselect_every = 1u << *rc::gen::inRange(0, 7);
  attention.rescan_every = 1u << *rc::gen::inRange(0, 7);
  attention.candidate_pages = *rc::gen::inRange<std::uint32_t>(1, kMaxCandidatePages + 1);
  attention.scan_share = 1 - static_cast<float>(*rc::gen::inRange(0, 100)) / 100;
  attention.layer_stride = *rc::gen::inRange<std::uint32_t>(1, kMaxSelectLayers + 1);
  std::sort(attention.select_layers.begin(), attention.select_layers.end());
  const auto repeated = std::unique(attention.select_layers.begin(), attention.select_layers.end());
  attention.select_layers.erase(repeated, attention.select_layers.end());
}

void fill(Evidence& evidence) {
  boost::pfr::for_each_field(evidence, [](auto& field) { fill(field); });
  if (evidence.range.begin > evidence.range.end) std::swap(evidence.range.begin, evidence.range.end);
}

void fill(ManifestRecord& record) {
  boost::pfr::for_each_field(record, [](auto& field) { fill(field); });
  record.range.begin %= 1ull << 40;
  record.range.end = record.range.begin + record.token_ids.size();
}

void fill(ManifestPage& page) {
  boost::pfr::for_each_field(page, [](auto& field) { fill(field); });
  page.hashes.assign(page.records.size(), *rc::gen::arbitrary<std::uint64_t>());
}

template <typename T>
void fill(T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    value = static_cast<T>(*rc::gen::inRange(-1'000'000, 1'000'000)) / T{128};
  } else if constexpr (std::is_integral_v<T>) {
    value = *rc::gen::arbitrary<T>();
  } else {
    boost::pfr::for_each_field(value, [](auto& field) { fill(field); });
  }
}

template <typename T>
T arbitrary_value() {
  T value;
  fill(value);
  return value;
}

template <std::size_t kKind = 0>
Message arbitrary_alternative(std::size_t kind) {
  if constexpr (kKind + 1 == std::variant_size_v<Message>) {
    CHECK(kind == kKind, kind);
    return arbitrary_value<std::variant_alternative_t<kKind, Message>>();
  } else {
    if (kind == kKind) return arbitrary_value<std::variant_alternative_t<kKind, Message>>();
    return arbitrary_alternative<kKind + 1>(kind);
  }
}

}  // namespace

Message arbitrary_message(std::size_t kind) {
  return arbitrary_alternative(kind);
}
ManifestRecord arbitrary_manifest_record() {
  return arbitrary_value<ManifestRecord>();
}
ObjectRecord arbitrary_object_record() {
  return arbitrary_value<ObjectRecord>();
}
ContextParameters arbitrary_context_parameters() {
  return arbitrary_value<ContextParameters>();
}
ContextDescription arbitrary_context_description() {
  return arbitrary_value<ContextDescription>();
}

}  // namespace rotulus::protocol
