// How a benchmark program reports: a list of named figures, measured on demand, one JSON line each, as scripts/bench.sh
// describes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace rotulus::benchmarks {

struct Measured {
  double value = 0;
  std::optional<double> limit;  // in the unit of the value
  std::optional<double> share;  // of the limit measured beside each repetition; not simply value / limit
  std::optional<double> peer;
  std::optional<double> ratio;  // to the peer, likewise
};

struct Figure {
  std::string name;
  std::string unit;
  std::function<Measured()> measure;
};

// What one repetition is compared with: `limit` gives the machine's rate, in the unit of the figure.
struct Repetition {
  std::function<double()> limit;
  std::function<double()> clock;  // seconds
  double amount = 0;              // what `work` does
  std::function<void()> work;
  std::function<void()> peer;  // may be empty
};

// Repeats the work between two readings of the limit, the peer's work after it. Medians, in units of 1e9.
Measured measure(const Repetition& repetition);

// The body of main(): parses [NAME…] [--list] [--peer PATH] and prints. Returns the exit code.
int report(int argc, char** argv, const std::vector<Figure>& figures);

}  // namespace rotulus::benchmarks
