#include "tests/coordinator/fake_worker_group.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <condition_variable>
#include <deque>
#include <thread>
#include <utility>

#include "protocol/codec.h"
#include "protocol/framing.h"
#include "protocol/limits.h"
#include "protocol/proof.h"

namespace rotulus::coordinator::testing {

namespace asio = boost::asio;
using asio::ip::tcp;
using protocol::ContextId;
using protocol::ErrorCode;
using protocol::Message;
using protocol::ObjectId;
using protocol::TokenId;
using protocol::VolumeId;

namespace {

constexpr std::uint64_t kStepTokens = 512;

struct FakeContext {
  protocol::OpenContext opened;
  std::vector<TokenId> ids;
};

struct FakeAnswer {
  protocol::StartAnswer started;
  std::vector<TokenId> tokens;
  bool is_question_told = false;
};

struct FakeChunk {
  protocol::ComputeChunk order;
  std::uint64_t position = 0;
};

protocol::AttentionReport report_of(const protocol::StartAnswer& started, const std::vector<TokenId>& context) {
  const protocol::AttentionSpec& asked = started.attention;
  protocol::AttentionReport report{.mode = asked.mode, .context_tokens = context.size()};
  report.attended_tokens = context.size();
  if (asked.mode == protocol::AttentionMode::retrieval) {
    report.attended_tokens = std::min<std::uint64_t>(context.size(), asked.budget_tokens + asked.local_tokens + 128);
    report.second_pass = asked.second_pass;
  }
  if (!asked.wants_provenance) return report;
  for (auto found = context.begin(); report.evidence.size() < protocol::kMaxEvidence; ++found) {
    found = std::search(found, context.end(), started.question.begin(), started.question.end());
    if (found == context.end()) break;
    const auto begin = static_cast<std::uint64_t>(found - context.begin());
    const std::uint64_t end = protocol::ceil_div(begin + started.question.size(), protocol::kPageTokens);
    const protocol::TokenRange pages{begin / protocol::kPageTokens * protocol::kPageTokens,
                                     end * protocol::kPageTokens};
    report.evidence.push_back({{pages.begin, std::min<std::uint64_t>(pages.end, context.size())},
                               1.0f / static_cast<float>(report.evidence.size() + 2)});
  }
  return report;
}

std::uint64_t hash_of(const protocol::ManifestRecord& manifest) {
  const auto bytes = protocol::encode_record(manifest);
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace

TokenId fake_next_token(const std::vector<TokenId>& before) {
  return static_cast<TokenId>(XXH3_64bits(before.data(), before.size() * sizeof(TokenId)) % 256);
}

// Longer than a part of a slice may be.
std::string fake_slice(const std::vector<TokenId>& ids, std::uint64_t stripe, std::uint32_t layer) {
  std::string bytes = fmt::format("{} {} {}", XXH3_64bits(ids.data(), ids.size() * sizeof(TokenId)), stripe, layer);
  bytes.resize(protocol::kSlicePartBytes + 100, '.');
  return bytes;
}

struct FakeWorkerGroup::State {
  State(FakeDisk& disk_of_all, FakeGroupOptions what, FakeGroupOrders given)
      : disk(disk_of_all), options(std::move(what)), orders(std::move(given)) {
    for (std::uint32_t rank = 0; rank < options.size; ++rank) sockets.push_back(std::make_unique<tcp::socket>(io));
  }

  FakeDisk& disk;
  const FakeGroupOptions options;
  asio::io_context io;
  std::vector<std::unique_ptr<tcp::socket>> sockets;
  std::vector<std::thread> threads;
  std::atomic<bool> is_killed = false;

  mutable std::mutex mutex;  // of all below
  std::condition_variable has_work;
  FakeGroupOrders orders;
  FakeGroupCounts counts;
  protocol::Welcome welcome;
  std::map<ContextId, FakeContext> contexts;
  std::optional<FakeChunk> chunk;
  std::map<protocol::RequestId, FakeAnswer> answers;
  std::map<VolumeId, std::vector<protocol::ReconcileVolume::Live>> live;

  void send(std::uint32_t rank, const Message& message) {
    const auto frame = protocol::make_frame(message, welcome.epoch);
    boost::system::error_code ignored;  // a killed connection
    asio::write(*sockets[rank], asio::buffer(frame), ignored);
  }

  // nullopt: the connection is gone.
  std::optional<Message> receive(std::uint32_t rank) {
    std::array<std::byte, protocol::kFrameHeaderBytes> header;
    boost::system::error_code error;
    asio::read(*sockets[rank], asio::buffer(header), error);
    if (error) return std::nullopt;
    std::vector<std::byte> payload(protocol::parse_frame_header(header).payload_bytes);
    asio::read(*sockets[rank], asio::buffer(payload), error);
    if (error) return std::nullopt;
    return protocol::parse_frame(header, payload);
  }

  std::optional<VolumeId> volume_of(std::uint32_t rank) const {
    return rank < options.volumes.size() ? std::optional(options.volumes[rank]) : std::nullopt;
  }

  std::vector<protocol::VolumeState> volume_states(std::uint32_t rank) {
    const auto volume = volume_of(rank);
    if (!volume) return {};
    const std::lock_guard lock(disk.mutex);
    const FakeVolume& held = disk.volumes[*volume];
    return {{.volume = *volume,
             .store = held.store,
             .path = fmt::format("/fake/{}", *volume),
             .catalogue_sequence = held.sequence,
             .bytes_free = held.bytes_free,
             .disk = held.disk ? held.disk : volume->value,
             .disk_bytes_free = held.bytes_free,
             .is_salvaged = held.is_salvaged}};
  }

  bool say_hello(std::uint32_t rank);
  void serve(std::uint32_t rank);
  void handle(std::uint32_t rank, const Message& message);
  void reconcile(std::uint32_t rank, const protocol::ReconcileVolume& piece);
  void list(std::uint32_t rank, VolumeId volume);
  void verify(std::uint32_t rank, const protocol::VerifyObject& request);
  void erase(const protocol::EraseObjects& erased);
  bool handle_slices(std::uint32_t rank, const Message& message);
  void send_in_parts(protocol::EncodedText whole);
  bool handle_text(const Message& message);
  void handle_work(const Message& message);
  void work();
  bool step_chunk();
  void commit_chunk(FakeContext& context);
  protocol::ObjectRecord write_manifest(protocol::ManifestRecord manifest, std::uint64_t sequence);
  void tell_question(const protocol::StartAnswer& started);
  bool step_answer(protocol::RequestId request, FakeAnswer& answer);
  std::optional<std::vector<TokenId>> read_context(ContextId id);
};

bool FakeWorkerGroup::State::say_hello(std::uint32_t rank) {
  const auto challenge = receive(rank);
  if (!challenge) return false;
  protocol::Hello hello{.group = options.group, .rank = rank, .size = options.size};
  hello.host = "fakehost";
  hello.model = options.model;
  hello.parameters = options.parameters;
  hello.volumes = volume_states(rank);
  if (options.before_hello) options.before_hello(hello);
  if (!options.secret.empty()) {
    hello.proof = protocol::make_proof(options.secret, std::get<protocol::Challenge>(*challenge), hello);
  }
  {
    const std::lock_guard lock(mutex);
    const auto epoch = std::exchange(welcome.epoch, {});  // said before the welcome, whoever was welcomed first
    send(rank, hello);
    welcome.epoch = epoch;
  }
  const auto answer = receive(rank);
  if (!answer) return false;
  const std::lock_guard lock(mutex);
  if (const auto* refusal = std::get_if<protocol::Refusal>(&*answer)) {
    counts.refusals.push_back(*refusal);
    return false;
  }
  welcome = std::get<protocol::Welcome>(*answer);
  return true;
}

void FakeWorkerGroup::State::serve(std::uint32_t rank) {
  boost::system::error_code error;
  sockets[rank]->connect({asio::ip::make_address("127.0.0.1"), options.port}, error);
  if (error || !say_hello(rank)) return;
  while (!is_killed) {
    {
      std::unique_lock lock(mutex);
      has_work.wait(lock, [&] { return !orders.is_deaf || is_killed; });
    }
    const auto message = receive(rank);
    if (!message) return;
    if (std::holds_alternative<protocol::Drain>(*message)) break;
    const std::lock_guard lock(mutex);
    handle(rank, *message);
    has_work.notify_all();
  }
  const std::lock_guard lock(mutex);
  counts.is_drained = !is_killed;
  sockets[rank]->close(error);
}

void FakeWorkerGroup::State::handle(std::uint32_t rank, const Message& message) {
  if (const auto* ping = std::get_if<protocol::Ping>(&message)) {
    ++counts.pings;
    protocol::Pong pong{.sequence = ping->sequence, .volumes = volume_states(rank)};
    if (rank == 0) {
      pong.stats.tokens_prefilled = counts.tokens_computed;
      pong.stats.tokens_recomputed = counts.tokens_recomputed;
    }
    return send(rank, pong);
  }
  if (const auto* wake = std::get_if<protocol::Wake>(&message)) {
    counts.last_wake = wake->work;
    return;
  }
  if (const auto* piece = std::get_if<protocol::ReconcileVolume>(&message)) return reconcile(rank, *piece);
  if (const auto* request = std::get_if<protocol::ListManifests>(&message)) return list(rank, request->volume);
  if (const auto* erased = std::get_if<protocol::EraseObjects>(&message)) {
    if (rank == 0) erase(*erased);
    return;
  }
  if (const auto* request = std::get_if<protocol::VerifyObject>(&message)) return verify(rank, *request);
  if (!handle_slices(rank, message) && !handle_text(message)) handle_work(message);
}

// A slice is one block. What came of a slice that is not committed is forgotten when its object is erased.
bool FakeWorkerGroup::State::handle_slices(std::uint32_t rank, const Message& message) {
  const std::lock_guard lock(disk.mutex);
  if (const auto* request = std::get_if<protocol::ReadSlice>(&message)) {
    const FakeVolume::Stored& stored = disk.volumes[request->volume].objects.at(request->object);
    protocol::SliceRead reply{.call = request->call, .bytes = {}, .block_count = 1};
    reply.object_block_count = static_cast<std::uint32_t>(stored.slices.size()) + (stored.is_damaged ? 1 : 0);
    std::string_view rest = stored.slices.at({request->stripe, request->layer});
    do {
      reply.bytes = rest.substr(0, protocol::kSlicePartBytes);
      rest.remove_prefix(reply.bytes.size());
      reply.is_last = rest.empty();
      send(rank, reply);
    } while (!rest.empty());
  } else if (const auto* part = std::get_if<protocol::WriteSlice>(&message)) {
    CHECK(volume_of(rank) == part->volume, rank);
    disk.volumes[part->volume].objects[part->object].slices[{part->stripe, part->layer}] += part->bytes;
    ++counts.slices_written;
    if (part->is_last) send(rank, protocol::SliceWritten{.call = part->call, .block_count = 1});
  } else if (const auto* order = std::get_if<protocol::CommitObject>(&message)) {
    FakeVolume& volume = disk.volumes[order->record.volume];
    FakeVolume::Stored& stored = volume.objects[order->record.object];
    stored.manifest = order->record;
    stored.hash = hash_of(order->record);
    volume.sequence = std::max(volume.sequence, order->catalogue_sequence);
    send(rank, protocol::SliceWritten{.call = order->call, .manifest_hash = stored.hash});
  } else {
    return false;
  }
  return true;
}

// An object is one block, and its manifest.
void FakeWorkerGroup::State::verify(std::uint32_t rank, const protocol::VerifyObject& request) {
  protocol::ObjectVerified reply{.volume = request.volume, .object = request.object};
  if (volume_of(rank) != request.volume) reply.failure = "the volume is not held by this rank";
  {
    const std::lock_guard lock(disk.mutex);
    const auto& objects = disk.volumes[request.volume].objects;
    const auto found = objects.find(request.object);
    const bool is_whole =
        found != objects.end() && !found->second.is_damaged && found->second.hash == request.manifest_hash;
    (is_whole ? reply.blocks_verified : reply.blocks_damaged) = 1;
  }
  send(rank, reply);
}

void FakeWorkerGroup::State::reconcile(std::uint32_t rank, const protocol::ReconcileVolume& piece) {
  auto& listed = live[piece.volume];
  listed.insert(listed.end(), piece.live.begin(), piece.live.end());
  if (!piece.is_last) return;
  protocol::VolumeReconciled reply{.volume = piece.volume};
  {
    const std::lock_guard lock(disk.mutex);
    FakeVolume& volume = disk.volumes[piece.volume];
    if (volume.store && volume.store != piece.store) {
      reply.refused = fmt::format("it belongs to store {}", volume.store);
    } else if (volume.sequence > piece.catalogue_sequence) {
      reply.refused = fmt::format("it saw catalogue sequence {}", volume.sequence);
    } else {
      volume.store = piece.store;
      volume.sequence = piece.catalogue_sequence;
      std::map<ObjectId, FakeVolume::Stored> kept;
      for (const auto& object : listed) {
        const auto found = volume.objects.find(object.object);
        if (found == volume.objects.end() || found->second.hash != object.manifest_hash) {
          reply.damaged.push_back(object.object);
        } else {
          kept.insert(*found);
        }
      }
      reply.collected_objects = volume.objects.size() - kept.size();
      volume.objects = std::move(kept);
    }
  }
  send(rank, reply);
}

void FakeWorkerGroup::State::list(std::uint32_t rank, VolumeId volume) {
  protocol::ManifestPage page{.volume = volume};
  std::vector<protocol::ManifestPage> pages;
  {
    const std::lock_guard lock(disk.mutex);
    for (const auto& [object, stored] : disk.volumes[volume].objects) {
      page.records = {stored.manifest};
      page.hashes = {stored.hash};
      pages.push_back(page);
    }
  }
  for (const auto& one : pages) send(rank, one);
  send(rank, protocol::ManifestPage{.volume = volume, .is_last = true});
}

void FakeWorkerGroup::State::erase(const protocol::EraseObjects& erased) {
  const std::lock_guard lock(disk.mutex);
  for (const VolumeId volume : options.volumes) {
    FakeVolume& held = disk.volumes[volume];
    held.sequence = std::max(held.sequence, erased.catalogue_sequence);
    for (const ObjectId object : erased.objects) counts.objects_erased += held.objects.erase(object);
  }
}

void FakeWorkerGroup::State::send_in_parts(protocol::EncodedText whole) {
  std::vector<TokenId> rest = std::move(whole.ids);
  do {
    const auto count = static_cast<std::ptrdiff_t>(std::min(rest.size(), protocol::kTokenIdsPerMessage));
    whole.ids.assign(rest.begin(), rest.begin() + count);
    rest.erase(rest.begin(), rest.begin() + count);
    whole.is_last = rest.empty();
    send(0, whole);
  } while (!rest.empty());
}

bool FakeWorkerGroup::State::handle_text(const Message& message) {
  const auto ids_of = [](const std::string& bytes) {
    std::vector<TokenId> ids;
    for (const char byte : bytes) ids.push_back(static_cast<unsigned char>(byte));
    return ids;
  };
  if (const auto* piece = std::get_if<protocol::TokenizeDocument>(&message)) {
    counts.bytes_tokenized += piece->bytes.size();
    protocol::EncodedText reply{.call = piece->call, .ids = ids_of(piece->bytes)};
    if (piece->is_first && piece->frame == protocol::Frame::chat) reply.ids.insert(reply.ids.begin(), {1, 2});
    send_in_parts(reply);
  } else if (const auto* encode = std::get_if<protocol::EncodeText>(&message)) {
    std::string text = encode->text;
    for (const protocol::ChatMessage& said : encode->messages) text += said.content;
    send_in_parts({.call = encode->call, .ids = ids_of(text)});
  } else if (const auto* decode = std::get_if<protocol::DecodeTokens>(&message)) {
    protocol::DecodedText reply{.call = decode->call};
    for (const TokenId id : decode->ids) reply.pieces.push_back(std::string(1, static_cast<char>(id)));
    for (const std::string& bytes : reply.pieces) reply.text += bytes;
    send(0, reply);
  } else if (const auto* render = std::get_if<protocol::RenderTemplate>(&message)) {
    protocol::DecodedText reply{.call = render->call};
    for (const protocol::ChatMessage& said : render->messages) reply.text += said.role + ":" + said.content + "\n";
    send(0, reply);
  } else {
    return false;
  }
  return true;
}

void FakeWorkerGroup::State::handle_work(const Message& message) {
  ++counts.work_received;
  if (const auto* open = std::get_if<protocol::OpenContext>(&message)) {
    counts.last_opened = *open;
    contexts[open->context] = {*open, std::vector<TokenId>(open->description.token_count)};
  } else if (const auto* tokens = std::get_if<protocol::ContextTokens>(&message)) {
    auto& ids = contexts.at(tokens->context).ids;
    std::copy(tokens->ids.begin(), tokens->ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(tokens->offset));
  } else if (const auto* close = std::get_if<protocol::CloseContext>(&message)) {
    contexts.erase(close->context);
    if (chunk && chunk->order.context == close->context) chunk.reset();
    std::erase_if(answers, [&](const auto& item) { return item.second.started.context == close->context; });
  } else if (const auto* compute = std::get_if<protocol::ComputeChunk>(&message)) {
    ++counts.chunks_asked;
    counts.compute_order.push_back(compute->context);
    if (orders.fail_chunks) {
      return send(0, protocol::ComputeFailed{compute->context, compute->chunk_index, *orders.fail_chunks, "ordered"});
    }
    chunk = FakeChunk{*compute, std::uint64_t{compute->chunk_index} * protocol::kChunkTokens};
  } else if (const auto* cancel = std::get_if<protocol::CancelCompute>(&message)) {
    if (chunk && chunk->order.context == cancel->context) chunk.reset();
  } else if (const auto* listing = std::get_if<protocol::CommitListing>(&message)) {
    ++counts.listings_asked;
    protocol::ListingCommitted reply{.context = listing->record.context};
    reply.record.object = listing->record.object;
    reply.error = orders.fail_listings;
    if (!reply.error) reply.record = write_manifest(listing->record, listing->catalogue_sequence);
    send(0, reply);
  } else if (const auto* start = std::get_if<protocol::StartAnswer>(&message)) {
    ++counts.answers_started;
    counts.last_started = *start;
    answers[start->request] = {.started = *start, .tokens = start->forced};
  } else if (const auto* cancelled = std::get_if<protocol::CancelAnswer>(&message)) {
    counts.answers_cancelled += answers.erase(cancelled->request);
  } else {
    CHECK(false, message.index());
  }
}

// The engine: one step of everything that may go on, then again.
void FakeWorkerGroup::State::work() {
  std::unique_lock lock(mutex);
  while (!is_killed) {
    bool has_moved = step_chunk();
    std::vector<protocol::RequestId> running;
    for (const auto& [request, answer] : answers) running.push_back(request);
    for (const auto request : running) {
      const auto found = answers.find(request);
      if (found != answers.end()) has_moved = step_answer(request, found->second) || has_moved;
    }
    if (!has_moved) has_work.wait(lock);
  }
}

bool FakeWorkerGroup::State::step_chunk() {
  if (!chunk || (orders.stall_computing_at && chunk->position >= *orders.stall_computing_at)) return false;
  FakeContext& context = contexts.at(chunk->order.context);
  const auto range = protocol::chunk_range(chunk->order.chunk_index, context.ids.size());
  const std::uint64_t begin = chunk->position;
  chunk->position = std::min(range.end, begin + kStepTokens);
  counts.tokens_computed += chunk->position - begin;
  const std::uint64_t before = std::clamp(chunk->order.computed_before, begin, chunk->position);
  counts.tokens_recomputed += before - begin;
  send(0, protocol::ChunkProgress{chunk->order.context, chunk->position});
  if (chunk->position == range.end) commit_chunk(context);
  return true;
}

void FakeWorkerGroup::State::commit_chunk(FakeContext& context) {
  const protocol::ComputeChunk order = chunk->order;
  chunk.reset();
  protocol::ManifestRecord manifest{.object = order.object, .context = order.context, .chunk_index = order.chunk_index};
  manifest.range = protocol::chunk_range(order.chunk_index, context.ids.size());
  manifest.parameters = context.opened.parameters;
  manifest.description = context.opened.description;
  manifest.token_ids.assign(context.ids.begin() + static_cast<std::ptrdiff_t>(manifest.range.begin),
                            context.ids.begin() + static_cast<std::ptrdiff_t>(manifest.range.end));
  const protocol::ObjectRecord record = write_manifest(std::move(manifest), order.catalogue_sequence);
  context.opened.chunks[order.chunk_index] = record;
  send(0, protocol::ChunkCommitted{order.context, order.chunk_index, record});
}

protocol::ObjectRecord FakeWorkerGroup::State::write_manifest(protocol::ManifestRecord manifest,
                                                              std::uint64_t sequence) {
  manifest.store = welcome.store;
  const auto ranks = static_cast<std::uint32_t>(options.volumes.size());
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    manifest.placement.push_back({protocol::lanes_of_rank(rank, ranks).begin, options.volumes[rank]});
  }
  protocol::ObjectRecord record{.object = manifest.object, .placement = manifest.placement};
  const std::lock_guard lock(disk.mutex);
  for (const VolumeId volume : options.volumes) {
    manifest.volume = volume;
    const std::uint64_t hash = hash_of(manifest);
    FakeVolume::Stored& stored = disk.volumes[volume].objects[manifest.object] = {.manifest = manifest, .hash = hash};
    const protocol::TokenRange range = manifest.range;
    for (std::uint64_t stripe = range.begin / protocol::kStripeTokens;
         stripe < protocol::ceil_div(range.end, protocol::kStripeTokens); ++stripe) {
      if (protocol::volume_of_lane(manifest.placement, protocol::lane_of_stripe(stripe)) != volume) continue;
      for (std::uint32_t layer = 0; layer < options.model.layers; ++layer) {
        stored.slices[{stripe, layer}] = fake_slice(manifest.token_ids, stripe, layer);
      }
    }
    disk.volumes[volume].sequence = std::max(disk.volumes[volume].sequence, sequence);
    record.manifests.push_back({volume, hash});
  }
  return record;
}

// nullopt: a chunk of it is damaged, which is reported; what ran on the context is dropped.
std::optional<std::vector<TokenId>> FakeWorkerGroup::State::read_context(ContextId id) {
  std::vector<TokenId> ids;
  if (!id) return ids;
  const auto& chunks = contexts.at(id).opened.chunks;
  for (std::uint32_t index = 0; index < chunks.size(); ++index) {
    const std::lock_guard lock(disk.mutex);
    const auto& objects = disk.volumes[options.volumes[0]].objects;
    const auto found = objects.find(chunks[index].object);
    if (found == objects.end() || found->second.is_damaged) {
      send(0, protocol::ChunkDamaged{id, index, chunks[index].object, "its checksum does not match"});
      return std::nullopt;
    }
    const auto& part = found->second.manifest.token_ids;
    ids.insert(ids.end(), part.begin(), part.end());
  }
  return ids;
}

// Each token a tenth less likely than the one before it.
void FakeWorkerGroup::State::tell_question(const protocol::StartAnswer& started) {
  for (std::uint32_t index = 0; index < started.question.size(); ++index) {
    protocol::AnswerToken said{.request = started.request, .index = index, .token = started.question[index]};
    said.bytes = said.text = std::string(1, static_cast<char>(said.token));
    said.logprob = -0.1f * static_cast<float>(index);
    said.is_of_question = true;
    send(0, said);
  }
}

bool FakeWorkerGroup::State::step_answer(protocol::RequestId request, FakeAnswer& answer) {
  if (answer.started.scores_question && !std::exchange(answer.is_question_told, true)) tell_question(answer.started);
  const auto index = static_cast<std::uint32_t>(answer.tokens.size());
  if (orders.stall_answers_at && index >= *orders.stall_answers_at) return false;
  auto before = read_context(answer.started.context);
  if (!before) {
    const ContextId damaged = answer.started.context;
    std::erase_if(answers, [&](const auto& item) { return item.second.started.context == damaged; });
    return true;
  }
  if (index == answer.started.max_tokens) {
    protocol::AnswerFinished finished{.request = request, .reason = protocol::FinishReason::length};
    finished.completion_tokens = index;
    finished.attention = report_of(answer.started, *before);
    send(0, finished);
    answers.erase(request);
    return true;
  }
  before->insert(before->end(), answer.started.question.begin(), answer.started.question.end());
  before->insert(before->end(), answer.tokens.begin(), answer.tokens.end());
  const TokenId token = fake_next_token(*before);
  answer.tokens.push_back(token);
  protocol::AnswerToken reported{.request = request, .index = index, .token = token};
  reported.bytes = reported.text = std::string(1, static_cast<char>(token));
  send(0, reported);
  return true;
}

FakeWorkerGroup::FakeWorkerGroup(FakeDisk& disk, FakeGroupOptions options, FakeGroupOrders orders)
    : state_(std::make_shared<State>(disk, std::move(options), std::move(orders))) {
  for (std::uint32_t rank = 0; rank < std::min(state_->options.size, state_->options.ranks_that_come); ++rank) {
    state_->threads.emplace_back([state = state_, rank] { state->serve(rank); });
  }
  state_->threads.emplace_back([state = state_] { state->work(); });
}

FakeWorkerGroup::~FakeWorkerGroup() {
  kill();
}

void FakeWorkerGroup::kill() {
  if (state_->threads.empty()) return;
  state_->is_killed = true;
  for (auto& socket : state_->sockets) {
    boost::system::error_code ignored;
    socket->shutdown(tcp::socket::shutdown_both, ignored);
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->has_work.notify_all();
  }
  for (std::thread& thread : state_->threads) thread.join();
  state_->threads.clear();
  for (auto& socket : state_->sockets) {
    boost::system::error_code ignored;
    socket->close(ignored);
  }
}

void FakeWorkerGroup::order(FakeGroupOrders orders) {
  const std::lock_guard lock(state_->mutex);
  state_->orders = std::move(orders);
  state_->has_work.notify_all();
}

FakeGroupCounts FakeWorkerGroup::counts() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counts;
}

}  // namespace rotulus::coordinator::testing
