#include "coordinator/http/request_form.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace rotulus::coordinator::http {
namespace {

constexpr std::size_t kComparedNameBytes = 64;

// Insertions, deletions and substitutions that turn one name into the other.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

void refuse_field(std::string_view field, std::string message) {
  throw protocol::Error(protocol::ErrorCode::invalid_argument, std::move(message), std::string(field));
}

void refuse_unknown(std::string_view name, std::span<const std::string_view> known) {
  const std::string_view shown = name.substr(0, kComparedNameBytes);
  const auto distance = [&](std::string_view other) { return edit_distance(shown, other); };
  const auto nearest = std::min_element(
      known.begin(), known.end(), [&](std::string_view a, std::string_view b) { return distance(a) < distance(b); });
  const bool is_near = nearest != known.end() && distance(*nearest) <= std::max<std::size_t>(2, nearest->size() / 3);
  refuse_field(shown, is_near ? fmt::format("`{}` is not a field of this request; did you mean `{}`?", shown, *nearest)
                              : fmt::format("`{}` is not a field of this request. It takes: {}.", shown,
                                            fmt::join(known, ", ")));
}

JsonValue::Object& as_object(JsonValue& body) {
  if (auto* object = body.get_if<JsonValue::Object>()) return *object;
  refuse_field("", fmt::format("The request body must be a JSON object, not {}.", describe(body)));
}

void FieldValue::refuse(std::string_view expected) const {
  refuse_field(name_, fmt::format("`{}` must be {}, not {}.", name_, expected, describe(value_)));
}

bool FieldValue::flag() const {
  if (const auto* flag = value_.get_if<bool>()) return *flag;
  refuse("true or false");
}

std::int64_t FieldValue::integer(std::int64_t min, std::int64_t max) const {
  const auto* integer = value_.get_if<std::int64_t>();
  if (!integer || *integer < min || *integer > max) refuse(fmt::format("an integer from {} to {}", min, max));
  return *integer;
}

std::int64_t FieldValue::multiple(std::int64_t unit, std::int64_t min, std::int64_t max) const {
  const auto* integer = value_.get_if<std::int64_t>();
  if (!integer || *integer < min || *integer > max || *integer % unit != 0) {
    refuse(fmt::format("a multiple of {} from {} to {}", unit, min, max));
  }
  return *integer;
}

double FieldValue::number(double min, double max) const {
  const auto* integer = value_.get_if<std::int64_t>();
  const auto* real = value_.get_if<double>();
  const double number = integer ? static_cast<double>(*integer) : real ? *real : max + 1;
  if (!(number >= min && number <= max)) refuse(fmt::format("a number from {} to {}", min, max));
  return number;
}

std::string FieldValue::text() const {
  if (auto* text = value_.get_if<std::string>()) return std::move(*text);
  refuse("a string");
}

std::string FieldValue::text(std::size_t max_bytes) const {
  const auto* text = value_.get_if<std::string>();
  if (!text || text->size() > max_bytes) refuse(fmt::format("a string of at most {} bytes", max_bytes));
  return *text;
}

std::string FieldValue::choice(std::initializer_list<std::string_view> choices) const {
  const auto* text = value_.get_if<std::string>();
  if (text && std::find(choices.begin(), choices.end(), *text) != choices.end()) return *text;
  refuse(fmt::format("one of \"{}\"", fmt::join(choices, "\", \"")));
}

std::vector<protocol::TokenId> FieldValue::token_ids() const {
  if (auto* integers = value_.get_if<JsonValue::Integers>()) return std::move(*integers);
  auto* array = value_.get_if<JsonValue::Array>();
  if (!array) refuse("an array of token ids");
  for (std::size_t i = 0; i < array->size(); ++i) {
    const auto* integer = (*array)[i].get_if<std::int64_t>();
    if (integer && *integer >= 0 && *integer <= UINT32_MAX) continue;
    refuse_field(name_,
                 fmt::format("`{}` must hold token ids only; element {} is {}.", name_, i, describe((*array)[i])));
  }
  return {};  // an array of good ids is Integers, so this one is empty
}

JsonValue::Object FieldValue::object() const {
  if (auto* object = value_.get_if<JsonValue::Object>()) return std::move(*object);
  refuse("an object");
}

JsonValue::Array FieldValue::array(std::string_view of_what) const {
  if (auto* array = value_.get_if<JsonValue::Array>()) return std::move(*array);
  refuse(fmt::format("an array of {}", of_what));
}

void FieldValue::neutral(bool is_neutral, std::string_view neutral_values) const {
  if (is_neutral) return;
  refuse_field(name_, fmt::format("`{}` is not built yet; leave it out or give {}, not {}.", name_, neutral_values,
                                  describe(value_)));
}

}  // namespace rotulus::coordinator::http
