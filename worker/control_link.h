// A rank's connection to the coordinator: what it is asked, and what it answers, while its engine computes.
//
// The engine's thread meets it as a WorkSource and calls send(); everything else happens on threads of the link:
//
//   link thread      reads, writes, answers pings; must never wait, or the coordinator counts this rank as lost
//   text thread      Handlers::on_text, one message after the other
//   volume thread    Handlers::on_volume, likewise: a long erase delays neither pings nor texts
//   read thread      Handlers::on_read, likewise: reading what lies on disk delays nothing else
//
// Back-pressure: send() waits while limits.h kMaxQueuedFrameBytes are on their way out. While as many have come in and
// are not taken, the link stops reading (it goes on telling the coordinator that it lives).
//
// The connection is never made again: a rank that loses its coordinator is of a group that is over. Nothing waits for
// ever on it: silence for the lease is a loss, and a loss ends every wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "protocol/limits.h"
#include "protocol/messages.h"
#include "worker/service.h"

namespace rotulus::worker {

struct ControlLinkConfig {
  std::string host;
  std::uint16_t port = 0;
  std::string secret;  // empty: none, and the hello proves nothing
  std::chrono::milliseconds connect_timeout{30'000};
  std::chrono::milliseconds hello_timeout = protocol::kHelloTimeout;
  std::chrono::milliseconds lease_timeout = protocol::kLeaseTimeout;
};

// None of them may destroy the link.
struct ControlLinkHandlers {
  // TokenizeDocument, EncodeText, DecodeTokens, RenderTemplate; ReconcileVolume, ListManifests, EraseObjects,
  // WriteSlice, CommitObject; and VerifyObject, ReadSlice. Answers go out by send(). What they throw ends the link.
  std::function<void(protocol::Message)> on_text;
  std::function<void(protocol::Message)> on_volume;
  std::function<void(protocol::Message)> on_read;
  // Stats and volumes of a Pong, as they are now. On the link thread, beside all others: must not wait.
  std::function<protocol::Pong()> make_pong;
  // The coordinator is gone, or cannot be understood. Once, on the link thread; not after the destructor has begun.
  std::function<void(const std::string& reason)> on_lost;
};

class ControlLink final : public WorkSource {
 public:
  // `hello` is complete but for its proof; its rank decides which messages may come.
  ControlLink(ControlLinkConfig config, protocol::Hello hello, ControlLinkHandlers handlers);
  // Sends what is queued (for a lease at most), waits for the handler that runs, and closes.
  ~ControlLink() override;
  ControlLink(const ControlLink&) = delete;
  ControlLink& operator=(const ControlLink&) = delete;

  // Once, before anything else: connects, trying again until the timeout, and says hello. Throws the coordinator's
  // Refusal as an Error with its code and words; Error{unavailable} when the time is over; Error{invalid_argument} if
  // it is no coordinator that listens there.
  protocol::Welcome connect();

  // From any thread. Throws Error{payload_too_large} if the message does not fit a frame. After a loss it does nothing.
  void send(const protocol::Message& message);

  // The coordinator asked this group to end.
  bool draining() const;
  bool is_lost() const;

  // WorkSource, for the engine's thread. Rank 0 takes OpenContext … CancelAnswer, counted from 1. A park ends with
  // work, at the drain and at a loss.
  std::vector<protocol::Message> take_work() override;
  std::uint64_t work_seen() override;
  void park(std::uint64_t seen) override;
  bool is_stopping() override { return draining() || is_lost(); }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rotulus::worker
