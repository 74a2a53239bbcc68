// Server-sent events, taken apart as they arrive.
//
//   id: 17                      one field a line; CR, LF and CRLF all end one
//   data: {"object": …}         several data lines of one event are joined by LF
//                               an empty line ends the event; a line that begins with ':' is a comment
//
// Source: WHATWG HTML, "Server-sent events". Threads: one at a time. Errors: Error{payload_too_large} for an event
// over protocol::kMaxJsonBodyBytes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace rotulus::client {

struct ServerEvent {
  std::string name;  // "" where the stream gives none
  std::string id;    // of this event or the last before it that gave one
  std::string data;
};

class EventStreamParser final {
 public:
  explicit EventStreamParser(std::function<void(const ServerEvent&)> on_event) : on_event_(std::move(on_event)) {}

  // Any cut of the stream gives the same events.
  void feed(std::string_view bytes);

 private:
  void take_line();
  void take_field(std::string_view name, std::string_view value);

  std::function<void(const ServerEvent&)> on_event_;
  ServerEvent event_;
  bool has_data_ = false;
  std::string line_;
  bool after_carriage_return_ = false;  // a LF now belongs to it
};

}  // namespace rotulus::client
