// How an answer attends to its context: a choice in each stage of selecting pages; and what it then read.
//
//   score    landmark           what stands in for a page's keys;  scan_share: for how many of them
//   vote     vote, vote_over    how the shares that rows and query heads give a page become one, for whom
//   select   unit, budget_tokens, top_p
//   when     reselect_every     in an answer;  select_layers, layer_stride: in which layers, the others reuse
//   among    rescan_every       all pages, or the candidate_pages that were best when all were looked at
//   show     positions          where what is selected stands in the model's window
//   again    second_pass        with the pages of the largest mass pinned
//            reread_tokens      … or not at all: their text is read again as a prompt of its own, exactly
//
// A method (methods.h) is a name for one such choice. docs/retrieval.md says what each does and what it finds.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/token_range.h"

namespace rotulus::protocol {

// On the wire by number: append only.
enum class AttentionMode : std::uint8_t { automatic = 0, exact = 1, retrieval = 2 };
enum class PageLandmark : std::uint8_t {
  sketch = 0,
  mean = 1,
  bounds = 2,  // of the keys, where the context keeps these, else as sketched_bounds
  sketched_bounds = 3,
  centroid = 4,  // the best of those to whose clusters its keys belong; where the context keeps none, mean
};
enum class PageVote : std::uint8_t { maximum = 0, sum = 1 };
enum class VoteScope : std::uint8_t { kv_head = 0, layer = 1 };
enum class SelectionUnit : std::uint8_t { page = 0, block = 1 };
enum class PositionPolicy : std::uint8_t {
  block_constant = 0,  // every far block in the 128 positions before the window
  true_near = 1,       // where it stands if the model's window reaches it, else as block_constant
  compacted = 2,       // what is read of far blocks one behind the other, in order, up to the window
  clamped = 3,         // where it stands, at most as far as the model's window reaches
};

// What a context keeps to stand in for its keys: a set of bits, append only, in records too. A sketch says how keys
// differ from the mean of their page, so the two are kept together.
using LandmarkKinds = std::uint32_t;
inline constexpr LandmarkKinds kKeepsSketches = 1;
inline constexpr LandmarkKinds kKeepsMeans = 2;
inline constexpr LandmarkKinds kKeepsBounds = 4;
inline constexpr LandmarkKinds kDefaultLandmarks = kKeepsSketches | kKeepsMeans;
inline constexpr LandmarkKinds kKeepsCentroids = 8;
inline constexpr LandmarkKinds kKnownLandmarks = kDefaultLandmarks | kKeepsBounds | kKeepsCentroids;

struct AttentionSpec {
  AttentionMode mode = AttentionMode::automatic;  // automatic: exact where context and answer fit the window together
  // Retrieved per layer and list; a multiple of 16; sinks, local and tail on top. 0: nothing is.
  std::uint32_t budget_tokens = 2048;
  std::uint32_t local_tokens = 512;  // a multiple of 128
  bool second_pass = true;           // pins the pages of the largest mass for all heads and runs the question again
  bool wants_provenance = false;     // report evidence, also where no second pass needs the vote

  PageLandmark landmark = PageLandmark::sketch;
  PageVote vote = PageVote::maximum;
  VoteScope vote_over = VoteScope::kv_head;  // who shares one list
  SelectionUnit unit = SelectionUnit::page;  // block: the best of its pages speaks for it
  float top_p = 1;                           // (0, 1]: the fewest pages with that share of all votes, in the budget
  std::uint32_t reselect_every = 8;          // positions of an answer; a power of two, 1 … 64
  std::uint32_t rescan_every = 64;           // likewise; between, what is selected is among …
  std::uint32_t candidate_pages = 8192;      // … so many of each list, and never fewer than the budget
  float scan_share = 1;                      // (0, 1]: of all pages, by their means, those scored by `landmark`
  std::uint32_t layer_stride = 1;            // layers whose index is a multiple select, the others reuse …
  std::vector<std::uint32_t> select_layers = {};  // … or, where not empty, these; ascending. The first always does
  PositionPolicy positions = PositionPolicy::compacted;
  bool wants_missed_mass = false;  // report an estimate of what was left out
  bool audits = false;             // … and the truth, for which the question's last rows read everything once
  // Of the text of the best pages, where the context is attended by retrieval: the coordinator has it computed again
  // and answered exactly (coordinator/reread.h). 0: it is not. Nothing to the workers.
  std::uint32_t reread_tokens = 0;
  bool operator==(const AttentionSpec&) const = default;
};

// Throws Error{invalid_argument} naming the field that is out of range, its value and what it may be.
void check(const AttentionSpec& spec);
// What pages are scored by where `wanted` is asked for and `kept` is kept; nothing where that does not do.
std::optional<PageLandmark> landmark_of(PageLandmark wanted, LandmarkKinds kept);

// A run of pages, and the largest softmax mass that any head gave one of them.
struct Evidence {
  TokenRange range;
  float mass = 0;
  bool operator==(const Evidence&) const = default;
};

// The share of the softmax of the question's last row that lies on what was not selected, over query heads and the
// layers that select.
struct MissedMass {
  float mean = 0;  // estimates
  float worst = 0;
  bool is_audited = false;  // the truth is known:
  float true_mean = 0;
  float true_worst = 0;
  bool is_bounded = false;  // what no truth is above is known:
  float bound_mean = 0;
  float bound_worst = 0;
  float scan_recall = 1;  // audited: of the pages that scoring all would have chosen, the share that was
  bool operator==(const MissedMass&) const = default;
};

// What an answer's attention read.
struct AttentionReport {
  AttentionMode mode = AttentionMode::exact;  // never automatic
  std::uint64_t context_tokens = 0;
  std::uint64_t attended_tokens = 0;  // of the context, by the question's last row: the most of any layer and KV head
  std::uint32_t pinned_pages = 0;
  bool second_pass = false;
  std::vector<Evidence> evidence;  // best first, at most limits.h kMaxEvidence
  std::uint64_t blocks_read = 0;   // by the question's last row, of the layers that select or could
  std::optional<MissedMass> missed_mass;
  PageLandmark landmark = PageLandmark::sketch;  // under retrieval: what pages were scored by
  bool operator==(const AttentionReport&) const = default;
};

}  // namespace rotulus::protocol
