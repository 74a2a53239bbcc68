#include "worker/step_plan.h"

#include <cstring>
#include <type_traits>

#include "protocol/codec.h"
#include "protocol/error.h"

namespace rotulus::worker {
namespace {

// Plans never leave one worker group, whose ranks run one build: plain little-endian fields in order. One visitor
// describes each struct; the archive decides whether it writes or reads.
class Writer {
 public:
  static constexpr bool kReads = false;
  template <typename T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void operator()(const T& value) {
    const auto* from = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), from, from + sizeof value);
  }
  void raw(const void* data, std::size_t count) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), from, from + count);
  }
  std::vector<std::byte> bytes;
};

class Reader {
 public:
  static constexpr bool kReads = true;
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <typename T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void operator()(T& value) { raw(&value, sizeof value); }
  void raw(void* data, std::size_t count) {
    CHECK(count <= bytes_.size() - offset_, count, bytes_.size(), offset_);
    if (count > 0) std::memcpy(data, bytes_.data() + offset_, count);
    offset_ += count;
  }
  std::size_t left() const { return bytes_.size() - offset_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
};

template <typename Archive, typename Tag>
void visit(Archive& archive, protocol::Id<Tag>& id) {
  archive(id.value);
}

template <typename Archive>
void visit(Archive& archive, std::string& text) {
  auto count = static_cast<std::uint64_t>(text.size());
  archive(count);
  if constexpr (Archive::kReads) {
    CHECK(count <= archive.left(), count, archive.left());
    text.resize(count);
  }
  archive.raw(text.data(), text.size());
}

template <typename Archive, typename T>
void visit(Archive& archive, std::vector<T>& values);

template <typename Archive>
void visit(Archive& archive, protocol::PlacementRun& run) {
  archive(run.first_lane);
  visit(archive, run.volume);
}
template <typename Archive>
void visit(Archive& archive, ChunkLocation& chunk) {
  visit(archive, chunk.object);
  visit(archive, chunk.placement);
}
template <typename Archive>
void visit(Archive& archive, PlanContext& context) {
  visit(archive, context.context);
  archive(context.token_count);
  archive(context.kept.landmark_version);
  archive(context.kept.exact_tokens);
  archive(context.kept.local_tokens);
  archive(context.kept.landmarks);
  visit(archive, context.chunks);
}
template <typename Archive>
void visit(Archive& archive, PlanChunk& chunk) {
  visit(archive, chunk.context);
  archive(chunk.chunk_index);
  visit(archive, chunk.chunk);
}
template <typename Archive>
void visit(Archive& archive, protocol::SamplingSpec& spec) {
  archive(spec.temperature);
  archive(spec.top_k);
  archive(spec.top_p);
  archive(spec.min_p);
  archive(spec.seed);
  archive(spec.logprobs);
}
template <typename Archive>
void visit(Archive& archive, protocol::AttentionSpec& spec) {
  archive(spec.mode);
  archive(spec.budget_tokens);
  archive(spec.local_tokens);
  archive(spec.second_pass);
  archive(spec.wants_provenance);
  archive(spec.landmark);
  archive(spec.vote);
  archive(spec.vote_over);
  archive(spec.unit);
  archive(spec.top_p);
  archive(spec.reselect_every);
  archive(spec.rescan_every);
  archive(spec.candidate_pages);
  archive(spec.scan_share);
  archive(spec.layer_stride);
  visit(archive, spec.select_layers);
  archive(spec.positions);
  archive(spec.wants_missed_mass);
  archive(spec.audits);
}
template <typename Archive>
void visit(Archive& archive, PlanAnswer& answer) {
  visit(archive, answer.request);
  visit(archive, answer.context);
  archive(answer.home);
  visit(archive, answer.sampling);
  visit(archive, answer.attention);
}
template <typename Archive>
void visit(Archive& archive, StepItem& item) {
  archive(item.kind);
  visit(archive, item.context);
  visit(archive, item.request);
  archive(item.first_position);
  visit(archive, item.tokens);
  archive(item.logits);
  visit(archive, item.scored);
  archive(item.sample_index);
  archive(item.computed_before);
  archive(item.votes);
  archive(item.ends_votes);
  archive(item.ends_question);
}
template <typename Archive>
void visit(Archive& archive, PlanCommit& commit) {
  std::vector<std::byte> record;
  if constexpr (!Archive::kReads) record = protocol::encode_record(commit.record);
  visit(archive, record);
  if constexpr (Archive::kReads) commit.record = protocol::decode_manifest_record(record);
  archive(commit.catalogue_sequence);
}
template <typename Archive>
void visit(Archive& archive, StepFailure& failure) {
  archive(failure.is_commit);
  archive(failure.index);
  archive(failure.code);
  visit(archive, failure.message);
  visit(archive, failure.damaged);
}
template <typename Archive>
void visit(Archive& archive, std::pair<TokenId, float>& alternative) {
  archive(alternative.first);
  archive(alternative.second);
}
template <typename Archive>
void visit(Archive& archive, StepSample& sample) {
  archive(sample.item);
  archive(sample.token.token);
  archive(sample.token.logprob);
  visit(archive, sample.token.top);
}
template <typename Archive>
void visit(Archive& archive, StepCommit& commit) {
  archive(commit.commit);
  visit(archive, commit.manifest.volume);
  archive(commit.manifest.manifest_hash);
}

template <typename Archive>
void visit(Archive& archive, protocol::Evidence& evidence) {
  archive(evidence.range.begin);
  archive(evidence.range.end);
  archive(evidence.mass);
}
template <typename Archive>
void visit(Archive& archive, protocol::MissedMass& missed) {
  archive(missed.mean);
  archive(missed.worst);
  archive(missed.is_audited);
  archive(missed.true_mean);
  archive(missed.true_worst);
  archive(missed.is_bounded);
  archive(missed.bound_mean);
  archive(missed.bound_worst);
  archive(missed.scan_recall);
}

template <typename Archive>
void visit(Archive& archive, StepAttentionReport& said) {
  archive(said.item);
  archive(said.report.mode);
  archive(said.report.context_tokens);
  archive(said.report.attended_tokens);
  archive(said.report.pinned_pages);
  archive(said.report.second_pass);
  visit(archive, said.report.evidence);
  archive(said.report.blocks_read);
  archive(said.report.landmark);
  bool is_measured = said.report.missed_mass.has_value();
  archive(is_measured);
  if (is_measured)
    visit(archive, said.report.missed_mass ? *said.report.missed_mass : said.report.missed_mass.emplace());
}

template <typename Archive, typename T>
void visit(Archive& archive, std::vector<T>& values) {
  auto count = static_cast<std::uint64_t>(values.size());
  archive(count);
  if constexpr (Archive::kReads) {
    CHECK(count <= archive.left(), count, archive.left());
    values.resize(count);
  }
  if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::byte>) {
    archive.raw(values.data(), values.size() * sizeof(T));
  } else {
    for (T& value : values) visit(archive, value);
  }
}

template <typename Archive>
void visit(Archive& archive, StepPlan& plan) {
  archive(plan.kind);
  archive(plan.step);
  archive(plan.work_seen);
  visit(archive, plan.contexts);
  visit(archive, plan.closed_contexts);
  visit(archive, plan.chunks);
  visit(archive, plan.abandoned);
  visit(archive, plan.answers);
  visit(archive, plan.closed_answers);
  visit(archive, plan.items);
  visit(archive, plan.commits);
}

template <typename Archive>
void visit(Archive& archive, StepReport& report) {
  visit(archive, report.failures);
  visit(archive, report.samples);
  visit(archive, report.scores);
  visit(archive, report.commits);
  visit(archive, report.attention);
}

template <typename T>
std::vector<std::byte> write(const T& value) {
  Writer writer;
  visit(writer, const_cast<T&>(value));  // a Writer only reads it
  return std::move(writer.bytes);
}

template <typename T>
T read(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  T value;
  visit(reader, value);
  CHECK(reader.left() == 0, reader.left());
  return value;
}

}  // namespace

std::vector<std::byte> encode(const StepPlan& plan) {
  return write(plan);
}
StepPlan decode_step_plan(std::span<const std::byte> bytes) {
  return read<StepPlan>(bytes);
}
std::vector<std::byte> encode(const StepReport& report) {
  return write(report);
}
StepReport decode_step_report(std::span<const std::byte> bytes) {
  return read<StepReport>(bytes);
}

RowRun rows_of_rank(std::size_t rows, std::uint32_t rank, std::uint32_t size) {
  return {rows * rank / size, rows * (rank + 1) / size};
}

}  // namespace rotulus::worker
