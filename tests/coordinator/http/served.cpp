#include "tests/coordinator/http/served.h"

#include <unistd.h>

#include <atomic>

namespace rotulus::coordinator::fakes {

Served::Served(HttpConfig config) {
  static std::atomic<int> count = 0;
  spool = std::filesystem::temp_directory_path() / fmt::format("rotulus-http-test-{}-{}", getpid(), count++);
  std::filesystem::create_directories(spool);
  config.port = 0;
  config.spool_directory = spool;
  config.version = "0.0-test";
  server = std::make_unique<HttpServer>(loop_, file_pool_, std::move(config), contexts, queries, cluster, metrics);
  server->start();
  port_ = server->port();
  thread_ = std::thread([this] { loop_.run(); });
}

Served::~Served() {
  on_loop([this] { server->stop(); });
  eventually([this] { return server->active_requests() == 0; });
  on_loop([this] { server.reset(); });
  work_.reset();
  loop_.stop();
  thread_.join();
  file_pool_.join();
  std::filesystem::remove_all(spool);
}

bool Served::eventually(std::function<bool()> condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < end) {
    if (on_loop(condition)) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace rotulus::coordinator::fakes
