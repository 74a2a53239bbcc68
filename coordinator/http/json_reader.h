// Strict JSON, read in pieces as a body arrives. RFC 8259, and further: no duplicate keys, no depth beyond 32, no
// invalid UTF-8, no lone surrogates, no number that a double cannot hold, at most kMaxJsonValues values. An array of
// nothing but token ids is kept as such, four bytes each, so that a document of ids costs what its bytes cost.
//
// Errors: Error{invalid_argument} with the byte at which the input stops being JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace rotulus::coordinator::http {

struct JsonMember;

struct JsonValue {
  using Null = std::monostate;
  using Integers = std::vector<std::uint32_t>;  // a non-empty array whose every element is an integer in [0, 2^32)
  using Array = std::vector<JsonValue>;
  using Object = std::vector<JsonMember>;  // in the order given; keys are distinct

  // uint64_t only for integers beyond int64_t.
  std::variant<Null, bool, std::int64_t, std::uint64_t, double, std::string, Integers, Array, Object> data;

  template <typename Kind>
  const Kind* get_if() const {
    return std::get_if<Kind>(&data);
  }
  template <typename Kind>
  Kind* get_if() {
    return std::get_if<Kind>(&data);
  }
  bool is_null() const { return data.index() == 0; }
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

class JsonParser final {
 public:
  JsonParser();
  ~JsonParser();
  JsonParser(const JsonParser&) = delete;
  JsonParser& operator=(const JsonParser&) = delete;

  void write(std::string_view piece);
  JsonValue finish();

 private:
  class State;
  std::unique_ptr<State> state_;
};

JsonValue parse_json(std::string_view text);

// The value as compact JSON.
std::string to_json(const JsonValue& value);

// The value as a message may quote it: short, and naming objects and arrays by kind.
std::string describe(const JsonValue& value);

}  // namespace rotulus::coordinator::http
