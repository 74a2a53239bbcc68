// What the disk itself gives, without a store: the limits of rotulus-bench-store.
#pragma once

#include <cstddef>
#include <filesystem>

namespace rotulus::benchmarks {

// A file of random bytes, read and written past the page cache (O_DIRECT). Gone with the object.
class RawFile final {
 public:
  RawFile(const std::filesystem::path& directory, std::size_t record_bytes, std::size_t records);
  ~RawFile();
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;

  // Writes all of it anew, in order, in pieces of 1 MiB, and syncs it. Seconds.
  double write();
  // Reads every record once in an order of its own, `depth` threads at a time. Seconds.
  double read(std::size_t depth);

 private:
  const std::filesystem::path path_;
  const std::size_t record_bytes_;  // up to the next multiple of what O_DIRECT asks for
  const std::size_t records_;
  int file_ = -1;
};

}  // namespace rotulus::benchmarks
