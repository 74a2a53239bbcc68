// What a worker group runs between two scheduling decisions, and what each rank says afterwards.
//
// Rank 0 (the sequencer) decides; the plan is broadcast first, so that all ranks enter the same exchanges in the same
// order. A plan holds everything a rank needs to know: changes to the table of contexts and answers, rows, commits.
// No result depends on where steps are cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "protocol/messages.h"
#include "worker/model/sampler.h"
#include "worker/parallel/layout.h"

namespace rotulus::worker {

using protocol::ContextId;
using protocol::ObjectId;
using protocol::RequestId;
using protocol::TokenId;

// The objects of a context as far as they are known; object 0: not computed yet.
struct PlanContext {
  ContextId context;
  std::uint64_t token_count = 0;
  protocol::RetrievalParameters kept;
  std::vector<ChunkLocation> chunks;
  bool operator==(const PlanContext&) const = default;
};

// An attempt at a chunk begins: its blocks are written under `chunk.object`.
struct PlanChunk {
  ContextId context;
  std::uint32_t chunk_index = 0;
  ChunkLocation chunk;
  bool operator==(const PlanChunk&) const = default;
};

// A request begins: its tail stands behind `context` (0: none), on rank `home`.
struct PlanAnswer {
  RequestId request;
  ContextId context;
  std::uint32_t home = 0;
  protocol::SamplingSpec sampling;
  protocol::AttentionSpec attention;  // its mode never automatic
  bool operator==(const PlanAnswer&) const = default;
};

enum class LogitRows : std::uint8_t { none, last, all };

struct StepItem {
  enum class Kind : std::uint8_t {
    chunk,     // rows of a document: prefill, dealt to all ranks
    question,  // rows of a request, as prefill, on its home rank
    answer,    // rows of a request, as decode, on its home rank
  } kind = Kind::chunk;
  ContextId context;                 // chunk: whose
  RequestId request;                 // question, answer: whose
  std::uint64_t first_position = 0;  // in the document, or of the tail behind it
  std::vector<TokenId> tokens;       // the rows
  LogitRows logits = LogitRows::none;
  std::uint64_t sample_index = 0;     // logits == last: the index of the token that is drawn from them
  std::uint64_t computed_before = 0;  // rows at positions below count as recomputed
  bool votes = false;                 // question: its rows' votes for pages count
  bool ends_votes = false;            // … and are counted after it
  bool ends_question = false;         // the last of the question: its attention is reported
  std::vector<TokenId> scored = {};  // question: what stands behind its first rows, whose logits tell how likely it was
  bool operator==(const StepItem&) const = default;
};

// After the rows: the chunk is complete; its parts are made durable on all volumes. `record` lacks volume and hashes.
struct PlanCommit {
  protocol::ManifestRecord record;
  std::uint64_t catalogue_sequence = 0;
  bool operator==(const PlanCommit&) const = default;
};

struct StepPlan {
  enum class Kind : std::uint8_t { run, park, stop } kind = Kind::run;
  std::uint64_t step = 0;
  std::uint64_t work_seen = 0;        // park: a rank that was woken for later work does not park
  std::vector<PlanContext> contexts;  // opened or replaced
  std::vector<ContextId> closed_contexts;
  std::vector<PlanChunk> chunks;
  std::vector<ObjectId> abandoned;  // attempts that will not be committed
  std::vector<PlanAnswer> answers;
  std::vector<RequestId> closed_answers;
  std::vector<StepItem> items;
  std::vector<PlanCommit> commits;
  bool operator==(const StepPlan&) const = default;
};

std::vector<std::byte> encode(const StepPlan& plan);
StepPlan decode_step_plan(std::span<const std::byte> bytes);  // from a rank of our own group: CHECKs, does not throw

// -- afterwards -------------------------------------------------------------------------------------------------

// The status word: what went wrong with an item or a commit on this rank. The rank kept taking part for the others.
struct StepFailure {
  bool is_commit = false;
  std::uint32_t index = 0;  // into items or commits
  protocol::ErrorCode code = protocol::ErrorCode::internal;
  std::string message;
  ObjectId damaged;  // storage_corrupt: whose blocks cannot be read
};

struct StepSample {
  std::uint32_t item = 0;
  SampledToken token;
};

struct StepCommit {
  std::uint32_t commit = 0;
  protocol::VolumeManifest manifest;
};

// What the attention of a question read; from its home rank.
struct StepAttentionReport {
  std::uint32_t item = 0;
  protocol::AttentionReport report;
};

struct StepReport {
  std::vector<StepFailure> failures;
  std::vector<StepSample> samples;
  std::vector<StepSample> scores;  // of StepItem::scored, in order
  std::vector<StepCommit> commits;
  std::vector<StepAttentionReport> attention;
};

std::vector<std::byte> encode(const StepReport& report);
StepReport decode_step_report(std::span<const std::byte> bytes);

// The rows of a chunk item are dealt to the ranks in equal runs, whatever the lanes: rank's run of `rows` rows.
struct RowRun {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t count() const { return end - begin; }
};
RowRun rows_of_rank(std::size_t rows, std::uint32_t rank, std::uint32_t size);

}  // namespace rotulus::worker
