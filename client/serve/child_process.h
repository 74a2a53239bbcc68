// A program that runs below serve and does not outlive it.
//
// It is killed by the kernel when the calling thread ends (PDEATHSIG), has a process group of its own, so that the
// terminal's Ctrl-C reaches serve alone, reads nothing, and writes both outputs into one pipe.
//
// Threads: one, the same for all, which must live as long as the child.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace rotulus::client {

// Cuts output into lines and keeps the last one that says something.
class OutputLines final {
 public:
  explicit OutputLines(std::function<void(std::string_view line)> on_line) : on_line_(std::move(on_line)) {}
  void feed(std::string_view bytes);
  void finish();  // what stands without an end of line is a line

  // The last line outside the framed banners that mpirun prints about the program it ran; "" where there was none.
  const std::string& last_words() const { return last_words_; }

 private:
  void take(const std::string& line);

  std::function<void(std::string_view)> on_line_;
  std::string line_;
  std::string last_words_;
  bool in_banner_ = false;
};

class ChildProcess final {
 public:
  // `environment` is added to this process's. A program that cannot be started ends with exit code 127 after saying
  // why on its output.
  ChildProcess(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
               std::function<void(std::string_view line)> on_line);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  int output() const { return output_; }  // to poll; -1 after its end
  void read_output();                     // what is there now; does not block
  const std::string& last_words() const { return lines_.last_words(); }
  void send(int signal) const;  // the caller has not reaped it yet

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  OutputLines lines_;
};

}  // namespace rotulus::client
