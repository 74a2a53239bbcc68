// KERNELS_CHECK(condition, operands...): a broken contract is a bug; it prints the operands and aborts.
//
// Private to kernels, because kernels include nothing of ours. Operands are arithmetic. Not for the ISA rows: whatever
// they inline could be emitted as a weak symbol of their instruction set.
#pragma once

#include <string>

namespace rotulus::kernels {

[[noreturn]] void check_failed(const char* condition, const char* file, int line, const char* names,
                               const std::string& values);

template <typename... Operands>
std::string check_operands(const Operands&... operands) {
  std::string text;
  ((text += (text.empty() ? "" : ", ") + std::to_string(operands)), ...);
  return text;
}

}  // namespace rotulus::kernels

#define KERNELS_CHECK(condition, ...)                                                    \
  do {                                                                                   \
    if (!(condition)) [[unlikely]]                                                       \
      ::rotulus::kernels::check_failed(#condition, __FILE__, __LINE__, #__VA_ARGS__,     \
                                       ::rotulus::kernels::check_operands(__VA_ARGS__)); \
  } while (false)
