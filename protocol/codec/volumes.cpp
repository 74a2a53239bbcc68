#include "protocol/codec/fields.h"
#include "protocol/codec/parts.h"

namespace rotulus::protocol::schema {
namespace {

void check_hash_count(std::size_t hashes, std::size_t records) {
  if (hashes != records) refuse("hashes", fmt::format("{} for {} records", hashes, records));
}

}  // namespace

void write(LiveObject::Builder to, const protocol::ReconcileVolume::Live& from) {
  to.setObject(from.object.value);
  to.setManifestHash(from.manifest_hash);
}

protocol::ReconcileVolume::Live read(LiveObject::Reader from) {
  return {.object = {from.getObject()}, .manifest_hash = from.getManifestHash()};
}

void write(ReconcileVolume::Builder to, const protocol::ReconcileVolume& from) {
  to.setVolume(from.volume.value);
  to.setStore(from.store.value);
  to.setCatalogueSequence(from.catalogue_sequence);
  write_list(to.initLive(count_of(from.live)), from.live);
  to.setIsLast(from.is_last);
}

protocol::ReconcileVolume read(ReconcileVolume::Reader from) {
  return {.volume = {from.getVolume()},
          .store = {from.getStore()},
          .catalogue_sequence = from.getCatalogueSequence(),
          .live = read_list(from.getLive()),
          .is_last = from.getIsLast()};
}

void write(VolumeReconciled::Builder to, const protocol::VolumeReconciled& from) {
  to.setVolume(from.volume.value);
  write_ids(to.initDamaged(count_of(from.damaged)), from.damaged);
  to.setCollectedObjects(from.collected_objects);
  if (from.refused) to.getRefused().setReason(text(*from.refused));
}

protocol::VolumeReconciled read(VolumeReconciled::Reader from) {
  protocol::VolumeReconciled result{.volume = {from.getVolume()},
                                    .damaged = read_ids<ObjectId>(from.getDamaged()),
                                    .collected_objects = from.getCollectedObjects()};
  if (from.getRefused().isReason()) result.refused = text(from.getRefused().getReason());
  return result;
}

void write(ListManifests::Builder to, const protocol::ListManifests& from) {
  to.setVolume(from.volume.value);
}

protocol::ListManifests read(ListManifests::Reader from) {
  return {.volume = {from.getVolume()}};
}

void write(ManifestPage::Builder to, const protocol::ManifestPage& from) {
  check_hash_count(from.hashes.size(), from.records.size());
  to.setVolume(from.volume.value);
  write_list(to.initRecords(count_of(from.records)), from.records);
  write_numbers<std::uint64_t>(to.initHashes(count_of(from.hashes)), from.hashes);
  to.setIsLast(from.is_last);
}

protocol::ManifestPage read(ManifestPage::Reader from) {
  protocol::ManifestPage page{.volume = {from.getVolume()},
                              .records = read_list(from.getRecords()),
                              .hashes = read_numbers<std::uint64_t>(from.getHashes()),
                              .is_last = from.getIsLast()};
  check_hash_count(page.hashes.size(), page.records.size());
  return page;
}

void write(EraseObjects::Builder to, const protocol::EraseObjects& from) {
  write_ids(to.initObjects(count_of(from.objects)), from.objects);
  to.setCatalogueSequence(from.catalogue_sequence);
}

protocol::EraseObjects read(EraseObjects::Reader from) {
  return {.objects = read_ids<ObjectId>(from.getObjects()), .catalogue_sequence = from.getCatalogueSequence()};
}

void write(VerifyObject::Builder to, const protocol::VerifyObject& from) {
  to.setVolume(from.volume.value);
  to.setObject(from.object.value);
  to.setManifestHash(from.manifest_hash);
}

protocol::VerifyObject read(VerifyObject::Reader from) {
  return {.volume = {from.getVolume()}, .object = {from.getObject()}, .manifest_hash = from.getManifestHash()};
}

void write(ObjectVerified::Builder to, const protocol::ObjectVerified& from) {
  to.setVolume(from.volume.value);
  to.setObject(from.object.value);
  to.setBlocksVerified(from.blocks_verified);
  to.setBlocksDamaged(from.blocks_damaged);
  if (from.failure) to.getFailure().setReason(text(*from.failure));
}

protocol::ObjectVerified read(ObjectVerified::Reader from) {
  protocol::ObjectVerified result{.volume = {from.getVolume()},
                                  .object = {from.getObject()},
                                  .blocks_verified = from.getBlocksVerified(),
                                  .blocks_damaged = from.getBlocksDamaged()};
  if (from.getFailure().isReason()) result.failure = text(from.getFailure().getReason());
  return result;
}

void write(ReadSlice::Builder to, const protocol::ReadSlice& from) {
  to.setCall(from.call);
  to.setVolume(from.volume.value);
  to.setObject(from.object.value);
  to.setManifestHash(from.manifest_hash);
  to.setStripe(from.stripe);
  to.setLayer(from.layer);
}

protocol::ReadSlice read(ReadSlice::Reader from) {
  return {.call = from.getCall(),
          .volume = {from.getVolume()},
          .object = {from.getObject()},
          .manifest_hash = from.getManifestHash(),
          .stripe = from.getStripe(),
          .layer = from.getLayer()};
}

void write(SliceRead::Builder to, const protocol::SliceRead& from) {
  check_limit(from.bytes.size(), kSlicePartBytes, "bytes");
  to.setCall(from.call);
  to.setBytes(data(from.bytes));
  to.setBlockCount(from.block_count);
  to.setObjectBlockCount(from.object_block_count);
  to.setIsLast(from.is_last);
  if (from.error) to.getError().setCode(write(*from.error));
  to.setMessage(text(from.message));
}

protocol::SliceRead read(SliceRead::Reader from) {
  check_limit(from.getBytes().size(), kSlicePartBytes, "bytes");
  protocol::SliceRead result{.call = from.getCall(),
                             .bytes = data(from.getBytes()),
                             .block_count = from.getBlockCount(),
                             .object_block_count = from.getObjectBlockCount(),
                             .is_last = from.getIsLast()};
  if (from.getError().isCode()) result.error = read(from.getError().getCode());
  result.message = text(from.getMessage());
  return result;
}

void write(WriteSlice::Builder to, const protocol::WriteSlice& from) {
  check_limit(from.bytes.size(), kSlicePartBytes, "bytes");
  to.setCall(from.call);
  to.setVolume(from.volume.value);
  to.setObject(from.object.value);
  to.setStripe(from.stripe);
  to.setLayer(from.layer);
  to.setBytes(data(from.bytes));
  to.setIsLast(from.is_last);
}

protocol::WriteSlice read(WriteSlice::Reader from) {
  check_limit(from.getBytes().size(), kSlicePartBytes, "bytes");
  return {.call = from.getCall(),
          .volume = {from.getVolume()},
          .object = {from.getObject()},
          .stripe = from.getStripe(),
          .layer = from.getLayer(),
          .bytes = data(from.getBytes()),
          .is_last = from.getIsLast()};
}

void write(CommitObject::Builder to, const protocol::CommitObject& from) {
  to.setCall(from.call);
  write(to.initRecord(), from.record);
  to.setCatalogueSequence(from.catalogue_sequence);
}

protocol::CommitObject read(CommitObject::Reader from) {
  return {.call = from.getCall(), .record = read(from.getRecord()), .catalogue_sequence = from.getCatalogueSequence()};
}

void write(SliceWritten::Builder to, const protocol::SliceWritten& from) {
  to.setCall(from.call);
  to.setBlockCount(from.block_count);
  to.setManifestHash(from.manifest_hash);
  if (from.error) to.getError().setCode(write(*from.error));
  to.setMessage(text(from.message));
}

protocol::SliceWritten read(SliceWritten::Reader from) {
  protocol::SliceWritten result{
      .call = from.getCall(), .block_count = from.getBlockCount(), .manifest_hash = from.getManifestHash()};
  if (from.getError().isCode()) result.error = read(from.getError().getCode());
  result.message = text(from.getMessage());
  return result;
}

}  // namespace rotulus::protocol::schema
