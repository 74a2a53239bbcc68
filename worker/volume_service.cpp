#include "worker/volume_service.h"

#include <sys/resource.h>
#include <unistd.h>

#include <span>
#include <string_view>
#include <utility>

#include "protocol/codec.h"
#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::worker {
namespace {

constexpr int kLowPriority = 15;  // a nice value

}  // namespace

void VolumeService::handle(const protocol::Message& message) {
  if (const auto* piece = std::get_if<protocol::ReconcileVolume>(&message)) reconcile(*piece);
  if (const auto* request = std::get_if<protocol::ListManifests>(&message)) list(*request);
  if (const auto* request = std::get_if<protocol::EraseObjects>(&message)) erase(*request);
  if (const auto* part = std::get_if<protocol::WriteSlice>(&message)) write_slice(*part);
  if (const auto* order = std::get_if<protocol::CommitObject>(&message)) commit(*order);
}

void VolumeService::read(const protocol::Message& message) {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowPriority);  // on Linux, of the thread
  if (const auto* request = std::get_if<protocol::VerifyObject>(&message)) verify(*request);
  if (const auto* request = std::get_if<protocol::ReadSlice>(&message)) read_slice(*request);
}

void VolumeService::erase(const protocol::EraseObjects& request) {
  try {
    store_.erase(request.objects, request.catalogue_sequence);
  } catch (const protocol::Error& error) {
    warn_(error.message());
  }
}

void VolumeService::verify(const protocol::VerifyObject& request) {
  protocol::ObjectVerified reply{.volume = request.volume, .object = request.object};
  try {
    const auto seen = store_.verify(request.volume, request.object, request.manifest_hash);
    reply.blocks_verified = seen.blocks_verified;
    reply.blocks_damaged = seen.blocks_damaged;
  } catch (const protocol::Error& error) {
    reply.failure = error.message();
  }
  reply_(std::move(reply));
}

void VolumeService::read_slice(const protocol::ReadSlice& request) {
  protocol::SliceRead reply{.call = request.call};
  try {
    const auto slice =
        store_.read_slice({request.volume, request.object, request.stripe, request.layer}, request.manifest_hash);
    reply.block_count = slice.block_count;
    reply.object_block_count = slice.object_block_count;
    std::string_view rest(reinterpret_cast<const char*>(slice.bytes.data()), slice.bytes.size());
    do {
      reply.bytes = rest.substr(0, protocol::kSlicePartBytes);
      rest.remove_prefix(reply.bytes.size());
      reply.is_last = rest.empty();
      reply_(reply);
    } while (!rest.empty());
  } catch (const protocol::Error& error) {
    reply_(protocol::SliceRead{.call = request.call, .error = error.code(), .message = error.message()});
  }
}

void VolumeService::write_slice(const protocol::WriteSlice& part) {
  slice_ += part.bytes;
  if (!part.is_last) return;
  const std::string slice = std::exchange(slice_, {});
  protocol::SliceWritten reply{.call = part.call};
  try {
    reply.block_count = store_.write_slice({part.volume, part.object, part.stripe, part.layer},
                                           std::as_bytes(std::span(slice.data(), slice.size())));
  } catch (const protocol::Error& error) {
    reply.error = error.code();
    reply.message = error.message();
  }
  reply_(std::move(reply));
}

void VolumeService::commit(const protocol::CommitObject& order) {
  protocol::SliceWritten reply{.call = order.call};
  protocol::ManifestRecord record = order.record;
  try {
    reply.manifest_hash = store_.commit_slices(record, order.catalogue_sequence);
    reply.block_count = record.block_count;
  } catch (const protocol::Error& error) {
    reply.error = error.code();
    reply.message = error.message();
  }
  reply_(std::move(reply));
}

void VolumeService::reconcile(const protocol::ReconcileVolume& piece) {
  auto& live = live_[piece.volume];
  live.insert(live.end(), piece.live.begin(), piece.live.end());
  if (!piece.is_last) return;
  protocol::VolumeReconciled reply;
  reply.volume = piece.volume;
  try {
    const auto result = store_.reconcile(piece.volume, piece.store, piece.catalogue_sequence, live);
    reply.damaged = result.damaged;
    reply.collected_objects = result.collected_objects;
  } catch (const protocol::Error& error) {
    reply.refused = error.message();
  }
  live_.erase(piece.volume);
  reply_(std::move(reply));
}

void VolumeService::list(const protocol::ListManifests& request) {
  protocol::ManifestPage page;
  page.volume = request.volume;
  std::size_t bytes = 0;
  std::vector<std::pair<protocol::ManifestRecord, std::uint64_t>> manifests;
  try {
    manifests = store_.manifests(request.volume);
  } catch (const protocol::Error& error) {
    warn_(error.message());
  }
  for (auto& [record, hash] : manifests) {
    const std::size_t size = protocol::encode_record(record).size();
    if (bytes > 0 && bytes + size > protocol::kMaxFrameBytes / 2) {
      reply_(page);
      page.records.clear();
      page.hashes.clear();
      bytes = 0;
    }
    page.records.push_back(std::move(record));
    page.hashes.push_back(hash);
    bytes += size;
  }
  page.is_last = true;
  reply_(std::move(page));
}

}  // namespace rotulus::worker
