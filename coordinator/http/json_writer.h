// Writes JSON in the order it is told, deterministically: a float is the shortest text that reads back as the same
// float32, so that equal bits give equal bytes. Bytes that are not UTF-8 become U+FFFD.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace rotulus::coordinator::http {

class JsonWriter final {
 public:
  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& end_array();
  JsonWriter& key(std::string_view name);

  JsonWriter& null();
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
  JsonWriter& value(float number);   // must be finite
  JsonWriter& value(double number);  // must be finite
  JsonWriter& value(std::same_as<bool> auto flag) { return raw(flag ? "true" : "false"); }
  template <std::integral Integer>
  requires(!std::same_as<Integer, bool>) JsonWriter& value(Integer number) { return raw(std::to_string(number)); }
  JsonWriter& raw(std::string_view json);  // a whole value, already JSON

  template <typename Value>
  JsonWriter& field(std::string_view name, const Value& of) {
    return key(name).value(of);
  }
  JsonWriter& field_or_null(std::string_view name, std::string_view text) {  // empty: null
    key(name);
    return text.empty() ? null() : value(text);
  }

  std::string take() { return std::move(text_); }

 private:
  void separate();
  JsonWriter& number(std::string_view digits);

  std::string text_;
  bool needs_comma_ = false;
};

// `bytes` with every malformed sequence replaced by U+FFFD.
std::string to_valid_utf8(std::string_view bytes);

}  // namespace rotulus::coordinator::http
