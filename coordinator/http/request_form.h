// What a request may say, as a table: the name of each field and how it is read. Whatever is not in the table is
// refused by name, with the nearest name that is; a wrong type or a number out of range names field, value and range.
//
//   constexpr Field<Tokenize> kForm[] = {
//       {"with_pieces", [](FieldValue v, Tokenize& r) { r.with_pieces = v.flag(); }}, …
//
// A null is a field not given, as in OpenAI's API, unless the field says otherwise.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/json_reader.h"
#include "protocol/error.h"
#include "protocol/ids.h"

namespace rotulus::coordinator::http {

[[noreturn]] void refuse_field(std::string_view field, std::string message);  // Error{invalid_argument}

// One given field. Each reader throws Error{invalid_argument} where the value is not what it asks for; the readers of
// strings and arrays take the value away.
class FieldValue final {
 public:
  FieldValue(std::string_view name, JsonValue& value) : name_(name), value_(value) {}

  std::string_view name() const { return name_; }
  JsonValue& json() const { return value_; }

  bool flag() const;
  std::int64_t integer(std::int64_t min, std::int64_t max) const;
  std::int64_t multiple(std::int64_t unit, std::int64_t min, std::int64_t max) const;
  double number(double min, double max) const;
  std::string text() const;
  std::string text(std::size_t max_bytes) const;
  std::string choice(std::initializer_list<std::string_view> choices) const;
  std::vector<protocol::TokenId> token_ids() const;
  JsonValue::Object object() const;
  JsonValue::Array array(std::string_view of_what) const;  // "messages": what its elements are, none a number

  // A field that we know and do not do: only the value that asks for nothing is taken.
  void neutral(bool is_neutral, std::string_view neutral_values) const;

  [[noreturn]] void refuse(std::string_view expected) const;  // "`name` must be <expected>, not <value>."

 private:
  std::string_view name_;
  JsonValue& value_;
};

template <typename Request>
struct Field {
  std::string_view name;
  void (*read)(FieldValue value, Request& request);
  bool reads_null = false;
};

[[noreturn]] void refuse_unknown(std::string_view name, std::span<const std::string_view> known);

JsonValue::Object& as_object(JsonValue& body);  // refuses a body that is none

template <typename Request>
void read_form(JsonValue::Object& members, std::span<const Field<Request>> form, Request& request) {
  for (JsonMember& member : members) {
    const Field<Request>* found = nullptr;
    for (const Field<Request>& field : form) {
      if (field.name == member.key) found = &field;
    }
    if (!found) {
      std::vector<std::string_view> known;
      for (const Field<Request>& field : form) known.push_back(field.name);
      refuse_unknown(member.key, known);
    }
  }
  for (JsonMember& member : members) {
    for (const Field<Request>& field : form) {
      if (field.name != member.key || (member.value.is_null() && !field.reads_null)) continue;
      field.read(FieldValue(field.name, member.value), request);
    }
  }
}

// Used with an array as the table.
template <typename Request, std::size_t count>
void read_form(JsonValue& body, const Field<Request> (&form)[count], Request& request) {
  read_form<Request>(as_object(body), std::span<const Field<Request>>(form), request);
}

}  // namespace rotulus::coordinator::http
