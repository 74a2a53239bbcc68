// Calls to the tokenizer and the chat template, which live with the model on rank 0: each answered once, within a
// deadline, or with Error{unavailable} where no worker group is ready or it is lost.
//
// Threads: the event loop. A callback is never called from within the call that gave it.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "coordinator/cluster.h"
#include "coordinator/event_loop.h"
#include "coordinator/worker_group.h"

namespace rotulus::coordinator {

class TextService final : public GroupListener {
 public:
  TextService(EventLoop& loop, WorkerGroup& group) : loop_(loop), group_(group) {}

  void encode(protocol::EncodeText request, Cluster::IdsDone done);
  // What stands before a document's own tokens: its frame, opened, or the raw beginning.
  void open_frame(protocol::Frame frame, std::optional<std::string> system, Cluster::IdsDone done);
  void decode(std::vector<protocol::TokenId> ids, Cluster::PiecesDone done);
  void render(std::vector<protocol::ChatMessage> messages, Cluster::TextDone done);

  // A document is one call with an answer to each of its pieces, in order; and each answer comes in one or more parts,
  // of which the last says so. An error is the last.
  using PartDone =
      std::function<void(std::optional<protocol::Error>, const std::vector<protocol::TokenId>& ids, bool is_last)>;
  std::uint64_t begin_document() { return ++last_call_; }
  void tokenize(protocol::TokenizeDocument piece, PartDone on_part);

  void on_message(const protocol::Message& message) override;
  void on_group_lost(const std::string& why) override;

 private:
  struct Call {
    std::chrono::steady_clock::time_point deadline;
    PartDone on_part;         // a document's: each part as it comes
    Cluster::IdsDone on_ids;  // the others: all parts together
    Cluster::PiecesDone on_pieces;
    std::vector<protocol::TokenId> ids;
    std::string text;
    std::vector<std::string> pieces;
  };
  void call(std::uint64_t number, const protocol::Message& message, Call call);
  std::optional<Call> take(std::uint64_t number);
  void on_encoded(const protocol::EncodedText& part);
  void on_decoded(const protocol::DecodedText& part);
  static void fail(const Call& call, const protocol::Error& error);
  void expire();

  EventLoop& loop_;
  WorkerGroup& group_;
  std::uint64_t last_call_ = 0;
  std::map<std::uint64_t, std::deque<Call>> calls_;
  Timer expiry_;
};

}  // namespace rotulus::coordinator
