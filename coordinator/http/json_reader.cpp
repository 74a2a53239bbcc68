#include "coordinator/http/json_reader.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "coordinator/http/json_writer.h"
#include "protocol/error.h"
#include "protocol/limits.h"

#include <boost/json/basic_parser_impl.hpp>

namespace rotulus::coordinator::http {
namespace {

namespace json = boost::json;
using protocol::Error;
using protocol::ErrorCode;

constexpr std::size_t kMaxNumberLiteralBytes = 128;

// Receives the parser's events and builds the value. A refusal leaves its reason in `failure` and stops the parser.
class Builder {
 public:
  static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_array_size = max_object_size;
  static constexpr std::size_t max_key_size = max_object_size;
  static constexpr std::size_t max_string_size = max_object_size;

  using Code = json::error_code;
  using Text = json::string_view;

  bool on_document_begin(Code&) { return true; }
  bool on_document_end(Code&) { return true; }

  bool on_object_begin(Code& code) { return open({JsonValue::Object{}}, code); }
  bool on_object_end(std::size_t, Code& code) {
    std::vector<std::string_view> keys;
    for (const JsonMember& member : *open_.back().value.get_if<JsonValue::Object>()) keys.push_back(member.key);
    std::sort(keys.begin(), keys.end());
    const auto twin = std::adjacent_find(keys.begin(), keys.end());
    if (twin != keys.end()) return refuse(code, "the key \"" + std::string(*twin) + "\" is given twice");
    return close(code);
  }
  bool on_array_begin(Code& code) { return open({JsonValue::Array{}}, code); }
  bool on_array_end(std::size_t, Code& code) { return close(code); }

  bool on_key_part(Text part, std::size_t, Code&) { return append(part); }
  bool on_key(Text part, std::size_t, Code&) {
    append(part);
    open_.back().key = std::move(text_);
    text_.clear();
    return true;
  }
  bool on_string_part(Text part, std::size_t, Code&) { return append(part); }
  bool on_string(Text part, std::size_t, Code& code) {
    append(part);
    JsonValue value{std::move(text_)};
    text_.clear();
    return add(std::move(value), code);
  }

  bool on_number_part(Text part, Code& code) { return append_digits(part, code); }
  bool on_int64(std::int64_t number, Text, Code& code) {
    text_.clear();
    return add_integer(number, code);
  }
  bool on_uint64(std::uint64_t number, Text, Code& code) {
    text_.clear();
    if (number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return add_integer(static_cast<std::int64_t>(number), code);
    }
    return add(JsonValue{number}, code);
  }
  // Read again from its digits: the parser's own conversion may be off by an ulp.
  bool on_double(double, Text part, Code& code) {
    if (!append_digits(part, code)) return false;
    double number = 0;
    const auto [end, failure] = std::from_chars(text_.data(), text_.data() + text_.size(), number);
    if (failure != std::errc{} || end != text_.data() + text_.size()) {
      return refuse(code, "the number " + text_ + " is out of range");
    }
    text_.clear();
    return add(JsonValue{number}, code);
  }
  bool on_bool(bool flag, Code& code) { return add(JsonValue{flag}, code); }
  bool on_null(Code& code) { return add(JsonValue{}, code); }
  bool on_comment_part(Text, Code&) { return true; }
  bool on_comment(Text, Code&) { return true; }

  JsonValue take() { return std::move(root_); }
  const std::string& failure() const { return failure_; }

 private:
  struct Open {
    JsonValue value;
    std::string key;  // of the member being read
  };

  bool refuse(Code& code, std::string why) {
    failure_ = std::move(why);
    code = json::error::exception;
    return false;
  }

  bool append(Text part) {
    text_.append(part.data(), part.size());
    return true;
  }

  bool append_digits(Text part, Code& code) {
    append(part);
    return text_.size() <= kMaxNumberLiteralBytes || refuse(code, "a number has more than 128 characters");
  }

  bool count(std::size_t values, Code& code) {
    values_ += values;
    return values_ <= protocol::kMaxJsonValues ||
           refuse(code, fmt::format("it has more than {} values", protocol::kMaxJsonValues));
  }

  bool open(JsonValue value, Code& code) {
    if (!count(1, code)) return false;
    open_.push_back({.value = std::move(value), .key = {}});
    return true;
  }

  bool close(Code& code) {
    JsonValue value = std::move(open_.back().value);
    open_.pop_back();
    --values_;  // counted when it was opened, and again by add()
    return add(std::move(value), code);
  }

  bool add_integer(std::int64_t number, Code& code) {
    const bool is_token = number >= 0 && number <= std::numeric_limits<std::uint32_t>::max();
    if (!is_token || open_.empty()) return add(JsonValue{number}, code);
    JsonValue& parent = open_.back().value;
    if (auto* integers = parent.get_if<JsonValue::Integers>()) {
      integers->push_back(static_cast<std::uint32_t>(number));
      return true;
    }
    if (auto* array = parent.get_if<JsonValue::Array>(); array && array->empty()) {
      parent.data = JsonValue::Integers{static_cast<std::uint32_t>(number)};
      return true;
    }
    return add(JsonValue{number}, code);
  }

  bool add(JsonValue value, Code& code) {
    if (!count(1, code)) return false;
    if (open_.empty()) {
      root_ = std::move(value);
      return true;
    }
    Open& parent = open_.back();
    if (auto* object = parent.value.get_if<JsonValue::Object>()) {
      object->push_back({.key = std::move(parent.key), .value = std::move(value)});
      parent.key.clear();
      return true;
    }
    if (parent.value.get_if<JsonValue::Integers>() && !widen(parent.value, code)) return false;
    parent.value.get_if<JsonValue::Array>()->push_back(std::move(value));
    return true;
  }

  // An array of integers meets something else.
  bool widen(JsonValue& value, Code& code) {
    const JsonValue::Integers integers = std::move(*value.get_if<JsonValue::Integers>());
    if (!count(integers.size(), code)) return false;
    JsonValue::Array array;
    array.reserve(integers.size() + 1);
    for (const std::uint32_t integer : integers) array.push_back({static_cast<std::int64_t>(integer)});
    value.data = std::move(array);
    return true;
  }

  JsonValue root_;
  std::vector<Open> open_;
  std::string text_;  // of the key, string or number being read
  std::size_t values_ = 0;
  std::string failure_;
};

json::parse_options strict() {
  json::parse_options options;
  options.max_depth = protocol::kMaxJsonDepth;
  return options;
}

}  // namespace

class JsonParser::State {
 public:
  State() : parser_(strict()) {}

  void write(std::string_view piece, bool is_last) {
    json::error_code code;
    const std::size_t taken = parser_.write_some(!is_last, piece.data(), piece.size(), code);
    offset_ += taken;
    if (!code && taken < piece.size()) code = json::error::extra_data;
    if (code) fail(code);
  }

  JsonValue take() { return parser_.handler().take(); }

 private:
  [[noreturn]] void fail(const json::error_code& code) {
    std::string why = parser_.handler().failure();
    if (code == json::error::too_deep) why = fmt::format("it is nested deeper than {}", protocol::kMaxJsonDepth);
    if (code == json::error::incomplete) why = "it ends too early";
    if (why.empty()) why = code.message();
    throw Error(ErrorCode::invalid_argument,
                fmt::format("The request body is not acceptable JSON: {}, at byte {}.", why, offset_));
  }

  json::basic_parser<Builder> parser_;
  std::uint64_t offset_ = 0;
};

JsonParser::JsonParser() : state_(std::make_unique<State>()) {}
JsonParser::~JsonParser() = default;

void JsonParser::write(std::string_view piece) {
  if (!piece.empty()) state_->write(piece, false);
}

JsonValue JsonParser::finish() {
  state_->write("", true);
  return state_->take();
}

JsonValue parse_json(std::string_view text) {
  JsonParser parser;
  parser.write(text);
  return parser.finish();
}

namespace {

void write_value(JsonWriter& json, const JsonValue& value);

struct ValueWriter {
  JsonWriter& json;

  void operator()(JsonValue::Null) const { json.null(); }
  void operator()(const JsonValue::Integers& integers) const {
    json.begin_array();
    for (const std::uint32_t integer : integers) json.value(integer);
    json.end_array();
  }
  void operator()(const JsonValue::Array& array) const {
    json.begin_array();
    for (const JsonValue& element : array) write_value(json, element);
    json.end_array();
  }
  void operator()(const JsonValue::Object& object) const {
    json.begin_object();
    for (const JsonMember& member : object) {
      json.key(member.key);
      write_value(json, member.value);
    }
    json.end_object();
  }
  void operator()(const auto& scalar) const { json.value(scalar); }
};

void write_value(JsonWriter& json, const JsonValue& value) {
  std::visit(ValueWriter{json}, value.data);
}

}  // namespace

std::string to_json(const JsonValue& value) {
  JsonWriter json;
  write_value(json, value);
  return json.take();
}

std::string describe(const JsonValue& value) {
  constexpr std::size_t kQuotedBytes = 40;
  if (value.get_if<JsonValue::Object>()) return "an object";
  if (const auto* array = value.get_if<JsonValue::Array>()) return array->empty() ? "an empty array" : "an array";
  if (value.get_if<JsonValue::Integers>()) return "an array";
  if (const auto* text = value.get_if<std::string>(); text && text->size() > kQuotedBytes) {
    return fmt::format("a string of {} bytes", text->size());
  }
  return to_json(value);
}

}  // namespace rotulus::coordinator::http
