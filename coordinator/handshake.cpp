#include "coordinator/handshake.h"

#include <openssl/rand.h>

#include "protocol/limits.h"
#include "protocol/proof.h"

namespace rotulus::coordinator {

using protocol::ErrorCode;
using protocol::Hello;
using protocol::Refusal;

protocol::Challenge make_challenge() {
  protocol::Challenge challenge;
  CHECK(RAND_bytes(challenge.nonce.data(), static_cast<int>(challenge.nonce.size())) == 1);
  return challenge;
}

std::optional<Refusal> find_refusal(std::string_view secret, const protocol::Challenge& challenge, const Hello& hello) {
  if (hello.protocol_version != protocol::kProtocolVersion) {
    return Refusal{ErrorCode::unsupported, fmt::format("the worker speaks protocol version {}, this coordinator {}; "
                                                       "start both from one build",
                                                       hello.protocol_version, protocol::kProtocolVersion)};
  }
  if (!secret.empty() && !protocol::is_proven(secret, challenge, hello)) {
    return Refusal{ErrorCode::unauthorized,
                   "the worker's proof does not match: give it the coordinator's --secret-file"};
  }
  if (hello.size == 0 || hello.size > protocol::kMaxRanks || hello.rank >= hello.size || hello.group == 0) {
    return Refusal{ErrorCode::invalid_argument, fmt::format("rank {} of {} in group {}: a group has 1 to {} ranks, and "
                                                            "a number",
                                                            hello.rank, hello.size, hello.group, protocol::kMaxRanks)};
  }
  return std::nullopt;
}

std::optional<Refusal> find_difference(const Hello& other, const Hello& hello) {
  const auto differs = [&](std::string_view field, const auto& theirs, const auto& ours) {
    return Refusal{
        ErrorCode::conflict,
        fmt::format("rank {} on {}: its {} is '{}', that of rank {} on {} is '{}'; all ranks of a group need "
                    "the same",
                    hello.rank, hello.host, field, ours, other.rank, other.host, theirs)};
  };
  if (other.size != hello.size) return differs("group size", other.size, hello.size);
  if (const auto field = protocol::find_conflict(other.parameters, hello.parameters)) {
    return Refusal{ErrorCode::conflict,
                   fmt::format("rank {} on {}: its {} differs from that of rank {} on {}; all ranks "
                               "of a group need the same",
                               hello.rank, hello.host, *field, other.rank, other.host)};
  }
  if (other.parameters.numerics_id != hello.parameters.numerics_id) {
    return differs("numerics id", other.parameters.numerics_id, hello.parameters.numerics_id);
  }
  if (other.model.context_length != hello.model.context_length) {
    return differs("context length", other.model.context_length, hello.model.context_length);
  }
  if (!(other.model == hello.model)) return differs("model", other.model.name, hello.model.name);
  for (const protocol::VolumeState& volume : hello.volumes) {
    for (const protocol::VolumeState& held : other.volumes) {
      if (volume.volume == held.volume) return differs("volume", held.path, volume.path);
    }
  }
  return std::nullopt;
}

}  // namespace rotulus::coordinator
