// Small files that must survive a crash.
//
// Errors: Error{storage_full} or {unavailable}, naming the file.
#pragma once

#include <filesystem>
#include <string_view>

namespace rotulus::memory_store {

// A crash leaves the old content or the new. Synced when it returns.
void replace_file(const std::filesystem::path& path, std::string_view content);
void sync_file(const std::filesystem::path& path);
// Makes names that were made, moved or removed in it durable.
void sync_directory(const std::filesystem::path& directory);

}  // namespace rotulus::memory_store
