#include "worker/volume_paths.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace rotulus::worker {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& store) {
  return store / "volumes";
}

std::vector<std::filesystem::path> list_volumes(const std::filesystem::path& store) {
  std::vector<std::filesystem::path> paths;
  std::filesystem::create_directories(folder_of(store));
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(store))) {
    if (entry.is_directory()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// One more than the highest number in use, so that a name is not given twice.
std::uint32_t next_number(const std::vector<std::filesystem::path>& paths) {
  std::uint32_t next = 0;
  for (const auto& path : paths) {
    const std::string name = path.filename().string();
    std::uint32_t number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    next = std::max(next, number + 1);
  }
  return next;
}

}  // namespace

std::vector<std::filesystem::path> deal_volumes(const std::filesystem::path& store, std::uint32_t local_rank,
                                                std::uint32_t local_size, const std::function<void()>& barrier) {
  const std::vector<std::filesystem::path> all = list_volumes(store);
  barrier();
  std::vector<std::filesystem::path> own;
  for (std::size_t i = local_rank; i < all.size(); i += local_size) own.push_back(all[i]);
  if (own.empty()) {
    const auto with_volumes = static_cast<std::uint32_t>(std::min<std::size_t>(all.size(), local_size));
    own.push_back(folder_of(store) / fmt::format("{:04}", next_number(all) + local_rank - with_volumes));
  }
  return own;
}

std::filesystem::path spare_volume(const std::filesystem::path& store, std::uint32_t local_rank) {
  // Ranks look at different times: the rank's number keeps two of them apart.
  return folder_of(store) / fmt::format("{:04}-{}", next_number(list_volumes(store)), local_rank);
}

}  // namespace rotulus::worker
