// Serves the fakes on a free port of loopback until its input ends; prints the port. For clients that are not ours.
#include <cstdio>

#include "tests/coordinator/http/served.h"

int main() {
  rotulus::coordinator::fakes::Served served;
  std::printf("%u\n", static_cast<unsigned>(served.port()));
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}
