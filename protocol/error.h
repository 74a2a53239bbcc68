// The one exception type of the project, and CHECK.
//
// An expected outcome is in the return type. A failure of the world (a bad file, a full disk, a lost peer, bad input)
// is thrown as protocol::Error where it enters, and caught at three doors only: HTTP handler, frame dispatcher,
// scheduler step. A bug is a CHECK: it prints its operands and aborts.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace rotulus::protocol {

// Travels on the wire and in the catalogue: append only, never renumber.
enum class ErrorCode : std::uint16_t {
  internal = 0,
  invalid_argument = 1,  // the caller's input is wrong; `param` names the field
  not_found = 2,
  conflict = 3,                 // exists, but cannot be used as asked (another model, KV format …)
  context_length_exceeded = 4,  // longer than the model's window
  unsupported = 5,              // understood and refused by name
  malformed_file = 6,
  storage_corrupt = 7,  // a checksum, an identity or a manifest does not hold
  storage_full = 8,
  out_of_memory = 9,
  unavailable = 10,  // try again later: no worker group, a volume is absent
  deadline_exceeded = 11,
  cancelled = 12,
  transport_lost = 13,  // a peer of the data plane is gone; ends the worker group
  unauthorized = 14,
  stale_epoch = 15,
  payload_too_large = 16,
};

std::string_view to_string(ErrorCode code);

// `message` says what was tried, on what, and what to do. `param` is the request field at fault, or empty.
class Error final : public std::exception {
 public:
  Error(ErrorCode code, std::string message, std::string param = {})
      : code_(code), message_(std::move(message)), param_(std::move(param)) {}

  ErrorCode code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& param() const noexcept { return param_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
  std::string param_;
};

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& operands);

template <typename... Values>
std::string describe_operands(const Values&... values) {
  std::string text;
  ((text += fmt::format(" [{}]", values)), ...);
  return text;
}

}  // namespace rotulus::protocol

// CHECK(range.begin <= range.end, range.begin, range.end): aborts with the condition and its operands when it is false.
#define CHECK(condition, ...)                                                                 \
  do {                                                                                        \
    if (!(condition)) [[unlikely]]                                                            \
      ::rotulus::protocol::check_failed(__FILE__, __LINE__, #condition,                       \
                                        ::rotulus::protocol::describe_operands(__VA_ARGS__)); \
  } while (false)
