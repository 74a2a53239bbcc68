#include "coordinator/slice_calls.h"

#include <utility>

#include "protocol/limits.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;

namespace {

std::optional<Error> error_of(const std::optional<ErrorCode>& code, const std::string& message) {
  return code ? std::optional(Error(*code, message)) : std::nullopt;
}

Error not_held(protocol::VolumeId volume) {
  return Error(ErrorCode::unavailable, fmt::format("volume {} is held by no worker", volume));
}

}  // namespace

void SliceCalls::read(protocol::ReadSlice request, ReadDone done) {
  if (!group_.holds(request.volume)) return done(not_held(request.volume), {});
  request.call = ++last_call_;
  readings_[request.call].done = std::move(done);
  group_.send_to_holder(request.volume, request);
}

void SliceCalls::write(protocol::WriteSlice slice, WriteDone done) {
  if (!group_.holds(slice.volume)) return done(not_held(slice.volume), {});
  slice.call = ++last_call_;
  writings_[slice.call] = std::move(done);
  std::string_view rest = slice.bytes;
  protocol::WriteSlice part{slice.call, slice.volume, slice.object, slice.stripe, slice.layer};
  do {
    part.bytes = rest.substr(0, protocol::kSlicePartBytes);
    rest.remove_prefix(part.bytes.size());
    part.is_last = rest.empty();
    group_.send_to_holder(slice.volume, part);
  } while (!rest.empty());
}

void SliceCalls::commit(protocol::CommitObject order, WriteDone done) {
  if (!group_.holds(order.record.volume)) return done(not_held(order.record.volume), {});
  order.call = ++last_call_;
  const protocol::VolumeId volume = order.record.volume;
  writings_[order.call] = std::move(done);
  group_.send_to_holder(volume, order);
}

bool SliceCalls::on_message(const protocol::Message& message) {
  if (const auto* part = std::get_if<protocol::SliceRead>(&message)) return on_read(*part), true;
  if (const auto* written = std::get_if<protocol::SliceWritten>(&message)) return on_written(*written), true;
  return false;
}

void SliceCalls::on_read(const protocol::SliceRead& part) {
  const auto found = readings_.find(part.call);
  if (found == readings_.end()) return;
  found->second.bytes += part.bytes;
  if (!part.is_last) return;
  Reading reading = std::move(readings_.extract(found).mapped());
  protocol::SliceRead whole = part;
  whole.bytes = std::move(reading.bytes);
  reading.done(error_of(part.error, part.message), std::move(whole));
}

void SliceCalls::on_written(const protocol::SliceWritten& written) {
  const auto found = writings_.find(written.call);
  if (found == writings_.end()) return;
  const WriteDone done = std::move(writings_.extract(found).mapped());
  done(error_of(written.error, written.message), written);
}

void SliceCalls::on_group_lost() {
  const Error lost(ErrorCode::unavailable, "the worker group was lost; try again when the next one is ready");
  for (auto& [call, reading] : std::exchange(readings_, {})) reading.done(lost, {});
  for (auto& [call, done] : std::exchange(writings_, {})) done(lost, {});
}

}  // namespace rotulus::coordinator
