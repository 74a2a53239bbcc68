// The HTTP face over fakes, on a thread of its own and a real socket.
#pragma once

#include <filesystem>
#include <future>
#include <thread>

#include "coordinator/http/server.h"
#include "tests/coordinator/http/fakes.h"
#include "tests/coordinator/http/http_client.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

namespace rotulus::coordinator::fakes {

class Served final {
 public:
  explicit Served(HttpConfig config = {});
  ~Served();

  std::uint16_t port() const { return port_; }
  Answer ask(std::string_view method, std::string_view target, std::string_view body = "",
             std::string_view headers = "Content-Type: application/json\r\n") const {
    return fakes::ask(port_, method, target, body, headers);
  }

  // Runs `work` on the event loop, where the fakes live, and returns what it returns.
  template <typename Work>
  auto on_loop(Work work) {
    std::packaged_task<decltype(work())()> task(std::move(work));
    auto result = task.get_future();
    boost::asio::post(loop_, [&task] { task(); });
    return result.get();
  }

  // Waits until `condition` holds on the loop; false after ten seconds.
  bool eventually(std::function<bool()> condition);

  std::filesystem::path spool;
  FakeContexts contexts;
  FakeCluster cluster;

 private:
  boost::asio::io_context loop_;

 public:
  FakeQueries queries{loop_, contexts};
  Metrics metrics;
  std::unique_ptr<HttpServer> server;

 private:
  boost::asio::thread_pool file_pool_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{loop_.get_executor()};
  std::uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace rotulus::coordinator::fakes
