#include "client/output.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "protocol/error.h"

namespace rotulus::client {
namespace {

constexpr std::chrono::seconds kLineInterval{5};
constexpr std::size_t kBarCells = 24;

std::string describe_state(const ProgressDisplay::State& state) {
  std::string text = state.what;
  if (state.total == 0) return text;
  text += fmt::format("  {:3} %  {} of {} tokens", 100 * state.processed / state.total, describe_count(state.processed),
                      describe_count(state.total));
  if (state.eta_ms >= 0)
    text += fmt::format("  {} left", describe_age(std::chrono::seconds((state.eta_ms + 999) / 1000)));
  return text;
}

std::string draw_bar(const ProgressDisplay::State& state) {
  std::size_t full = state.total ? std::min<std::size_t>(kBarCells, kBarCells * state.processed / state.total) : 0;
  return "[" + std::string(full, '#') + std::string(kBarCells - full, '.') + "] ";
}

}  // namespace

std::string describe_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> units{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < units.size(); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string describe_age(std::chrono::seconds age) {
  auto seconds = std::max<std::int64_t>(0, age.count());
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 2 * 3600) return fmt::format("{} min", seconds / 60);
  if (seconds < 2 * 86400) return fmt::format("{} h", seconds / 3600);
  return fmt::format("{} d", seconds / 86400);
}

std::string describe_count(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t left = digits.size(); left > 3; left -= 3) digits.insert(left - 3, ",");
  return digits;
}

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t column = 0; column < row.size(); ++column)
      widths[column] = std::max(widths[column], row[column].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column)
      line += fmt::format("{:<{}}  ", row[column], widths[column]);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

ResultFile::ResultFile(const std::string& path)
    : path_(path.empty() ? "standard output" : path),
      owned_(path.empty() ? nullptr : std::fopen(path.c_str(), "we"), &std::fclose),
      file_(path.empty() ? stdout : owned_.get()) {
  if (!file_)
    throw protocol::Error(protocol::ErrorCode::unavailable,
                          fmt::format("cannot write {}: {}", path_, std::strerror(errno)), "output");
}

void ResultFile::write(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size() || std::fflush(file_) != 0)
    throw protocol::Error(protocol::ErrorCode::unavailable,
                          fmt::format("cannot write {}: {}", path_, std::strerror(errno)), "output");
}

ProgressDisplay::ProgressDisplay(Style style, Writer write, Clock now)
    : style_(style), write_(std::move(write)), now_(std::move(now)) {}

void ProgressDisplay::show(const State& state) {
  if (style_ == Style::bar) {
    std::string line = draw_bar(state) + describe_state(state);
    std::size_t width = line.size();
    if (width < bar_width_) line.append(bar_width_ - width, ' ');
    bar_width_ = width;
    write_("\r" + line);
    has_shown_ = true;
  } else if (style_ == Style::lines && (!has_shown_ || now_() - last_line_ >= kLineInterval)) {
    write_(describe_state(state) + "\n");
    last_line_ = now_();
    has_shown_ = true;
  }
}

void ProgressDisplay::finish() {
  if (style_ == Style::bar && has_shown_) write_("\n");
  has_shown_ = false;
}

ProgressDisplay make_progress_display(bool is_quiet) {
  auto style = is_quiet                  ? ProgressDisplay::Style::none
               : ::isatty(STDERR_FILENO) ? ProgressDisplay::Style::bar
                                         : ProgressDisplay::Style::lines;
  return {style,
          [](std::string_view text) {
            std::fwrite(text.data(), 1, text.size(), stderr);
            std::fflush(stderr);
          },
          [] { return std::chrono::steady_clock::now(); }};
}

}  // namespace rotulus::client
