#include "coordinator/verifier.h"

#include <algorithm>
#include <utility>

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;

void Verifier::begin(ContextId id) {
  if (std::find(queue_.begin(), queue_.end(), id) == queue_.end()) {
    views_[id] = {};
    queue_.push_back(id);
  }
  pump();
}

std::optional<VerificationView> Verifier::view(ContextId id) const {
  const auto found = views_.find(id);
  return found == views_.end() ? std::nullopt : std::optional(found->second);
}

void Verifier::pump() {
  while (!queue_.empty() && awaited_.empty() && group_.is_ready()) {
    const auto found = views_.find(queue_.front());
    if (found == views_.end()) {  // forgotten
      queue_.pop_front();
    } else if (!ask_for_next_chunk(found->first, found->second)) {
      finish();
    }
  }
}

// Whether there was one, and nothing was in the way.
bool Verifier::ask_for_next_chunk(ContextId id, VerificationView& view) {
  const auto* chunks = owner_.chunks(id);
  if (!chunks) return false;
  view.chunks_total = chunks->size();
  while (view.chunks_read < chunks->size() && !(*chunks)[view.chunks_read].object) ++view.chunks_read;
  if (view.chunks_read == chunks->size()) return false;
  const protocol::ObjectRecord& chunk = (*chunks)[view.chunks_read];
  chunk_at_hand_ = {.object = chunk.object};
  for (const protocol::VolumeManifest& manifest : chunk.manifests) {
    if (group_.holds(manifest.volume)) continue;
    view.error = Error(ErrorCode::unavailable, fmt::format("chunk {} lies on volume {}, which no worker holds",
                                                           view.chunks_read, manifest.volume));
    return false;
  }
  for (const protocol::VolumeManifest& manifest : chunk.manifests) {
    awaited_.insert(manifest.volume);
    group_.send_to_holder(manifest.volume, protocol::VerifyObject{.volume = manifest.volume,
                                                                  .object = chunk.object,
                                                                  .manifest_hash = manifest.manifest_hash});
  }
  return true;
}

void Verifier::on_verified(const protocol::ObjectVerified& verified) {
  if (verified.object != chunk_at_hand_.object || awaited_.erase(verified.volume) == 0) return;
  chunk_at_hand_.blocks_verified += verified.blocks_verified;
  chunk_at_hand_.blocks_damaged += verified.blocks_damaged;
  if (verified.failure) chunk_at_hand_.failure = verified.failure;
  if (!awaited_.empty()) return;
  finish_chunk();
  pump();
}

void Verifier::finish_chunk() {
  const ContextId id = queue_.front();
  const auto found = views_.find(id);
  const auto* chunks = owner_.chunks(id);
  if (found == views_.end() || !chunks) return;
  VerificationView& view = found->second;
  if (chunk_at_hand_.failure) {
    view.error = Error(ErrorCode::unavailable, *chunk_at_hand_.failure);
    return finish();
  }
  const auto index = static_cast<std::uint32_t>(view.chunks_read++);
  // Another object by now: it was erased under the reader, who found it absent.
  if (index >= chunks->size() || (*chunks)[index].object != chunk_at_hand_.object) return;
  view.blocks_verified += chunk_at_hand_.blocks_verified;
  view.blocks_damaged += chunk_at_hand_.blocks_damaged;
  if (chunk_at_hand_.blocks_damaged == 0) return;
  ++view.chunks_damaged;
  owner_.on_damaged(
      {.context = id,
       .chunk_index = index,
       .object = chunk_at_hand_.object,
       .message = fmt::format("verification: {} of its blocks are absent or damaged, {} are as they were written",
                              chunk_at_hand_.blocks_damaged, chunk_at_hand_.blocks_verified)});
}

void Verifier::finish() {
  const ContextId id = queue_.front();
  queue_.pop_front();
  VerificationView& view = views_.at(id);
  view.is_running = false;
  owner_.on_finished(id, view);
}

}  // namespace rotulus::coordinator
