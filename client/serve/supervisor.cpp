#include "client/serve/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <optional>

#include "client/api/http_client.h"
#include "client/serve/child_process.h"
#include "client/serve/restart_policy.h"
#include "client/serve/stray_processes.h"
#include "protocol/error.h"

namespace rotulus::client {
namespace {

using namespace std::chrono_literals;
using Time = std::chrono::steady_clock::time_point;

constexpr auto kPortFileInterval = 10ms;
constexpr auto kReadinessInterval = 100ms;
constexpr auto kDrainTimeout = 40s;
constexpr auto kDismissedTimeout = 5s;  // for workers to end after their coordinator has drained and ended
constexpr auto kTerminateTimeout = 3s;
constexpr auto kKillTimeout = 5s;
constexpr int kLostPeerExitCode = 3;  // of rotulus-worker: a peer or the coordinator was lost

Time now() {
  return std::chrono::steady_clock::now();
}

// Where standard error is closed, nobody reads and the service goes on: fmt::print would throw.
void write_line(const std::string& line) {
  std::fputs((line + "\n").c_str(), stderr);
}

void say(const std::string& text) {
  write_line("rotulus: " + text);
}

// SIGTERM and the like as something to poll, while this object lives.
class SignalDescriptor final {
 public:
  SignalDescriptor() {
    sigset_t signals;
    ::sigemptyset(&signals);
    for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) ::sigaddset(&signals, signal);
    ::sigprocmask(SIG_BLOCK, &signals, &before_);
    ::signal(SIGPIPE, SIG_IGN);  // a closed standard error must not end the service
    descriptor_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (descriptor_ < 0) throw protocol::Error(protocol::ErrorCode::unavailable, "signalfd is not to be had");
  }
  ~SignalDescriptor() {
    ::close(descriptor_);
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalDescriptor(const SignalDescriptor&) = delete;
  SignalDescriptor& operator=(const SignalDescriptor&) = delete;

  int descriptor() const { return descriptor_; }
  std::optional<int> next() const {
    signalfd_siginfo info{};
    if (::read(descriptor_, &info, sizeof info) != sizeof info) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  int descriptor_ = -1;
  sigset_t before_{};
};

// One of the two things that are kept running.
struct Service {
  std::string name;
  std::unique_ptr<ChildProcess> process;  // null: not running
  RestartPolicy policy;
  Time start_at{};  // where it is not running: when to start it
  bool was_ready = false;
};

class Supervisor final {
 public:
  Supervisor(const ServeOptions& options, const std::string& api_key, const Machine& machine, const StoreLease& store)
      : options_(options), api_key_(api_key), machine_(machine), store_(store) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  ~Supervisor() { kill_everything(); }
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  int run() {
    while (!exit_code_) {
      if (is_stopping_)
        press_on_with_stopping();
      else
        start_what_is_due();
      if (exit_code_) break;
      wait_for_something();
      for (Service* service : {&coordinator_, &workers_})
        if (service->process) service->process->read_output();
      while (auto signal = signals_.next())
        if (*signal != SIGCHLD) take_stop_signal();
      reap();
    }
    return *exit_code_;
  }

 private:
  // ---- starting

  void start_what_is_due() {
    if (!coordinator_.process && now() >= coordinator_.start_at) start_coordinator();
    if (coordinator_.process && !control_port_) control_port_ = read_control_port();
    if (control_port_ && !workers_.process && now() >= workers_.start_at) start_workers();
    if (workers_.process && !workers_.was_ready && answers_ready()) note_readiness();
  }

  void start_coordinator() {
    std::error_code ignored;
    std::filesystem::remove(store_.paths().control_port_file, ignored);
    std::map<std::string, std::string> environment;
    // Not as a flag: other users of the machine can read those.
    if (!api_key_.empty()) environment["ROTULUS_API_KEY"] = api_key_;
    start(coordinator_, coordinator_arguments(options_, store_.paths()), environment);
    options_.must_rebuild_catalogue = false;  // once
  }

  void start_workers() {
    store_.clear_session_files();
    start(workers_, worker_group_arguments(options_, store_.paths(), machine_, *control_port_),
          {{"TMPDIR", store_.paths().mpi_directory.string()}});
  }

  static void start(Service& service, const Arguments& arguments,
                    const std::map<std::string, std::string>& environment) {
    std::string prefix = fmt::format("[{}] ", service.name);
    service.was_ready = false;
    service.process = std::make_unique<ChildProcess>(
        arguments, environment, [prefix](std::string_view line) { write_line(prefix + std::string(line)); });
  }

  std::optional<std::uint16_t> read_control_port() const {
    std::ifstream file(store_.paths().control_port_file);
    std::uint16_t port = 0;
    return file >> port && port ? std::optional(port) : std::nullopt;
  }

  bool answers_ready() {
    if (now() < probe_at_) return false;
    probe_at_ = now() + kReadinessInterval;
    std::string host = options_.host == "0.0.0.0" ? "127.0.0.1" : options_.host == "::" ? "::1" : options_.host;
    try {
      HttpClient({host, std::to_string(options_.port), ""}, api_key_).send({.target = "/readyz"}, 1s);
      return true;
    } catch (const protocol::Error&) {
      return false;  // not yet: the next probe asks again
    }
  }

  void note_readiness() {
    coordinator_.was_ready = workers_.was_ready = true;
    std::uint32_t threads = threads_of_rank(options_, machine_);
    say(fmt::format("ready at http://{}:{} ({} rank{} of {} thread{})", options_.host, options_.port, options_.ranks,
                    options_.ranks == 1 ? "" : "s", threads, threads == 1 ? "" : "s"));
  }

  // ---- waiting

  void wait_for_something() {
    std::vector<pollfd> descriptors{{signals_.descriptor(), POLLIN, 0}};
    for (const Service* service : {&coordinator_, &workers_})
      if (service->process && service->process->output() >= 0)
        descriptors.push_back({service->process->output(), POLLIN, 0});
    auto wait = std::chrono::ceil<std::chrono::milliseconds>(next_deadline() - now());
    auto limit = std::clamp<std::chrono::milliseconds>(wait, 0ms, 60s);
    ::poll(descriptors.data(), descriptors.size(), static_cast<int>(limit.count()));
  }

  Time next_deadline() const {
    if (is_stopping_) return stop_deadline_;
    if (!coordinator_.process) return coordinator_.start_at;
    if (!control_port_) return now() + kPortFileInterval;
    if (!workers_.process) return workers_.start_at;
    return workers_.was_ready ? Time::max() : probe_at_;
  }

  // ---- deaths

  // Takes in every child that has ended, those of others that ended up here included.
  void reap() {
    int status = 0;
    while (pid_t pid = ::waitpid(-1, &status, WNOHANG)) {
      if (pid < 0) return;
      for (Service* service : {&coordinator_, &workers_})
        if (service->process && service->process->pid() == pid) take_death(*service, status);
    }
  }

  void take_death(Service& service, int status) {
    service.process->read_output();
    std::string last_words = service.process->last_words();
    service.process.reset();
    if (&service == &workers_) end_stray_processes();
    if (&service == &coordinator_) control_port_.reset();
    if (is_stopping_) return;

    // A shell's convention, which mpirun follows for its ranks: codes from 128 on stand for signals. Whichever rank
    // ends first gives mpirun its code, so that the death of one rank can look like its peer's loss.
    bool by_itself = WIFEXITED(status) && WEXITSTATUS(status) < 128 && WEXITSTATUS(status) != kLostPeerExitCode;
    std::string how = WIFEXITED(status) ? fmt::format("exit code {}", WEXITSTATUS(status))
                                        : fmt::format("signal {}", WTERMSIG(status));
    auto delay = service.policy.after({.was_ready = service.was_ready, .by_itself = by_itself});
    if (!delay) {
      say(fmt::format("the {} ended {} times in a row before they were ready; the last words: {}", service.name,
                      RestartPolicy::kMaxFailedStarts, last_words));
      exit_code_ = 1;
      return;
    }
    say(fmt::format("the {} ended ({}); starting again in {} ms", service.name, how, delay->count()));
    service.start_at = now() + *delay;
    if (&service == &coordinator_ && workers_.process) end_worker_group();
  }

  // A group belongs to the coordinator that welcomed it.
  void end_worker_group() {
    workers_.process->send(SIGKILL);
    int status = 0;
    ::waitpid(workers_.process->pid(), &status, 0);
    workers_.process->read_output();
    workers_.process.reset();
    workers_.start_at = now();
    end_stray_processes();
  }

  // mpirun is gone; its ranks are ours now, if they have not ended yet.
  void end_stray_processes() {
    std::vector<pid_t> known;
    if (coordinator_.process) known.push_back(coordinator_.process->pid());
    if (!kill_children_except(known, kKillTimeout)) say("a process that was killed does not end; going on without it");
  }

  // ---- stopping

  void take_stop_signal() {
    if (is_stopping_) {
      say("ending at once");
      exit_code_ = 1;
      return;
    }
    say("stopping: running answers are finished first (once more to end at once)");
    is_stopping_ = true;
    stop_deadline_ = now() + (coordinator_.process ? kDrainTimeout : 0s);
    if (coordinator_.process) coordinator_.process->send(SIGTERM);
  }

  void press_on_with_stopping() {
    if (!coordinator_.process && !workers_.process) {
      exit_code_ = 0;
      return;
    }
    if (!coordinator_.process && !is_dismissed_) {
      is_dismissed_ = true;
      stop_deadline_ = std::min(stop_deadline_, now() + kDismissedTimeout);
    }
    if (now() < stop_deadline_) return;
    for (Service* service : {&coordinator_, &workers_})
      if (service->process) service->process->send(is_terminating_ ? SIGKILL : SIGTERM);
    is_terminating_ = true;
    stop_deadline_ = now() + kTerminateTimeout;
  }

  void kill_everything() {
    for (Service* service : {&coordinator_, &workers_})
      if (service->process) service->process->read_output();
    kill_children_except({}, kKillTimeout);
  }

  ServeOptions options_;
  std::string api_key_;
  Machine machine_;
  const StoreLease& store_;
  SignalDescriptor signals_;

  Service coordinator_{.name = "coordinator"};
  Service workers_{.name = "workers"};
  std::optional<std::uint16_t> control_port_;
  Time probe_at_{};

  bool is_stopping_ = false;
  bool is_dismissed_ = false;    // the coordinator has ended while stopping
  bool is_terminating_ = false;  // asked to end by signal; the next step is SIGKILL
  Time stop_deadline_{};
  std::optional<int> exit_code_;
};

}  // namespace

int supervise(const ServeOptions& options, const std::string& api_key, const Machine& machine,
              const StoreLease& store) {
  return Supervisor(options, api_key, machine, store).run();
}

}  // namespace rotulus::client
