#include "protocol/codec/fields.h"
#include "protocol/codec/parts.h"

namespace rotulus::protocol::schema {

ErrorCode write(protocol::ErrorCode code) {
  return to_wire<ErrorCode>(code);
}
protocol::ErrorCode read(ErrorCode code) {
  return from_wire(code, protocol::ErrorCode::payload_too_large, "code");
}
Frame write(protocol::Frame frame) {
  return to_wire<Frame>(frame);
}
protocol::Frame read(Frame frame) {
  return from_wire(frame, protocol::Frame::raw, "frame");
}
AttentionMode write(protocol::AttentionMode mode) {
  return to_wire<AttentionMode>(mode);
}
protocol::AttentionMode read(AttentionMode mode) {
  return from_wire(mode, protocol::AttentionMode::retrieval, "mode");
}

namespace {

// Empty, or ascending runs from lane 0 on.
void check_placement(const Placement& placement) {
  check_limit(placement.size(), kLaneCount, "placement");
  for (std::size_t i = 0; i < placement.size(); ++i) {
    const std::uint32_t lane = placement[i].first_lane;
    if (lane >= kLaneCount || (i == 0 ? lane != 0 : lane <= placement[i - 1].first_lane)) {
      refuse("placement", fmt::format("run {} begins at lane {}", i, lane));
    }
  }
}

void write_placement(capnp::List<PlacementRun>::Builder to, const Placement& from) {
  check_placement(from);
  write_list(to, from);
}

Placement read_placement(capnp::List<PlacementRun>::Reader from) {
  check_limit(from.size(), kLaneCount, "placement");
  Placement placement = read_list(from);
  check_placement(placement);
  return placement;
}

void check_token_count(std::size_t count, TokenRange range) {
  if (range.begin <= range.end && range.count() == count) return;
  refuse("token_ids", fmt::format("{} for the range [{}, {})", count, range.begin, range.end));
}

}  // namespace

void write(RetrievalParameters::Builder to, const protocol::RetrievalParameters& from) {
  to.setLandmarkVersion(from.landmark_version);
  to.setExactTokens(from.exact_tokens);
  to.setLocalTokens(from.local_tokens);
  to.setLandmarks(from.landmarks);
}

protocol::RetrievalParameters read(RetrievalParameters::Reader from) {
  return {.landmark_version = from.getLandmarkVersion(),
          .exact_tokens = from.getExactTokens(),
          .local_tokens = from.getLocalTokens(),
          .landmarks = from.getLandmarks()};
}

void write(ContextParameters::Builder to, const protocol::ContextParameters& from) {
  to.setModelFingerprint(text(from.model_fingerprint));
  to.setTokenizerFingerprint(text(from.tokenizer_fingerprint));
  to.setRope(text(from.rope));
  to.setKvType(text(from.kv_type));
  to.setBlockTokens(from.block_tokens);
  to.setLaneCount(from.lane_count);
  to.setChunkTokens(from.chunk_tokens);
  to.setFormatVersion(from.format_version);
  to.setNumericsId(text(from.numerics_id));
  write(to.initRetrieval(), from.retrieval);
}

protocol::ContextParameters read(ContextParameters::Reader from) {
  return {.model_fingerprint = text(from.getModelFingerprint()),
          .tokenizer_fingerprint = text(from.getTokenizerFingerprint()),
          .rope = text(from.getRope()),
          .kv_type = text(from.getKvType()),
          .block_tokens = from.getBlockTokens(),
          .lane_count = from.getLaneCount(),
          .chunk_tokens = from.getChunkTokens(),
          .format_version = from.getFormatVersion(),
          .numerics_id = text(from.getNumericsId()),
          .retrieval = read(from.getRetrieval())};
}

void write(ContextDescription::Builder to, const protocol::ContextDescription& from) {
  check_limit(from.metadata_json.size(), kMaxMetadataBytes, "metadata");
  to.setFrame(write(from.frame));
  if (from.system) to.getSystem().setGiven(text(*from.system));
  to.setDisplayName(text(from.display_name));
  to.setMetadataJson(text(from.metadata_json));
  to.setCreatedAtUnixMs(from.created_at_unix_ms);
  to.setExpiresAtUnixMs(from.expires_at_unix_ms);
  to.setIsAnonymous(from.is_anonymous);
  to.setTokenCount(from.token_count);
  to.setAttention(write(from.attention));
  to.setVersionOf(from.version_of.value);
  to.setLandmarks(from.landmarks);
}

protocol::ContextDescription read(ContextDescription::Reader from) {
  protocol::ContextDescription description{.frame = read(from.getFrame()),
                                           .display_name = text(from.getDisplayName()),
                                           .metadata_json = text(from.getMetadataJson()),
                                           .created_at_unix_ms = from.getCreatedAtUnixMs(),
                                           .expires_at_unix_ms = from.getExpiresAtUnixMs(),
                                           .is_anonymous = from.getIsAnonymous(),
                                           .token_count = from.getTokenCount(),
                                           .attention = read(from.getAttention()),
                                           .landmarks = from.getLandmarks(),
                                           .version_of = {from.getVersionOf()}};
  if (from.getSystem().isGiven()) description.system = text(from.getSystem().getGiven());
  check_limit(description.metadata_json.size(), kMaxMetadataBytes, "metadata");
  return description;
}

void write(PlacementRun::Builder to, const protocol::PlacementRun& from) {
  to.setFirstLane(from.first_lane);
  to.setVolume(from.volume.value);
}

protocol::PlacementRun read(PlacementRun::Reader from) {
  return {.first_lane = from.getFirstLane(), .volume = {from.getVolume()}};
}

void write(ManifestRecord::Builder to, const protocol::ManifestRecord& from) {
  check_token_count(from.token_ids.size(), from.range);
  to.setObject(from.object.value);
  to.setParent(from.parent.value);
  to.setContext(from.context.value);
  to.setChunkIndex(from.chunk_index);
  to.setRangeBegin(from.range.begin);
  to.setRangeEnd(from.range.end);
  to.setStore(from.store.value);
  to.setVolume(from.volume.value);
  write_placement(to.initPlacement(count_of(from.placement)), from.placement);
  write(to.initParameters(), from.parameters);
  write(to.initDescription(), from.description);
  write_numbers<TokenId>(to.initTokenIds(count_of_tokens(from.token_ids, "token_ids")), from.token_ids);
  to.setBlockCount(from.block_count);
  to.setBlocksHash(from.blocks_hash);
  write_ids(to.initObjects(count_of(from.objects)), from.objects);
}

protocol::ManifestRecord read(ManifestRecord::Reader from) {
  protocol::ManifestRecord record{.object = {from.getObject()},
                                  .parent = {from.getParent()},
                                  .context = {from.getContext()},
                                  .chunk_index = from.getChunkIndex(),
                                  .range = {from.getRangeBegin(), from.getRangeEnd()},
                                  .store = {from.getStore()},
                                  .volume = {from.getVolume()},
                                  .placement = read_placement(from.getPlacement()),
                                  .parameters = read(from.getParameters()),
                                  .description = read(from.getDescription()),
                                  .token_ids = read_tokens(from.getTokenIds(), "token_ids"),
                                  .block_count = from.getBlockCount(),
                                  .blocks_hash = from.getBlocksHash(),
                                  .objects = read_ids<ObjectId>(from.getObjects())};
  check_token_count(record.token_ids.size(), record.range);
  return record;
}

void write(VolumeManifest::Builder to, const protocol::VolumeManifest& from) {
  to.setVolume(from.volume.value);
  to.setManifestHash(from.manifest_hash);
}

protocol::VolumeManifest read(VolumeManifest::Reader from) {
  return {.volume = {from.getVolume()}, .manifest_hash = from.getManifestHash()};
}

void write(ObjectRecord::Builder to, const protocol::ObjectRecord& from) {
  check_limit(from.manifests.size(), kLaneCount, "manifests");
  to.setObject(from.object.value);
  write_placement(to.initPlacement(count_of(from.placement)), from.placement);
  write_list(to.initManifests(count_of(from.manifests)), from.manifests);
}

protocol::ObjectRecord read(ObjectRecord::Reader from) {
  const auto manifests = from.getManifests();
  check_limit(manifests.size(), kLaneCount, "manifests");
  return {.object = {from.getObject()},
          .placement = read_placement(from.getPlacement()),
          .manifests = read_list(manifests)};
}

void write(ModelFacts::Builder to, const protocol::ModelFacts& from) {
  to.setName(text(from.name));
  to.setArchitecture(text(from.architecture));
  to.setChatTemplate(text(from.chat_template));
  to.setContextLength(from.context_length);
  to.setVocabulary(from.vocabulary);
  to.setLayers(from.layers);
  to.setParameterCount(from.parameter_count);
  to.setFileBytes(from.file_bytes);
  to.setKvBytesPerToken(from.kv.token_bytes);
  to.setSlidingKvBytesPerToken(from.kv.sliding_token_bytes);
  to.setSlidingWindow(from.kv.sliding_window);
  to.setTrainedLength(from.trained_length);
}

protocol::ModelFacts read(ModelFacts::Reader from) {
  return {.name = text(from.getName()),
          .architecture = text(from.getArchitecture()),
          .chat_template = text(from.getChatTemplate()),
          .context_length = from.getContextLength(),
          .trained_length = from.getTrainedLength(),
          .vocabulary = from.getVocabulary(),
          .layers = from.getLayers(),
          .parameter_count = from.getParameterCount(),
          .file_bytes = from.getFileBytes(),
          .kv = {.token_bytes = from.getKvBytesPerToken(),
                 .sliding_token_bytes = from.getSlidingKvBytesPerToken(),
                 .sliding_window = from.getSlidingWindow()}};
}

void write(VolumeState::Builder to, const protocol::VolumeState& from) {
  to.setVolume(from.volume.value);
  to.setStore(from.store.value);
  to.setPath(text(from.path));
  to.setCatalogueSequence(from.catalogue_sequence);
  to.setBytesUsed(from.bytes_used);
  to.setBytesFree(from.bytes_free);
  to.setDisk(from.disk);
  to.setDiskBytesFree(from.disk_bytes_free);
  to.setIsSalvaged(from.is_salvaged);
}

protocol::VolumeState read(VolumeState::Reader from) {
  return {.volume = {from.getVolume()},
          .store = {from.getStore()},
          .path = text(from.getPath()),
          .catalogue_sequence = from.getCatalogueSequence(),
          .bytes_used = from.getBytesUsed(),
          .bytes_free = from.getBytesFree(),
          .disk = from.getDisk(),
          .disk_bytes_free = from.getDiskBytesFree(),
          .is_salvaged = from.getIsSalvaged()};
}

void write(MachineRate::Builder to, const protocol::MachineRate& from) {
  to.setName(text(from.name));
  to.setThreads(from.threads);
  to.setPerSecond(from.per_second);
}

protocol::MachineRate read(MachineRate::Reader from) {
  return {.name = text(from.getName()), .threads = from.getThreads(), .per_second = from.getPerSecond()};
}

void write(VolumeFailure::Builder to, const protocol::VolumeFailure& from) {
  to.setPath(text(from.path));
  to.setReason(text(from.reason));
}

protocol::VolumeFailure read(VolumeFailure::Reader from) {
  return {.path = text(from.getPath()), .reason = text(from.getReason())};
}

void write(WorkerStats::Builder to, const protocol::WorkerStats& from) {
  to.setHostBytesUsed(from.host_bytes_used);
  to.setHostBytesBudget(from.host_bytes_budget);
  to.setDiskBytesUsed(from.disk_bytes_used);
  to.setBlocksLoaded(from.blocks_loaded);
  to.setBlocksVerified(from.blocks_verified);
  to.setBlocksCorrupt(from.blocks_corrupt);
  to.setBlocksEvicted(from.blocks_evicted);
  to.setTokensPrefilled(from.tokens_prefilled);
  to.setTokensDecoded(from.tokens_decoded);
  to.setTokensRecomputed(from.tokens_recomputed);
  to.setSteps(from.steps);
  to.setStepSeconds(from.step_seconds);
  to.setPrefetchedUsed(from.prefetched_used);
  to.setPrefetchedUnused(from.prefetched_unused);
}

protocol::WorkerStats read(WorkerStats::Reader from) {
  return {.host_bytes_used = from.getHostBytesUsed(),
          .host_bytes_budget = from.getHostBytesBudget(),
          .disk_bytes_used = from.getDiskBytesUsed(),
          .blocks_loaded = from.getBlocksLoaded(),
          .blocks_verified = from.getBlocksVerified(),
          .blocks_corrupt = from.getBlocksCorrupt(),
          .blocks_evicted = from.getBlocksEvicted(),
          .prefetched_used = from.getPrefetchedUsed(),
          .prefetched_unused = from.getPrefetchedUnused(),
          .tokens_prefilled = from.getTokensPrefilled(),
          .tokens_decoded = from.getTokensDecoded(),
          .tokens_recomputed = from.getTokensRecomputed(),
          .steps = from.getSteps(),
          .step_seconds = from.getStepSeconds()};
}

}  // namespace rotulus::protocol::schema
