#include "coordinator/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "protocol/error.h"

namespace rotulus::coordinator {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

LogLevel parse_level(std::string_view text) {
  if (text == "debug") return LogLevel::debug;
  if (text == "info") return LogLevel::info;
  if (text == "warn") return LogLevel::warn;
  if (text == "error") return LogLevel::error;
  throw protocol::Error(protocol::ErrorCode::invalid_argument,
                        fmt::format("log level '{}': use debug, info, warn or error", text), "log-level");
}

// One line stays one line, whatever a field holds.
void append_value(std::string& line, std::string_view value) {
  const bool is_plain = !value.empty() && value.find_first_of(" \"\\=\n\r\t") == std::string_view::npos;
  if (is_plain) {
    line += value;
    return;
  }
  line += '"';
  for (const char character : value) {
    if (character == '"' || character == '\\') line += '\\';
    line += static_cast<unsigned char>(character) < 0x20 ? ' ' : character;
  }
  line += '"';
}

class StandardErrorLog final : public Log {
 public:
  explicit StandardErrorLog(LogLevel lowest)
      : logger_("rotulus-coordinator", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    logger_.set_level(to_spdlog(lowest));
    logger_.set_pattern("%Y-%m-%dT%H:%M:%S.%e %l coordinator %v");
    logger_.flush_on(spdlog::level::debug);
  }

  void write(LogLevel level, std::string_view event, LogFields fields) override {
    if (!logger_.should_log(to_spdlog(level))) return;
    std::string line(event);
    for (const LogField& field : fields) {
      line += ' ';
      line += field.name;
      line += '=';
      append_value(line, field.value);
    }
    logger_.log(to_spdlog(level), spdlog::string_view_t(line));
  }

 private:
  spdlog::logger logger_;
};

}  // namespace

std::unique_ptr<Log> make_standard_error_log(std::string_view lowest_level) {
  return std::make_unique<StandardErrorLog>(parse_level(lowest_level));
}

}  // namespace rotulus::coordinator
