#include "benchmarks/disk_limits.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include "benchmarks/roofline.h"

namespace rotulus::benchmarks {
namespace {

constexpr std::size_t kDirectAlignment = 4096;
constexpr std::size_t kWriteBytes = 1u << 20;

std::size_t align(std::size_t bytes) {
  return (bytes + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment;
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<std::byte, Free>;
Buffer make_buffer(std::size_t bytes) {
  return Buffer(static_cast<std::byte*>(std::aligned_alloc(kDirectAlignment, bytes)));
}

void expect(bool is_done, const std::filesystem::path& path) {
  if (!is_done) throw std::system_error(errno, std::generic_category(), path.string());
}

}  // namespace

RawFile::RawFile(const std::filesystem::path& directory, std::size_t record_bytes, std::size_t records)
    : path_(directory / "raw"), record_bytes_(align(record_bytes)), records_(records) {
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
  expect(file_ >= 0, path_);
}

RawFile::~RawFile() {
  ::close(file_);
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

double RawFile::write() {
  const Buffer buffer = make_buffer(kWriteBytes);
  std::mt19937_64 random(1);
  const std::span words(reinterpret_cast<std::uint64_t*>(buffer.get()), kWriteBytes / 8);
  std::generate(words.begin(), words.end(), std::ref(random));  // a disk must not find it easy
  expect(::ftruncate(file_, 0) == 0, path_);
  const std::size_t bytes = record_bytes_ * records_;
  const double begin = wall_seconds();
  for (std::size_t at = 0; at < bytes; at += kWriteBytes) {
    const std::size_t count = std::min(kWriteBytes, bytes - at);
    expect(::pwrite(file_, buffer.get(), count, static_cast<off_t>(at)) == static_cast<ssize_t>(count), path_);
  }
  expect(::fdatasync(file_) == 0, path_);
  return wall_seconds() - begin;
}

double RawFile::read(std::size_t depth) {
  std::vector<std::size_t> order(records_);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(2));
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> has_failed = false;
  const auto take_turns = [&] {
    const Buffer buffer = make_buffer(record_bytes_);
    for (std::size_t i = next++; i < records_; i = next++) {
      const auto at = static_cast<off_t>(order[i] * record_bytes_);
      if (::pread(file_, buffer.get(), record_bytes_, at) != static_cast<ssize_t>(record_bytes_)) has_failed = true;
    }
  };
  const double begin = wall_seconds();
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < depth; ++i) threads.emplace_back(take_turns);
  take_turns();
  for (std::thread& thread : threads) thread.join();
  const double seconds = wall_seconds() - begin;
  expect(!has_failed, path_);
  return seconds;
}

}  // namespace rotulus::benchmarks
