// rotulus-coordinator: reads its options, builds everything in order, runs the loop, drains on SIGTERM.

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "coordinator/cluster_service.h"
#include "coordinator/context_service.h"
#include "coordinator/http/server.h"
#include "coordinator/query_service.h"

namespace rotulus::coordinator {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr const char* kVersion = ROTULUS_VERSION;
constexpr std::size_t kFileThreads = 2;
constexpr auto kAnswersDeadline = std::chrono::seconds(30);
constexpr auto kWorkersDeadline = std::chrono::seconds(5);
constexpr auto kConnectionsDeadline = std::chrono::seconds(2);

struct Options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;
  std::string port_file;
  std::string control_host = "127.0.0.1";
  std::uint16_t control_port = 7400;
  std::string control_port_file;
  std::string store;
  std::string secret_file;
  std::vector<std::string> api_keys;
  std::string api_key_file;
  std::string alias;
  std::string log_level = "info";
  bool rebuild_catalogue = false;
  bool die_with_parent = false;
};

void add_options(CLI::App& app, Options& options) {
  const auto env = [](CLI::Option* option, const char* name) { option->envname(name); };
  env(app.add_option("--host", options.host, "address of the HTTP API")->capture_default_str(), "ROTULUS_HOST");
  env(app.add_option("--port", options.port, "its port; 0: any")->capture_default_str(), "ROTULUS_PORT");
  env(app.add_option("--port-file", options.port_file, "write the HTTP port to this file"), "ROTULUS_PORT_FILE");
  env(app.add_option("--control-host", options.control_host, "address on which workers connect")->capture_default_str(),
      "ROTULUS_CONTROL_HOST");
  env(app.add_option("--control-port", options.control_port, "its port; 0: any")->capture_default_str(),
      "ROTULUS_CONTROL_PORT");
  env(app.add_option("--control-port-file", options.control_port_file, "write the control port to this file"),
      "ROTULUS_CONTROL_PORT_FILE");
  env(app.add_option("--store", options.store, "directory of the catalogue and of documents on their way in")
          ->required(),
      "ROTULUS_STORE");
  env(app.add_option("--secret-file", options.secret_file, "file with the secret that workers must know"),
      "ROTULUS_SECRET_FILE");
  env(app.add_option("--api-key", options.api_keys, "key that clients must send; several, separated by commas")
          ->delimiter(','),
      "ROTULUS_API_KEY");
  env(app.add_option("--api-key-file", options.api_key_file, "file with one key a line; # begins a comment"),
      "ROTULUS_API_KEY_FILE");
  env(app.add_option("-a,--alias", options.alias, "name of the model in the API (default: the file's)"),
      "ROTULUS_ALIAS");
  env(app.add_option("--log-level", options.log_level, "debug, info, warn or error")->capture_default_str(),
      "ROTULUS_LOG_LEVEL");
  env(app.add_flag("--rebuild-catalogue", options.rebuild_catalogue,
                   "restore an empty or damaged catalogue from the volumes of the first worker group"),
      "ROTULUS_REBUILD_CATALOGUE");
  app.add_flag("--die-with-parent", options.die_with_parent, "end when the process that started this one ends");
}

std::vector<std::string> read_lines(const std::string& path, const char* option) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::invalid_argument, fmt::format("{} {}: cannot be read", option, path), option);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    line.erase(std::min(line.size(), line.find('#')));
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string::npos) continue;
    lines.push_back(line.substr(begin, line.find_last_not_of(" \t\r") - begin + 1));
  }
  if (lines.empty()) throw Error(ErrorCode::invalid_argument, fmt::format("{} {}: is empty", option, path), option);
  return lines;
}

std::string read_secret(const std::string& path) {
  if (path.empty()) return {};
  std::ifstream file(path, std::ios::binary);
  std::string secret((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  if (!file || secret.empty()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("--secret-file {}: cannot be read, or is empty", path),
                "--secret-file");
  }
  return secret;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

void check_exposure(const Options& options, const std::vector<std::string>& api_keys) {
  if (!is_loopback(options.host) && api_keys.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--host {} can be reached from other machines, and no API key is set: give --api-key or "
                            "--api-key-file (or ROTULUS_API_KEY), or bind to 127.0.0.1",
                            options.host),
                "--host");
  }
  if (!is_loopback(options.control_host) && options.secret_file.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--control-host {} can be reached from other machines, and workers need not prove who they "
                            "are: give --secret-file to the coordinator and to the workers, or bind to 127.0.0.1",
                            options.control_host),
                "--control-host");
  }
}

void die_with_parent() {
  const pid_t parent = ::getppid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::raise(SIGKILL);  // it was gone before we asked
}

// A reader never meets half a number.
void write_port_file(const std::string& path, std::uint16_t port) {
  if (path.empty()) return;
  const std::string part = path + ".part";
  std::ofstream(part) << port << '\n';
  std::filesystem::rename(part, path);
}

// Everything, in the order in which it depends on each other.
class Program {
 public:
  Program(const Options& options, std::vector<std::string> api_keys, const std::string& secret)
      : log_(make_standard_error_log(options.log_level)),
        catalogue_(Catalogue::open(std::filesystem::path(options.store) / "catalogue", *loop_, *log_,
                                   options.rebuild_catalogue)),
        membership_(*loop_, membership_config(options, secret), *catalogue_, metrics_, *log_),
        texts_(*loop_, membership_),
        contexts_(*loop_, {.spool_directory = spool(options)}, *catalogue_, membership_, texts_, metrics_, *log_),
        queries_(*loop_, {.spool_directory = spool(options)}, contexts_, membership_, texts_, metrics_, *log_),
        cluster_(membership_, texts_, *catalogue_, options.alias),
        http_(io_, files_,
              {.host = options.host,
               .port = options.port,
               .api_keys = std::move(api_keys),
               .spool_directory = spool(options),
               .version = kVersion},
              contexts_, queries_, cluster_, metrics_),
        signals_(io_, SIGTERM, SIGINT) {
    membership_.add_listener(texts_);
    membership_.add_listener(contexts_);
    membership_.add_listener(queries_);
    metrics_.set_source([this] { return snapshot(); });
  }

  int run(const Options& options) {
    membership_.start(io_, contexts_);
    http_.start();
    write_port_file(options.control_port_file, membership_.port());
    write_port_file(options.port_file, http_.port());
    log_->info("serving", {{"host", options.host}, {"port", http_.port()}, {"version", kVersion}});
    await_signal();
    while (!io_.stopped()) {
      try {
        io_.run();
      } catch (const Error& error) {
        log_->error("task_failed", {{"code", protocol::to_string(error.code())}, {"error", error.message()}});
      }
    }
    files_.join();
    return 0;
  }

 private:
  static std::filesystem::path spool(const Options& options) { return std::filesystem::path(options.store) / "spool"; }

  MembershipConfig membership_config(const Options& options, const std::string& secret) {
    MembershipConfig config{.host = options.control_host, .port = options.control_port, .secret = secret};
    config.must_rebuild = options.rebuild_catalogue && catalogue_->is_empty();
    if (options.rebuild_catalogue && !config.must_rebuild) {
      log_->warn("nothing_to_rebuild", {{"reason", "the catalogue opens and names contexts; it is used as it is"}});
    }
    return config;
  }

  MetricsSnapshot snapshot() const {
    MetricsSnapshot now;
    now.requests_running = queries_.running();
    now.requests_waiting = queries_.waiting();
    now.contexts_by_status = contexts_.count_by_status();
    now.is_ready = membership_.is_ready();
    for (const RankView& rank : membership_.ranks()) {
      ++now.ranks_connected;
      now.ram_bytes += rank.stats.host_bytes_used;
      now.ram_bytes_budget += rank.stats.host_bytes_budget;
      now.disk_bytes += rank.stats.disk_bytes_used;
      now.rates_by_rank[rank.rank] = rank.rates;
    }
    return now;
  }

  // The first signal drains, the second one ends.
  void await_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
      if (error) return;
      if (is_draining_) return io_.stop();
      is_draining_ = true;
      log_->info("draining", {{"signal", signal}});
      drain();
      await_signal();
    });
  }

  void drain() {
    http_.begin_drain();
    contexts_.drain();
    queries_.drain(kAnswersDeadline, [this] {
      membership_.drain(kWorkersDeadline, [this] {
        http_.stop();
        end_deadline_ = loop_->after(kConnectionsDeadline, [this] { io_.stop(); });
        end_when_idle();
      });
    });
  }

  void end_when_idle() {
    if (http_.active_requests() == 0) return io_.stop();
    end_poll_ = loop_->after(std::chrono::milliseconds(10), [this] { end_when_idle(); });
  }

  boost::asio::io_context io_{1};
  boost::asio::thread_pool files_{kFileThreads};
  std::unique_ptr<EventLoop> loop_ = make_event_loop(io_, files_);
  std::unique_ptr<Log> log_;
  Metrics metrics_;
  std::unique_ptr<Catalogue> catalogue_;
  Membership membership_;
  TextService texts_;
  ContextService contexts_;
  QueryService queries_;
  ClusterService cluster_;
  HttpServer http_;
  boost::asio::signal_set signals_;
  bool is_draining_ = false;
  Timer end_deadline_;
  Timer end_poll_;
};

int run(int argc, char** argv) {
  CLI::App app("The front door of a Rotulus store: HTTP API, catalogue, membership of workers.");
  Options options;
  add_options(app, options);
  app.set_version_flag("--version", kVersion);
  CLI11_PARSE(app, argc, argv);

  if (options.die_with_parent) die_with_parent();
  ::signal(SIGPIPE, SIG_IGN);
  std::vector<std::string> api_keys = options.api_keys;
  if (!options.api_key_file.empty()) {
    const auto lines = read_lines(options.api_key_file, "--api-key-file");
    api_keys.insert(api_keys.end(), lines.begin(), lines.end());
  }
  const std::string secret = read_secret(options.secret_file);
  check_exposure(options, api_keys);
  Program program(options, std::move(api_keys), secret);
  return program.run(options);
}

}  // namespace
}  // namespace rotulus::coordinator

int main(int argc, char** argv) {
  try {
    return rotulus::coordinator::run(argc, argv);
  } catch (const rotulus::protocol::Error& error) {
    std::fprintf(stderr, "rotulus-coordinator: %s\n", error.message().c_str());
    return error.code() == rotulus::protocol::ErrorCode::invalid_argument ? 2 : 1;
  }
}
