#include "client/api/json_answer.h"

#include <boost/json.hpp>

#include "protocol/error.h"

namespace rotulus::client {

namespace json = boost::json;

json::object parse_object(std::string_view text) {
  boost::system::error_code failure;
  json::value value = json::parse({text.data(), text.size()}, failure);
  if (failure || !value.is_object())
    throw protocol::Error(
        protocol::ErrorCode::unavailable,
        fmt::format("the server's answer is no JSON object: {}; is --url right?", text.substr(0, 80)));
  return std::move(value.as_object());
}

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : std::string();
}

std::int64_t number_of(const json::object& object, std::string_view name, std::int64_t otherwise) {
  const json::value* value = object.if_contains(name);
  if (!value || !value->is_number()) return otherwise;
  return value->is_double() ? static_cast<std::int64_t>(value->as_double()) : value->to_number<std::int64_t>();
}

json::object object_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_object() ? value->as_object() : json::object();
}

}  // namespace rotulus::client
