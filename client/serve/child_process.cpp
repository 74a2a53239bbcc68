#include "client/serve/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "protocol/error.h"

namespace rotulus::client {
namespace {

constexpr std::size_t kMaxLineBytes = 16u << 10;  // longer ones are cut into several

[[noreturn]] void throw_errno(std::string_view what) {
  throw protocol::Error(protocol::ErrorCode::unavailable, fmt::format("{}: {}", what, std::strerror(errno)));
}

// In the child, between fork and exec.
[[noreturn]] void become(const std::vector<std::string>& arguments,
                         const std::map<std::string, std::string>& environment, pid_t parent, int output) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // the parent died before the line above
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  ::execvp(pointers[0], pointers.data());
  fmt::print(stderr, "cannot start {}: {}\n", arguments[0], std::strerror(errno));
  ::_exit(127);
}

// Open MPI sums up its own banners behind them: "[host:pid] 1 more process has sent help message …".
bool is_about_banners(const std::string& line) {
  return line.find(" has sent help message ") != std::string::npos ||
         line.find("MCA parameter \"orte_base_help_aggregate\"") != std::string::npos;
}

}  // namespace

void OutputLines::feed(std::string_view bytes) {
  for (char byte : bytes) {
    if (byte != '\n') line_.push_back(byte);
    if (byte == '\n' || line_.size() >= kMaxLineBytes) take(std::exchange(line_, {}));
  }
}

void OutputLines::finish() {
  if (!line_.empty()) take(std::exchange(line_, {}));
}

void OutputLines::take(const std::string& line) {
  bool is_rule = line.size() >= 20 && line.find_first_not_of('-') == std::string::npos;
  if (is_rule)
    in_banner_ = !in_banner_;
  else if (!in_banner_ && !is_about_banners(line) && line.find_first_not_of(" \t\r") != std::string::npos)
    last_words_ = line;
  on_line_(line);
}

ChildProcess::ChildProcess(const std::vector<std::string>& arguments,
                           const std::map<std::string, std::string>& environment,
                           std::function<void(std::string_view)> on_line)
    : lines_(std::move(on_line)) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw_errno("making a pipe");
  pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become(arguments, environment, parent, pipe[1]);
  int failure = errno;
  ::close(pipe[1]);
  output_ = pipe[0];
  if (pid_ < 0) {
    ::close(output_);
    errno = failure;
    throw_errno("starting a process");
  }
  ::fcntl(output_, F_SETFL, O_NONBLOCK);
}

ChildProcess::~ChildProcess() {
  if (output_ >= 0) ::close(output_);
}

void ChildProcess::read_output() {
  std::array<char, 16u << 10> piece;
  while (output_ >= 0) {
    ssize_t count = ::read(output_, piece.data(), piece.size());
    if (count > 0) {
      lines_.feed({piece.data(), static_cast<std::size_t>(count)});
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      ::close(output_);
      output_ = -1;
      lines_.finish();
    } else {
      return;
    }
  }
}

void ChildProcess::send(int signal) const {
  ::kill(pid_, signal);
}

}  // namespace rotulus::client
