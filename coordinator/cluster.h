// What is known of the worker group now, and the text services of its rank 0. Event loop only.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "protocol/messages.h"

namespace rotulus::coordinator {

struct RankView {
  std::uint32_t rank = 0;
  std::string host;
  std::uint64_t pid = 0;
  std::uint32_t threads = 0;
  protocol::LaneRange lanes;
  std::vector<protocol::VolumeState> volumes;
  std::vector<protocol::VolumeFailure> failed_volumes;
  std::vector<protocol::MachineRate> rates;
  protocol::WorkerStats stats;
};

struct ClusterView {
  bool is_ready = false;  // all ranks have said hello and all volumes are reconciled
  std::string state;      // "waiting for workers: 1 of 2 ranks", "reconciling", "ready", "draining"
  protocol::Epoch epoch;
  protocol::StoreId store;
  std::optional<protocol::ModelFacts> model;  // of the present or last group
  std::optional<protocol::ContextParameters> parameters;
  std::vector<RankView> ranks;
  std::vector<std::string> refused;  // volumes or workers that were turned away, and why
};

class Cluster {
 public:
  virtual ~Cluster() = default;
  virtual ClusterView view() const = 0;
  virtual const std::string& model_name() const = 0;  // as the API shows it (--alias or the file's)

  // Each answers once, with an error {unavailable} when no worker group is ready.
  using TextDone = std::function<void(std::optional<protocol::Error>, std::string text)>;
  using IdsDone = std::function<void(std::optional<protocol::Error>, std::vector<protocol::TokenId> ids)>;
  using PiecesDone =
      std::function<void(std::optional<protocol::Error>, std::string text, std::vector<std::string> pieces)>;
  virtual void encode(protocol::EncodeText request, IdsDone done) = 0;
  virtual void decode(std::vector<protocol::TokenId> ids, PiecesDone done) = 0;
  // Counts the tokens of a document given in pieces of at most kTokenizePieceBytes, each answered before the next is
  // given. A count that is begun must be ended, with an empty last piece if need be.
  using CountDone = std::function<void(std::optional<protocol::Error>, std::uint64_t tokens)>;
  virtual std::uint64_t begin_count() = 0;
  virtual void count(protocol::TokenizeDocument piece, CountDone done) = 0;
  virtual void render(std::vector<protocol::ChatMessage> messages, TextDone done) = 0;
};

}  // namespace rotulus::coordinator
