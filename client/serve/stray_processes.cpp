#include "client/serve/stray_processes.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace rotulus::client {
namespace {

// The parent of a process, from /proc/PID/stat: "PID (name) state PPID …"; the name may hold anything. 0: unknown.
pid_t parent_of(const std::filesystem::path& process) {
  std::ifstream file(process / "stat");
  std::string text;
  std::getline(file, text, '\0');
  auto name_end = text.rfind(')');
  if (name_end == std::string::npos || name_end + 4 >= text.size()) return 0;
  pid_t parent = 0;
  std::from_chars(text.data() + name_end + 4, text.data() + text.size(), parent);
  return parent;
}

std::vector<pid_t> children_except(const std::vector<pid_t>& kept) {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::string name = entry.path().filename();
    pid_t pid = 0;
    auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (failure != std::errc() || *end != '\0' || parent_of(entry.path()) != ::getpid()) continue;
    if (std::find(kept.begin(), kept.end(), pid) == kept.end()) children.push_back(pid);
  }
  return children;
}

}  // namespace

bool kill_children_except(const std::vector<pid_t>& kept, std::chrono::milliseconds deadline) {
  auto end = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    std::vector<pid_t> children = children_except(kept);
    if (children.empty()) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
    for (pid_t child : children) {
      ::kill(child, SIGKILL);
      int status = 0;
      ::waitpid(child, &status, WNOHANG);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace rotulus::client
