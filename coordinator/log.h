// Events for the operator: a name and fields, never prose in a loop, never the text of a document or a prompt.
//
//   info: state changes.   warn: something degraded, and what we did about it.   error: someone must act.
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

namespace rotulus::coordinator {

enum class LogLevel { debug, info, warn, error };

struct LogField {
  template <typename Value>
  LogField(std::string_view field_name, const Value& field_value)
      : name(field_name), value(fmt::format("{}", field_value)) {}
  std::string_view name;
  std::string value;
};
using LogFields = std::initializer_list<LogField>;

// Passed in, so that a test can read it. Threads: write() may be called by any.
class Log {
 public:
  virtual ~Log() = default;
  virtual void write(LogLevel level, std::string_view event, LogFields fields) = 0;

  void debug(std::string_view event, LogFields fields = {}) { write(LogLevel::debug, event, fields); }
  void info(std::string_view event, LogFields fields = {}) { write(LogLevel::info, event, fields); }
  void warn(std::string_view event, LogFields fields = {}) { write(LogLevel::warn, event, fields); }
  void error(std::string_view event, LogFields fields = {}) { write(LogLevel::error, event, fields); }
};

// One line an event on standard error: time, level, event, field=value …
// Throws Error{invalid_argument} for a level that is not debug, info, warn or error.
std::unique_ptr<Log> make_standard_error_log(std::string_view lowest_level);

}  // namespace rotulus::coordinator
