// How results and remarks reach the user. Results go to standard output or to --output; remarks to standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rotulus::client {

// "812 B", "1.4 MiB"
std::string describe_bytes(std::uint64_t bytes);
// "4 s", "12 min", "3 h", "2 d": the largest unit that fits
std::string describe_age(std::chrono::seconds age);
// "6,012"
std::string describe_count(std::uint64_t count);
// Columns as wide as their longest cell; the first row is the heading.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

// Where results go. Throws Error{unavailable} where the file cannot be written.
class ResultFile final {
 public:
  explicit ResultFile(const std::string& path);  // "": standard output
  void write(std::string_view text);             // at once, so that an answer is seen as it streams

 private:
  std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> owned_;
  std::FILE* file_;
};

// Progress of one piece of work: a bar that is drawn again and again on a terminal, a line every 5 s elsewhere.
class ProgressDisplay final {
 public:
  enum class Style { none, lines, bar };
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  using Writer = std::function<void(std::string_view)>;
  ProgressDisplay(Style style, Writer write, Clock now);

  struct State {
    std::string what;  // "tokenizing", "computing"
    std::uint64_t processed = 0;
    std::uint64_t total = 0;   // 0: not known yet
    std::int64_t eta_ms = -1;  // -1: not known
    bool operator==(const State&) const = default;
  };
  void show(const State& state);
  void finish();  // leaves the bar's last state on a line of its own

 private:
  Style style_;
  Writer write_;
  Clock now_;
  std::chrono::steady_clock::time_point last_line_;
  bool has_shown_ = false;
  std::size_t bar_width_ = 0;
};

// A display on standard error that fits it.
ProgressDisplay make_progress_display(bool is_quiet);

}  // namespace rotulus::client
