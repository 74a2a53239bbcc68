#include "protocol/codec/fields.h"
#include "protocol/codec/parts.h"

namespace rotulus::protocol::schema {

void write(Challenge::Builder to, const protocol::Challenge& from) {
  to.setNonce(fixed(from.nonce));
}

protocol::Challenge read(Challenge::Reader from) {
  return {.nonce = fixed<32>(from.getNonce(), "nonce")};
}

void write(Hello::Builder to, const protocol::Hello& from) {
  to.setProtocolVersion(from.protocol_version);
  to.setGroup(from.group);
  to.setRank(from.rank);
  to.setSize(from.size);
  to.setHost(text(from.host));
  to.setPid(from.pid);
  to.setThreads(from.threads);
  write(to.initModel(), from.model);
  write(to.initParameters(), from.parameters);
  write_list(to.initVolumes(count_of(from.volumes)), from.volumes);
  write_list(to.initFailedVolumes(count_of(from.failed_volumes)), from.failed_volumes);
  to.setProof(fixed(from.proof));
  write_list(to.initRates(count_of(from.rates)), from.rates);
}

protocol::Hello read(Hello::Reader from) {
  return {.protocol_version = from.getProtocolVersion(),
          .group = from.getGroup(),
          .rank = from.getRank(),
          .size = from.getSize(),
          .host = text(from.getHost()),
          .pid = from.getPid(),
          .threads = from.getThreads(),
          .model = read(from.getModel()),
          .parameters = read(from.getParameters()),
          .volumes = read_list(from.getVolumes()),
          .failed_volumes = read_list(from.getFailedVolumes()),
          .rates = read_list(from.getRates()),
          .proof = fixed<32>(from.getProof(), "proof")};
}

void write(Welcome::Builder to, const protocol::Welcome& from) {
  to.setEpoch(from.epoch.value);
  to.setStore(from.store.value);
  to.setCatalogueSequence(from.catalogue_sequence);
}

protocol::Welcome read(Welcome::Reader from) {
  return {.epoch = {from.getEpoch()}, .store = {from.getStore()}, .catalogue_sequence = from.getCatalogueSequence()};
}

void write(Refusal::Builder to, const protocol::Refusal& from) {
  to.setCode(write(from.code));
  to.setMessage(text(from.message));
}

protocol::Refusal read(Refusal::Reader from) {
  return {.code = read(from.getCode()), .message = text(from.getMessage())};
}

void write(Ping::Builder to, const protocol::Ping& from) {
  to.setSequence(from.sequence);
}

protocol::Ping read(Ping::Reader from) {
  return {.sequence = from.getSequence()};
}

void write(Pong::Builder to, const protocol::Pong& from) {
  to.setSequence(from.sequence);
  write(to.initStats(), from.stats);
  write_list(to.initVolumes(count_of(from.volumes)), from.volumes);
}

protocol::Pong read(Pong::Reader from) {
  return {.sequence = from.getSequence(), .stats = read(from.getStats()), .volumes = read_list(from.getVolumes())};
}

void write(Wake::Builder to, const protocol::Wake& from) {
  to.setWork(from.work);
}

protocol::Wake read(Wake::Reader from) {
  return {.work = from.getWork()};
}

void write(Drain::Builder, const protocol::Drain&) {}

protocol::Drain read(Drain::Reader) {
  return {};
}

}  // namespace rotulus::protocol::schema
