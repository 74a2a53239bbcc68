#include "kernels/check.h"

#include <cstdio>
#include <cstdlib>

namespace rotulus::kernels {

void check_failed(const char* condition, const char* file, int line, const char* names, const std::string& values) {
  std::fprintf(stderr, "%s:%d: check failed: %s  (%s = %s)\n", file, line, condition, names, values.c_str());
  std::abort();
}

}  // namespace rotulus::kernels
