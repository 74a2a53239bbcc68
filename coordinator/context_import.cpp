#include "coordinator/context_import.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "coordinator/catalogue_records.h"
#include "coordinator/context_file.h"
#include "protocol/codec.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;
using protocol::TokenId;
using protocol::VolumeId;

namespace {

using Done = std::function<void(std::optional<Error>)>;
using Record = ContextFileReader::Record;

constexpr std::uint64_t kMostTokens = 1ull << 40;  // far beyond any disk; what is computed of it fits 64 bits

[[noreturn]] void refuse(const Record& record, const std::string& why) {
  throw Error(ErrorCode::storage_corrupt, fmt::format("the file is damaged at byte {}: {}", record.offset, why));
}

struct Run : std::enable_shared_from_this<Run> {
  enum class Stage : std::uint8_t { context, document, slices, chunk_end, tokens, end, over };

  Run(ImportPlace where, ImportRequest what)
      : place(std::move(where)), request(std::move(what)), epoch(place.group.epoch()) {}

  const ImportPlace place;
  const ImportRequest request;
  const protocol::Epoch epoch;  // of the group whose volumes have the objects
  bool is_let_go = false;       // while a thread of the file pool still has a part of it
  ContextFileReader reader;
  Stage stage = Stage::context;
  ImportedContext imported;
  protocol::Placement placement;
  std::set<VolumeId> volumes;
  std::optional<SpoolWriter> document;
  SpoolKind document_kind = SpoolKind::text;
  PrefixChain prefixes;
  Done done;  // of the piece at hand
  // Of the chunk at hand.
  std::uint32_t chunk = 0;
  std::uint64_t stripe = 0;
  std::uint32_t layer = 0;
  std::uint32_t blocks_written = 0;
  std::vector<VolumeId> uncommitted;

  ContextRecord& record() { return imported.record; }
  protocol::TokenRange range() { return protocol::chunk_range(chunk, record().description.token_count); }
  protocol::ObjectRecord& object() { return record().chunks[chunk]; }

  void go_on();
  void handle(const Record& next);
  void take_context(const Record& next);
  void check_parameters() const;
  void take_document(const Record& next);
  void take_tokens(const Record& next);
  void take_slice(const Record& next);
  void end_chunk(const Record& next);
  void commit_next();
  void on_committed(VolumeId volume, const protocol::SliceWritten& written);
  void finish_document(const std::function<void(std::optional<Error>)>& then);
  void expect(const Record& next, bool is_in_place) const {
    if (!is_in_place) refuse(next, fmt::format("a record of kind {} has no place there", static_cast<int>(next.kind)));
  }
  void check_group() const;
  // What is asked of others comes back to an import that may have been let go.
  template <typename Handler>
  auto if_alive(Handler handler) {
    return [alive = weak_from_this(), handler](const std::optional<Error>& error, auto&&... values) {
      const auto self = alive.lock();
      if (!self || self->is_let_go) return;
      if (error) return std::exchange(self->done, {})(error);
      try {
        handler(*self, values...);
      } catch (const Error& thrown) {
        std::exchange(self->done, {})(thrown);
      }
    };
  }
};

void Run::go_on() {
  try {
    check_group();
    if (auto next = reader.next()) return handle(*next);
  } catch (const Error& error) {
    return std::exchange(done, {})(error);
  }
  std::exchange(done, {})(std::nullopt);
}

void Run::check_group() const {
  if (place.group.is_ready() && place.group.epoch() == epoch) return;
  throw Error(ErrorCode::unavailable, "the worker group was lost during the import; nothing is left of it, try again");
}

void Run::handle(const Record& next) {
  switch (next.kind) {
    case FileRecord::context:
      return take_context(next);
    case FileRecord::text:
    case FileRecord::ids:
      return take_document(next);
    case FileRecord::tokens:
      return take_tokens(next);
    case FileRecord::slice:
      return take_slice(next);
    case FileRecord::chunk_end:
      return end_chunk(next);
    case FileRecord::end:
      expect(next, stage == Stage::end);
      stage = Stage::over;
      return go_on();
  }
}

void Run::take_context(const Record& next) {
  expect(next, stage == Stage::context);
  const auto bytes = std::as_bytes(std::span(next.payload.data(), next.payload.size()));
  protocol::decode_context_record(bytes, record().parameters, record().description);
  protocol::ContextDescription& description = record().description;
  if (description.token_count == 0 || description.token_count > kMostTokens) {
    refuse(next, fmt::format("a context of {} tokens", description.token_count));
  }
  check_parameters();
  if (request.display_name) description.display_name = *request.display_name;
  description.created_at_unix_ms = place.loop.unix_ms();
  description.expires_at_unix_ms = 0;
  description.version_of = {};
  description.is_anonymous = false;
  request.check(description);
  if (const auto full = check_disk({}, description.token_count, record().parameters.retrieval, place.capacity)) {
    throw *full;
  }
  placement = place.group.placement();
  if (placement.empty()) throw Error(ErrorCode::unavailable, "a rank has no volume open that could hold its part");
  for (const protocol::PlacementRun& run : placement) volumes.insert(run.volume);
  const auto id = place.catalogue.next_context();
  if (!id) throw Error(ErrorCode::storage_full, "the catalogue cannot be written: the disk is full");
  record().id = *id;
  record().chunks.resize(protocol::chunk_count(description.token_count));
  stage = Stage::document;
  go_on();
}

// Stricter than for a context that was computed here: what is taken in must answer with the bytes it answered with.
void Run::check_parameters() const {
  const protocol::ContextParameters& running = place.group.parameters();
  const protocol::ContextParameters& stored = imported.record.parameters;
  auto field = protocol::find_conflict(stored, running);
  if (!field && stored.numerics_id != running.numerics_id) field = "numerics_id";
  if (!field) return;
  const bool is_numerics = *field == "numerics_id";
  throw Error(
      ErrorCode::conflict,
      fmt::format("the context was computed with another {} than the workers here run with{}; start them as "
                  "those were, or submit the document itself",
                  *field, is_numerics ? fmt::format(" ({}, not {})", stored.numerics_id, running.numerics_id) : ""),
      *field);
}

void Run::take_document(const Record& next) {
  expect(next, stage == Stage::document);
  const SpoolKind kind = next.kind == FileRecord::text ? SpoolKind::text : SpoolKind::token_ids;
  expect(next, !document || kind == document_kind);
  document_kind = kind;
  if (!document) document.emplace(place.spool_directory, kind);
  place.loop.in_background([self = shared_from_this(), bytes = next.payload] { self->document->append(bytes); },
                           if_alive([](Run& self) { self.go_on(); }));
}

void Run::take_tokens(const Record& next) {
  expect(next, stage == Stage::document || stage == Stage::tokens);
  expect(next, next.payload.size() == range().count() * sizeof(TokenId));
  const std::vector<TokenId> found = records::parse_token_ids(next.payload);
  const std::uint32_t vocabulary = place.group.model().vocabulary;
  expect(next, std::all_of(found.begin(), found.end(), [&](TokenId id) { return id < vocabulary; }));
  imported.ids.insert(imported.ids.end(), found.begin(), found.end());
  prefixes.append(found);
  const auto fresh = place.catalogue.next_object();
  if (!fresh) throw Error(ErrorCode::storage_full, "the catalogue cannot be written: the disk is full");
  imported.objects.push_back(*fresh);
  object().object = *fresh;
  object().placement = placement;
  stripe = range().begin / protocol::kStripeTokens;
  layer = 0;
  blocks_written = 0;
  stage = Stage::slices;
  go_on();
}

void Run::take_slice(const Record& next) {
  expect(next, stage == Stage::slices);
  protocol::WriteSlice slice{.object = object().object, .stripe = stripe, .layer = layer, .bytes = next.payload};
  slice.volume = protocol::volume_of_lane(placement, protocol::lane_of_stripe(stripe));
  if (++layer == place.group.model().layers) {
    layer = 0;
    if (++stripe * protocol::kStripeTokens >= range().end) stage = Stage::chunk_end;
  }
  const auto on_written = if_alive([](Run& self, const protocol::SliceWritten& written) {
    self.blocks_written += written.block_count;
    self.go_on();
  });
  place.slices.write(std::move(slice),
                     [on_written, offset = next.offset](std::optional<Error> error, const protocol::SliceWritten& to) {
                       if (error && error->code() == ErrorCode::storage_corrupt) {
                         error = Error(error->code(), fmt::format("the file is damaged in the record at byte {}: {}",
                                                                  offset, error->message()));
                       }
                       on_written(error, to);
                     });
}

void Run::end_chunk(const Record& next) {
  std::uint32_t blocks = 0;
  expect(next, stage == Stage::chunk_end && next.payload.size() == sizeof(blocks));
  std::memcpy(&blocks, next.payload.data(), sizeof(blocks));
  if (blocks != blocks_written)
    refuse(next, fmt::format("chunk {} has {} of its {} blocks", chunk, blocks_written, blocks));
  uncommitted.assign(volumes.begin(), volumes.end());
  commit_next();
}

// On one volume after the other, with or without blocks of it, as when a chunk is computed.
void Run::commit_next() {
  if (uncommitted.empty()) {
    stage = ++chunk == record().chunks.size() ? Stage::end : Stage::tokens;
    return go_on();
  }
  const VolumeId volume = uncommitted.front();
  uncommitted.erase(uncommitted.begin());
  protocol::CommitObject order{.catalogue_sequence = place.catalogue.sequence()};
  order.record.object = object().object;
  if (chunk > 0) order.record.parent = record().chunks[chunk - 1].object;
  order.record.context = record().id;
  order.record.chunk_index = chunk;
  order.record.range = range();
  order.record.store = place.catalogue.store();
  order.record.volume = volume;
  order.record.placement = placement;
  order.record.parameters = record().parameters;
  order.record.description = record().description;
  const auto begin = imported.ids.begin();
  order.record.token_ids.assign(begin + static_cast<std::ptrdiff_t>(range().begin),
                                begin + static_cast<std::ptrdiff_t>(range().end));
  place.slices.commit(std::move(order), if_alive([volume](Run& self, const protocol::SliceWritten& written) {
                        self.object().manifests.push_back({volume, written.manifest_hash});
                        self.check_group();
                        self.commit_next();
                      }));
}

void Run::finish_document(const std::function<void(std::optional<Error>)>& then) {
  auto spooled = std::make_shared<SpooledDocument>();
  place.loop.in_background([self = shared_from_this(), spooled] { *spooled = self->document->finish(); },
                           [alive = weak_from_this(), spooled, then](const std::optional<Error>& error) {
                             const auto self = alive.lock();
                             if (!self || self->is_let_go) {  // it has a name by now
                               std::error_code ignored;
                               if (!error) std::filesystem::remove(spooled->path, ignored);
                               return;
                             }
                             if (error) return then(error);
                             spooled->path = spooled->path.filename();  // the store may be moved
                             self->record().source = *spooled;
                             self->record().source_bytes = spooled->bytes;
                             then(std::nullopt);
                           });
}

class Importer final : public ContextImport {
 public:
  explicit Importer(std::shared_ptr<Run> run) : run_(std::move(run)) {}
  ~Importer() override {
    if (!run_) return;
    run_->is_let_go = true;
    run_->place.abandon(run_->imported);
  }

  void take(std::string_view piece, Done done) override {
    run_->done = std::move(done);
    try {
      run_->reader.append(piece);
    } catch (const Error& error) {
      return std::exchange(run_->done, {})(error);
    }
    run_->go_on();
  }

  void finish(std::function<void(std::optional<Error>, ContextView)> done) override {
    try {
      run_->reader.finish();
      run_->check_group();
    } catch (const Error& error) {
      return done(error, {});
    }
    if (!run_->document) return adopt(done);
    run_->finish_document([this, done](const std::optional<Error>& error) {
      if (error) return done(error, {});
      adopt(done);
    });
  }

 private:
  void adopt(const std::function<void(std::optional<Error>, ContextView)>& done) {
    const std::shared_ptr<Run> run = std::move(run_);
    ContextRecord& record = run->record();
    record.status = ContextStatus::completed;
    record.prefix_keys = run->prefixes.keys(record.parameters);
    record.computed_before = record.description.token_count;
    run->place.adopt(std::move(run->imported), done);
  }

  std::shared_ptr<Run> run_;  // null once it is whole
};

}  // namespace

std::unique_ptr<ContextImport> make_import(ImportPlace place, ImportRequest request) {
  return std::make_unique<Importer>(std::make_shared<Run>(std::move(place), std::move(request)));
}

}  // namespace rotulus::coordinator
