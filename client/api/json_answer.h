// Reading the server's JSON. A field that is absent, null or of another type reads as empty: answers of other versions
// are read as far as they go.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace rotulus::client {

// Throws Error{unavailable} where the text is no JSON object.
boost::json::object parse_object(std::string_view text);

std::string text_of(const boost::json::object& object, std::string_view name);
std::int64_t number_of(const boost::json::object& object, std::string_view name, std::int64_t otherwise = 0);
boost::json::object object_of(const boost::json::object& object, std::string_view name);

}  // namespace rotulus::client
