// `attention` in requests and answers: what a context keeps for it, how an answer attends, and what it read.
#pragma once

#include <string_view>
#include <vector>

#include "coordinator/http/json_writer.h"
#include "coordinator/http/request_form.h"
#include "coordinator/queries.h"

namespace rotulus::coordinator::http {

std::string_view to_string(protocol::AttentionMode mode);  // "auto", "exact", "retrieval"

// Each is an object, or the mode alone. Both throw Error{invalid_argument} naming field, value and range.
protocol::AttentionMode read_context_attention(FieldValue value);
// An array of kinds, or their names in a string with commas between them. Throws likewise.
protocol::LandmarkKinds read_landmark_kinds(FieldValue value);

struct AnswerAttention {
  protocol::AttentionSpec spec;
  bool has_mode = false;     // the mode was given
  bool is_reported = false;  // also where it was exact
};
// What is not given stays as it is, or is the method's where one is named.
void read_answer_attention(FieldValue value, AnswerAttention& attention);

// {"mode", "landmark_version", "landmarks", "exact_tokens", "local_tokens"}.
void write_retrieval(JsonWriter& json, std::string_view mode, const protocol::RetrievalParameters& retrieval);
std::string_view mode_of(const protocol::RetrievalParameters& retrieval);  // of a context whose tokens are counted

// {"mode", "context_tokens", "attended_tokens", "blocks_read", "second_pass", "pinned_pages"}, and where it is known
// "missed_mass": {"mean", "worst"}, audited also "true_mean", "true_worst", "scan_recall", by bounds also "bound_mean",
// "bound_worst"; under retrieval "landmark"; where it was asked for "reread": {"token_ranges", "computed_tokens"}, of
// the context, no range where it was attended exactly.
void write_report(JsonWriter& json, const protocol::AttentionReport& report,
                  const std::optional<Reread>& reread = std::nullopt);
// [{"token_range", "mass", "text"}], best first.
void write_provenance(JsonWriter& json, const std::vector<Passage>& passages);
void write_token_range(JsonWriter& json, protocol::TokenRange range);  // [begin, end]

}  // namespace rotulus::coordinator::http
