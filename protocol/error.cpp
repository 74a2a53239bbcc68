#include "protocol/error.h"

#include <cstdio>
#include <cstdlib>

namespace rotulus::protocol {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::internal:
      return "internal";
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::conflict:
      return "conflict";
    case ErrorCode::context_length_exceeded:
      return "context_length_exceeded";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::malformed_file:
      return "malformed_file";
    case ErrorCode::storage_corrupt:
      return "storage_corrupt";
    case ErrorCode::storage_full:
      return "storage_full";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::deadline_exceeded:
      return "deadline_exceeded";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::transport_lost:
      return "transport_lost";
    case ErrorCode::unauthorized:
      return "unauthorized";
    case ErrorCode::stale_epoch:
      return "stale_epoch";
    case ErrorCode::payload_too_large:
      return "payload_too_large";
  }
  return "unknown";
}

void check_failed(const char* file, int line, const char* condition, const std::string& operands) {
  std::fprintf(stderr, "CHECK failed at %s:%d: %s%s\n", file, line, condition, operands.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace rotulus::protocol
