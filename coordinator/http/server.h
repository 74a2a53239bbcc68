// START HERE. The HTTP face of the coordinator: OpenAI's API, contexts, and what operators ask.
//
// Every connection is one coroutine on the event loop; only documents on their way to the disk touch `file_pool`. A
// request is read, judged and answered by the handler its route names (router.h); what goes wrong is one OpenAI error
// object under the right status. Nothing a client sends ends the process or holds a connection for ever.
//
// Threads: construct, call and destroy on the event loop's thread. Lifetime: everything passed in outlives the server
// and its requests: after stop(), run the loop until active_requests() is 0 before any of it goes (or end the process).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/cluster.h"
#include "coordinator/contexts.h"
#include "coordinator/metrics.h"
#include "coordinator/queries.h"

namespace boost::asio {
class io_context;
class thread_pool;
}  // namespace boost::asio

namespace rotulus::coordinator {

struct HttpConfig {
  std::string host = "127.0.0.1";     // an address or a name; bound to loopback, Host and Origin are checked
  std::uint16_t port = 8080;          // 0: any free one, see port()
  std::vector<std::string> api_keys;  // empty: no key is asked for
  std::filesystem::path spool_directory;
  std::string version;

  std::chrono::milliseconds header_timeout{10'000};       // from the first byte of a request to the end of its header
  std::chrono::milliseconds idle_timeout{75'000};         // between requests of one connection
  std::chrono::milliseconds body_timeout{30'000};         // without any byte of a body
  std::chrono::milliseconds write_timeout{30'000};        // for one piece of an answer
  std::chrono::milliseconds linger_timeout{30'000};       // reading what a refused client still sends
  std::chrono::milliseconds keep_alive_interval{15'000};  // comments in a silent event stream
  std::chrono::milliseconds progress_interval{2'000};     // a context's event stream repeats its view this often
};

class HttpServer final {
 public:
  HttpServer(boost::asio::io_context& loop, boost::asio::thread_pool& file_pool, HttpConfig config, Contexts& contexts,
             Queries& queries, Cluster& cluster, Metrics& metrics);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Binds and listens. Throws Error{invalid_argument} naming the address when it cannot, and when a non-loopback
  // address is asked for without a key.
  void start();
  std::uint16_t port() const;

  // Readiness answers 503 and new work is refused with Retry-After; what runs, runs on; liveness stays 200.
  void begin_drain();
  std::size_t active_requests() const;  // being answered now, event streams included
  void stop();                          // closes every connection

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // shared with the connections' coroutines
};

}  // namespace rotulus::coordinator
