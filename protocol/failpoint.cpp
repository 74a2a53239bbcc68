#include "protocol/failpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "protocol/error.h"

namespace rotulus::protocol {
namespace {

struct Failpoint {
  std::string name;
  std::string action;
  int passage = 1;
  std::atomic<int> passed = 0;
};

std::vector<std::unique_ptr<Failpoint>> read_environment() {
  std::vector<std::unique_ptr<Failpoint>> points;
  const char* text = std::getenv("ROTULUS_FAILPOINTS");
  std::string_view rest = text ? text : "";
  while (!rest.empty()) {
    std::string_view item = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos) continue;
    auto point = std::make_unique<Failpoint>();
    point->name = item.substr(0, equals);
    std::string_view action = item.substr(equals + 1);
    const std::size_t at = action.find('@');
    if (at != std::string_view::npos) {
      std::from_chars(action.data() + at + 1, action.data() + action.size(), point->passage);
      action = action.substr(0, at);
    }
    point->action = action;
    points.push_back(std::move(point));
  }
  return points;
}

// False where a process before this one has fired it.
bool is_first(std::string_view name) {
  const char* folder = std::getenv("ROTULUS_FAILPOINT_MARKS");
  if (folder == nullptr) return true;
  const std::string path = fmt::format("{}/{}", folder, name);
  const int file = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0) return false;
  ::close(file);
  return true;
}

}  // namespace

void failpoint(std::string_view name) {
  static const std::vector<std::unique_ptr<Failpoint>> points = read_environment();
  for (const auto& point : points) {
    if (point->name != name || ++point->passed != point->passage || !is_first(name)) continue;
    if (point->action == "kill") ::kill(::getpid(), SIGKILL);
    if (point->action == "sleep") ::sleep(1);
    if (point->action == "error") throw Error(ErrorCode::internal, fmt::format("failpoint {} was asked to fail", name));
  }
}

}  // namespace rotulus::protocol
