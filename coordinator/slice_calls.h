// Parts of objects, read from and written to the volumes of the present worker group: one call, one answer.
//
// Threads: the event loop. Errors: {unavailable} where no rank holds the volume, or the group is lost before it
// answers; else what the rank says.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "coordinator/worker_group.h"
#include "protocol/messages.h"

namespace rotulus::coordinator {

class SliceCalls final {
 public:
  explicit SliceCalls(WorkerGroup& group) : group_(group) {}

  // `call` of the messages is filled in. The slice's parts are put together. What it is called with is not complete
  // where there is an error.
  using ReadDone = std::function<void(std::optional<protocol::Error>, protocol::SliceRead)>;
  void read(protocol::ReadSlice request, ReadDone done);
  // `bytes` may be of any size.
  using WriteDone = std::function<void(std::optional<protocol::Error>, protocol::SliceWritten)>;
  void write(protocol::WriteSlice slice, WriteDone done);
  void commit(protocol::CommitObject order, WriteDone done);

  // False: it is none of the answers.
  bool on_message(const protocol::Message& message);
  void on_group_lost();

 private:
  struct Reading {
    ReadDone done;
    std::string bytes;  // of the parts so far
  };
  void on_read(const protocol::SliceRead& part);
  void on_written(const protocol::SliceWritten& written);

  WorkerGroup& group_;
  std::uint64_t last_call_ = 0;
  std::map<std::uint64_t, Reading> readings_;
  std::map<std::uint64_t, WriteDone> writings_;
};

}  // namespace rotulus::coordinator
