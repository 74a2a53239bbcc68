#include "coordinator/context_export.h"

#include <map>
#include <utility>

#include "coordinator/catalogue_records.h"
#include "coordinator/context_file.h"
#include "protocol/codec.h"
#include "protocol/limits.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;
using protocol::TokenId;

namespace {

using Done = std::function<void(std::optional<Error>, std::string)>;

std::string_view as_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Run : std::enable_shared_from_this<Run> {
  enum class Stage : std::uint8_t { opening, document, tokens, slices, chunk_end, end, over };

  Run(EventLoop& event_loop, Catalogue& store, SliceCalls& calls, ExportedContext context)
      : loop(event_loop), catalogue(store), slices(calls), exported(std::move(context)) {}

  EventLoop& loop;
  Catalogue& catalogue;
  SliceCalls& slices;
  const ExportedContext exported;
  Stage stage = Stage::opening;
  std::uint32_t records = 0;
  std::uint64_t document_bytes_read = 0;
  // Of the chunk at hand.
  std::uint32_t chunk = 0;
  std::uint64_t stripe = 0;
  std::uint32_t layer = 0;
  std::uint32_t blocks_read = 0;
  std::map<protocol::VolumeId, std::uint32_t> blocks_written;  // as its manifest records say

  const ContextRecord& record() const { return exported.record; }
  protocol::TokenRange range() const { return protocol::chunk_range(chunk, record().description.token_count); }

  void next(const Done& done);
  void read_document(const Done& done);
  void read_tokens(const Done& done);
  void read_slice(const Done& done);
  void on_slice(const std::optional<Error>& error, const protocol::SliceRead& slice, protocol::VolumeId volume,
                const Done& done);
  void end_chunk(const Done& done);
  void give(const Done& done, FileRecord kind, std::string_view payload) {
    done(std::nullopt, context_file_record(kind, records++, payload));
  }
  Error damage(const std::string& why) const;
};

void Run::next(const Done& done) {
  if (stage == Stage::document && (!exported.document || document_bytes_read == exported.document->bytes)) {
    stage = Stage::tokens;
  }
  switch (stage) {
    case Stage::opening: {
      stage = Stage::document;
      const auto context = protocol::encode_record(record().parameters, record().description);
      return done(std::nullopt,
                  context_file_opening() + context_file_record(FileRecord::context, records++, as_text(context)));
    }
    case Stage::document:
      return read_document(done);
    case Stage::tokens:
      return read_tokens(done);
    case Stage::slices:
      return read_slice(done);
    case Stage::chunk_end:
      return end_chunk(done);
    case Stage::end:
      stage = Stage::over;
      return give(done, FileRecord::end, "");
    case Stage::over:
      return done(std::nullopt, "");
  }
}

void Run::read_document(const Done& done) {
  auto piece = std::make_shared<std::string>();
  loop.in_background(
      [piece, document = *exported.document, offset = document_bytes_read] {
        *piece = read_spooled(document, offset, protocol::kTokenizePieceBytes);
      },
      [self = shared_from_this(), piece, done](const std::optional<Error>& error) {
        if (error) return done(error, {});
        self->document_bytes_read += piece->size();
        const bool is_text = self->exported.document->kind == SpoolKind::text;
        self->give(done, is_text ? FileRecord::text : FileRecord::ids, *piece);
      });
}

void Run::read_tokens(const Done& done) {
  catalogue.read_token_ids(
      record().id, range(),
      [self = shared_from_this(), done](const std::optional<Error>& error, const std::vector<TokenId>& ids) {
        if (error) return done(error, {});
        self->stage = Stage::slices;
        self->stripe = self->range().begin / protocol::kStripeTokens;
        self->layer = 0;
        self->blocks_read = 0;
        self->blocks_written.clear();
        self->give(done, FileRecord::tokens, records::token_ids_value(ids));
      });
}

void Run::read_slice(const Done& done) {
  const protocol::ObjectRecord& object = record().chunks[chunk];
  const protocol::VolumeId volume = protocol::volume_of_lane(object.placement, protocol::lane_of_stripe(stripe));
  protocol::ReadSlice request{.volume = volume, .object = object.object, .stripe = stripe, .layer = layer};
  for (const protocol::VolumeManifest& manifest : object.manifests) {
    if (manifest.volume == volume) request.manifest_hash = manifest.manifest_hash;
  }
  slices.read(request, [self = shared_from_this(), volume, done](const auto& error, const protocol::SliceRead& slice) {
    self->on_slice(error, slice, volume, done);
  });
}

void Run::on_slice(const std::optional<Error>& error, const protocol::SliceRead& slice, protocol::VolumeId volume,
                   const Done& done) {
  if (error && error->code() == ErrorCode::storage_corrupt) return done(damage(error->message()), {});
  if (error) return done(error, {});
  blocks_read += slice.block_count;
  blocks_written[volume] = slice.object_block_count;
  if (++layer == exported.layers) {
    layer = 0;
    if (++stripe * protocol::kStripeTokens >= range().end) stage = Stage::chunk_end;
  }
  give(done, FileRecord::slice, slice.bytes);
}

void Run::end_chunk(const Done& done) {
  std::uint32_t written = 0;
  for (const auto& [volume, blocks] : blocks_written) written += blocks;
  if (blocks_read != written) {
    return done(damage(fmt::format("{} of its {} blocks are as they were written", blocks_read, written)), {});
  }
  stage = ++chunk == record().chunks.size() ? Stage::end : Stage::tokens;
  give(done, FileRecord::chunk_end, {reinterpret_cast<const char*>(&blocks_read), sizeof(blocks_read)});
}

// It is computed again; what was exported of it is of no use.
Error Run::damage(const std::string& why) const {
  exported.on_damaged({record().id, chunk, record().chunks[chunk].object, "export: " + why});
  return Error(ErrorCode::storage_corrupt,
               fmt::format("chunk {} of {} is damaged ({}) and is being computed again; export it when it is completed",
                           chunk, protocol::to_string(record().id), why));
}

class Exporter final : public ContextExport {
 public:
  explicit Exporter(std::shared_ptr<Run> run) : run_(std::move(run)) {}
  void next(Done done) override { run_->next(done); }

 private:
  std::shared_ptr<Run> run_;  // shared with the call that is under way
};

}  // namespace

std::unique_ptr<ContextExport> make_export(EventLoop& loop, Catalogue& catalogue, SliceCalls& slices,
                                           ExportedContext exported) {
  return std::make_unique<Exporter>(std::make_shared<Run>(loop, catalogue, slices, std::move(exported)));
}

}  // namespace rotulus::coordinator
