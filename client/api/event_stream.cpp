#include "client/api/event_stream.h"

#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::client {

void EventStreamParser::feed(std::string_view bytes) {
  for (char byte : bytes) {
    if (byte == '\n' && after_carriage_return_) {
      after_carriage_return_ = false;
      continue;
    }
    after_carriage_return_ = byte == '\r';
    if (byte == '\r' || byte == '\n') {
      take_line();
      continue;
    }
    line_.push_back(byte);
    if (line_.size() + event_.data.size() > protocol::kMaxJsonBodyBytes)
      throw protocol::Error(protocol::ErrorCode::payload_too_large,
                            fmt::format("an event of the server is over {} bytes", protocol::kMaxJsonBodyBytes));
  }
}

void EventStreamParser::take_line() {
  std::string line = std::exchange(line_, {});
  if (line.empty()) {
    if (has_data_) on_event_(event_);
    event_.name.clear();
    event_.data.clear();
    has_data_ = false;
    return;
  }
  std::string_view field = line;
  auto colon = field.find(':');
  if (colon == 0) return;
  if (colon == std::string_view::npos) return take_field(field, {});
  std::string_view value = field.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  take_field(field.substr(0, colon), value);
}

void EventStreamParser::take_field(std::string_view name, std::string_view value) {
  if (name == "event") event_.name = value;
  if (name == "id") event_.id = value;
  if (name != "data") return;
  if (has_data_) event_.data.push_back('\n');
  event_.data.append(value);
  has_data_ = true;
}

}  // namespace rotulus::client
