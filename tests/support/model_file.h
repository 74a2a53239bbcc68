// The model that tests read: env ROTULUS_MODEL, or the first models/*.gguf by name.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <vector>

namespace rotulus::testing {

inline std::filesystem::path model_file() {
  if (const char* path = std::getenv("ROTULUS_MODEL"); path != nullptr && *path != '\0') return path;
  const auto folder = std::filesystem::path(ROTULUS_SOURCE_DIR) / "models";
  std::vector<std::filesystem::path> found;
  if (std::filesystem::is_directory(folder)) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ".gguf") found.push_back(entry.path());
    }
  }
  if (found.empty()) {
    throw std::runtime_error("no model in " + folder.string() +
                             ": run scripts/setup.sh, or set ROTULUS_MODEL to a GGUF file");
  }
  return *std::min_element(found.begin(), found.end());
}

}  // namespace rotulus::testing
