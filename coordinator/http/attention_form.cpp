#include "coordinator/http/attention_form.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "protocol/limits.h"
#include "protocol/methods.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::AttentionMode;

// The enumerator whose word is given.
template <typename Word, std::size_t kCount>
Word read_word(const FieldValue& value, const std::string_view (&words)[kCount]) {
  const auto* text = value.json().get_if<std::string>();
  const auto* found = text ? std::find(std::begin(words), std::end(words), *text) : std::end(words);
  if (found == std::end(words)) value.refuse(fmt::format("one of \"{}\"", fmt::join(words, "\", \"")));
  return static_cast<Word>(found - std::begin(words));
}

AttentionMode read_mode(FieldValue value) {
  return read_word<AttentionMode>(value, protocol::kModeWords);
}

constexpr Field<AttentionMode> kContextForm[] = {
    {"mode", [](FieldValue v, AttentionMode& mode) { mode = read_mode(v); }},
};

void set_mode(FieldValue value, AnswerAttention& attention) {
  attention.spec.mode = read_mode(value);
  attention.has_mode = true;
}

// What else the request says changes it.
void set_method(FieldValue value, AnswerAttention& attention) {
  const auto* name = value.json().get_if<std::string>();
  const protocol::Method* method = name ? protocol::find_method(*name) : nullptr;
  if (!method) {
    std::vector<std::string_view> names;
    for (const protocol::Method& known : protocol::methods()) names.push_back(known.name);
    value.refuse(fmt::format("one of \"{}\"", fmt::join(names, "\", \"")));
  }
  const bool wants_provenance = attention.spec.wants_provenance;
  attention.spec = method->spec;
  attention.spec.wants_provenance = wants_provenance;
  attention.has_mode = true;
}

std::vector<std::uint32_t> read_layers(FieldValue value) {
  if (auto* layers = value.json().get_if<JsonValue::Integers>()) return std::move(*layers);
  const auto* array = value.json().get_if<JsonValue::Array>();
  if (!array || !array->empty()) value.refuse("an array of layers, counted from 0");
  return {};
}

// The local window has a longest value too, half the model's window: known where the answer is planned.
constexpr std::int64_t kMaxLocalTokens = 1 << 30;
constexpr Field<AnswerAttention> kAnswerForm[] = {
    {"method", set_method},
    {"mode", set_mode},
    {"budget_tokens",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.budget_tokens =
           static_cast<std::uint32_t>(v.multiple(protocol::kPageTokens, 0, protocol::kMaxBudgetTokens));
     }},
    {"local_tokens",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.local_tokens =
           static_cast<std::uint32_t>(v.multiple(protocol::kBlockTokens, protocol::kBlockTokens, kMaxLocalTokens));
     }},
    {"second_pass",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.second_pass = v.flag();
       a.spec.reread_tokens = 0;  // one or the other
     }},
    {"reread",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.reread_tokens = v.flag() ? protocol::default_attention().reread_tokens : 0;
     }},
    {"reread_tokens",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.reread_tokens =
           static_cast<std::uint32_t>(v.multiple(protocol::kPageTokens, 0, protocol::kMaxBudgetTokens));
     }},
    {"landmark",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.landmark = read_word<protocol::PageLandmark>(v, protocol::kLandmarkWords);
     }},
    {"vote",
     [](FieldValue v, AnswerAttention& a) { a.spec.vote = read_word<protocol::PageVote>(v, protocol::kVoteWords); }},
    {"vote_over",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.vote_over = read_word<protocol::VoteScope>(v, protocol::kScopeWords);
     }},
    {"unit", [](FieldValue v,
                AnswerAttention& a) { a.spec.unit = read_word<protocol::SelectionUnit>(v, protocol::kUnitWords); }},
    {"top_p", [](FieldValue v, AnswerAttention& a) { a.spec.top_p = static_cast<float>(v.number(0, 1)); }},
    {"reselect_every",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.reselect_every = static_cast<std::uint32_t>(v.integer(1, protocol::kMaxReselectEvery));
     }},
    {"rescan_every",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.rescan_every = static_cast<std::uint32_t>(v.integer(1, protocol::kMaxReselectEvery));
     }},
    {"candidate_pages",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.candidate_pages = static_cast<std::uint32_t>(v.integer(1, protocol::kMaxCandidatePages));
     }},
    {"scan_share", [](FieldValue v, AnswerAttention& a) { a.spec.scan_share = static_cast<float>(v.number(0, 1)); }},
    {"layer_stride",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.layer_stride = static_cast<std::uint32_t>(v.integer(1, protocol::kMaxSelectLayers));
     }},
    {"select_layers", [](FieldValue v, AnswerAttention& a) { a.spec.select_layers = read_layers(v); }},
    {"positions",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.positions = read_word<protocol::PositionPolicy>(v, protocol::kPositionWords);
     }},
    {"report", [](FieldValue v, AnswerAttention& a) { a.is_reported = a.spec.wants_missed_mass = v.flag(); }},
    {"audit", [](FieldValue v, AnswerAttention& a) { a.spec.audits = v.flag(); }},
};

}  // namespace

std::string_view to_string(AttentionMode mode) {
  return protocol::kModeWords[static_cast<std::size_t>(mode)];
}

AttentionMode read_context_attention(FieldValue value) {
  if (value.json().get_if<std::string>()) return read_mode(value);
  AttentionMode mode = AttentionMode::automatic;
  JsonValue::Object members = value.object();
  read_form<AttentionMode>(members, kContextForm, mode);
  return mode;
}

protocol::LandmarkKinds read_landmark_kinds(FieldValue value) {
  const auto refuse = [&]() {
    value.refuse(fmt::format("an array of \"{}\", where \"sketch\" and \"mean\" are kept together or not at all",
                             fmt::join(protocol::kLandmarkKindWords, "\", \"")));
  };
  protocol::LandmarkKinds kinds = 0;
  const auto add = [&](std::string_view word) {
    const auto* found =
        std::find(std::begin(protocol::kLandmarkKindWords), std::end(protocol::kLandmarkKindWords), word);
    if (found == std::end(protocol::kLandmarkKindWords)) refuse();
    kinds |= 1u << (found - std::begin(protocol::kLandmarkKindWords));
  };
  if (const auto* text = value.json().get_if<std::string>()) {
    for (std::size_t begin = 0; begin <= text->size();) {
      const std::size_t end = std::min(text->find(',', begin), text->size());
      add(std::string_view(*text).substr(begin, end - begin));
      begin = end + 1;
    }
  } else if (const auto* array = value.json().get_if<JsonValue::Array>()) {
    for (const JsonValue& element : *array) {
      const auto* word = element.get_if<std::string>();
      add(word ? *word : "");
    }
  }
  const protocol::LandmarkKinds pair = kinds & protocol::kDefaultLandmarks;
  if (kinds == 0 || (pair != 0 && pair != protocol::kDefaultLandmarks)) refuse();
  return kinds;
}

void read_answer_attention(FieldValue value, AnswerAttention& attention) {
  if (value.json().get_if<std::string>()) return set_mode(value, attention);
  JsonValue::Object members = value.object();
  // Whatever order they come in: a method is what the other fields change, and re-reading is asked for in place of the
  // second pass, or, said too, in spite of it.
  const auto stage = [](const JsonMember& m) { return m.key == "method" ? 0 : m.key == "second_pass" ? 1 : 2; };
  std::stable_sort(members.begin(), members.end(),
                   [&](const JsonMember& a, const JsonMember& b) { return stage(a) < stage(b); });
  read_form<AnswerAttention>(members, kAnswerForm, attention);
  if (attention.spec.audits) attention.is_reported = attention.spec.wants_missed_mass = true;
  check(attention.spec);
}

void write_retrieval(JsonWriter& json, std::string_view mode, const protocol::RetrievalParameters& retrieval) {
  json.begin_object().field("mode", mode).field("landmark_version", retrieval.landmark_version);
  json.key("landmarks").begin_array();
  for (std::size_t kind = 0; kind < std::size(protocol::kLandmarkKindWords); ++kind) {
    const bool is_kept = retrieval.landmark_version != 0 && (retrieval.landmarks >> kind & 1u) != 0;
    if (is_kept) json.value(protocol::kLandmarkKindWords[kind]);
  }
  json.end_array();
  json.field("exact_tokens", retrieval.exact_tokens).field("local_tokens", retrieval.local_tokens).end_object();
}

std::string_view mode_of(const protocol::RetrievalParameters& retrieval) {
  return to_string(retrieval.landmark_version == 0 ? AttentionMode::exact : AttentionMode::retrieval);
}

void write_report(JsonWriter& json, const protocol::AttentionReport& report, const std::optional<Reread>& reread) {
  json.begin_object().field("mode", to_string(report.mode));
  json.field("context_tokens", report.context_tokens).field("attended_tokens", report.attended_tokens);
  json.field("blocks_read", report.blocks_read);
  if (report.mode == AttentionMode::retrieval) {
    json.field("landmark", protocol::kLandmarkWords[static_cast<std::size_t>(report.landmark)]);
  }
  json.field("second_pass", report.second_pass).field("pinned_pages", report.pinned_pages);
  if (const auto& missed = report.missed_mass) {
    json.key("missed_mass").begin_object().field("mean", missed->mean).field("worst", missed->worst);
    if (missed->is_audited) {
      json.field("true_mean", missed->true_mean).field("true_worst", missed->true_worst);
      json.field("scan_recall", missed->scan_recall);
    }
    if (missed->is_bounded) json.field("bound_mean", missed->bound_mean).field("bound_worst", missed->bound_worst);
    json.end_object();
  }
  if (reread) {
    json.key("reread").begin_object().key("token_ranges").begin_array();
    for (const protocol::TokenRange range : reread->ranges) write_token_range(json, range);
    json.end_array().field("computed_tokens", reread->computed_tokens).end_object();
  }
  json.end_object();
}

void write_token_range(JsonWriter& json, protocol::TokenRange range) {
  json.begin_array().value(range.begin).value(range.end).end_array();
}

void write_provenance(JsonWriter& json, const std::vector<Passage>& passages) {
  json.begin_array();
  for (const Passage& passage : passages) {
    json.begin_object().key("token_range");
    write_token_range(json, passage.range);
    json.field("mass", passage.mass).field("text", passage.text).end_object();
  }
  json.end_array();
}

}  // namespace rotulus::coordinator::http
