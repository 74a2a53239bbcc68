// Which volumes of a host's store folder each of its ranks opens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

namespace rotulus::worker {

// The volumes under <store>/volumes dealt to `local_rank` of `local_size` ranks on this host, in order of name; a rank
// that gets none is given the path of a new one. All ranks of the host list the folder before `barrier` and return
// after it, so that none sees what another makes.
std::vector<std::filesystem::path> deal_volumes(const std::filesystem::path& store, std::uint32_t local_rank,
                                                std::uint32_t local_size, const std::function<void()>& barrier);

// The path of one more new volume for a rank none of whose volumes could be opened.
std::filesystem::path spare_volume(const std::filesystem::path& store, std::uint32_t local_rank);

}  // namespace rotulus::worker
