#include "client/commands/attention.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "client/api/json_answer.h"
#include "client/output.h"

namespace rotulus::client {

namespace json = boost::json;

json::object attention_of(const AttentionOptions& options) {
  json::object attention;
  if (options.method) attention["method"] = *options.method;
  if (options.is_exact) attention["mode"] = "exact";
  if (options.budget_tokens) attention["budget_tokens"] = *options.budget_tokens;
  if (options.local_tokens) attention["local_tokens"] = *options.local_tokens;
  return attention;
}

namespace {

std::uint64_t count_reread(const json::object& report) {
  const json::value* reread = report.if_contains("reread");
  const json::value* ranges = reread && reread->is_object() ? reread->as_object().if_contains("token_ranges") : nullptr;
  std::uint64_t tokens = 0;
  if (!ranges || !ranges->is_array()) return tokens;
  for (const json::value& range : ranges->as_array()) {
    if (!range.is_array() || range.as_array().size() != 2) continue;
    tokens += range.as_array()[1].to_number<std::uint64_t>() - range.as_array()[0].to_number<std::uint64_t>();
  }
  return tokens;
}

}  // namespace

std::string describe_report(const json::object& report) {
  auto count = [&](std::string_view name) {
    return describe_count(static_cast<std::uint64_t>(number_of(report, name)));
  };
  std::string text = fmt::format("{} of {} tokens read by {}", count("attended_tokens"), count("context_tokens"),
                                 text_of(report, "mode"));
  if (number_of(report, "pinned_pages") > 0)
    text += fmt::format(", {} pages pinned by a second pass", count("pinned_pages"));
  if (const std::uint64_t reread = count_reread(report)) text += fmt::format(", {} read again", describe_count(reread));
  return text;
}

std::string describe_passage(double score, const json::value* token_range, const std::string& text) {
  std::string place;
  if (token_range && token_range->is_array() && token_range->as_array().size() == 2) {
    const json::array& range = token_range->as_array();
    place = fmt::format("  tokens {} to {}", describe_count(range[0].to_number<std::uint64_t>()),
                        describe_count(range[1].to_number<std::uint64_t>()));
  }
  return fmt::format("{:.3f}{}\n{}\n", score, place, text);
}

double score_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_number() ? value->to_number<double>() : 0;
}

}  // namespace rotulus::client
