#include "protocol/codec.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include <cstring>

#include "protocol/codec/parts.h"
#include "protocol/error.h"

namespace rotulus::protocol {
namespace {

// The deepest message, a page of manifests, follows four pointers from its root to the end.
constexpr int kNestingLimit = 16;

struct MessageWriter {
  schema::Message::Builder to;

  void operator()(const protocol::Challenge& from) { write(to.initChallenge(), from); }
  void operator()(const protocol::Hello& from) { write(to.initHello(), from); }
  void operator()(const protocol::Welcome& from) { write(to.initWelcome(), from); }
  void operator()(const protocol::Refusal& from) { write(to.initRefusal(), from); }
  void operator()(const protocol::Ping& from) { write(to.initPing(), from); }
  void operator()(const protocol::Pong& from) { write(to.initPong(), from); }
  void operator()(const protocol::Wake& from) { write(to.initWake(), from); }
  void operator()(const protocol::Drain& from) { write(to.initDrain(), from); }
  void operator()(const protocol::ReconcileVolume& from) { write(to.initReconcileVolume(), from); }
  void operator()(const protocol::VolumeReconciled& from) { write(to.initVolumeReconciled(), from); }
  void operator()(const protocol::ListManifests& from) { write(to.initListManifests(), from); }
  void operator()(const protocol::ManifestPage& from) { write(to.initManifestPage(), from); }
  void operator()(const protocol::EraseObjects& from) { write(to.initEraseObjects(), from); }
  void operator()(const protocol::TokenizeDocument& from) { write(to.initTokenizeDocument(), from); }
  void operator()(const protocol::EncodeText& from) { write(to.initEncodeText(), from); }
  void operator()(const protocol::EncodedText& from) { write(to.initEncodedText(), from); }
  void operator()(const protocol::DecodeTokens& from) { write(to.initDecodeTokens(), from); }
  void operator()(const protocol::RenderTemplate& from) { write(to.initRenderTemplate(), from); }
  void operator()(const protocol::DecodedText& from) { write(to.initDecodedText(), from); }
  void operator()(const protocol::OpenContext& from) { write(to.initOpenContext(), from); }
  void operator()(const protocol::ContextTokens& from) { write(to.initContextTokens(), from); }
  void operator()(const protocol::CloseContext& from) { write(to.initCloseContext(), from); }
  void operator()(const protocol::ComputeChunk& from) { write(to.initComputeChunk(), from); }
  void operator()(const protocol::CancelCompute& from) { write(to.initCancelCompute(), from); }
  void operator()(const protocol::ChunkProgress& from) { write(to.initChunkProgress(), from); }
  void operator()(const protocol::ChunkCommitted& from) { write(to.initChunkCommitted(), from); }
  void operator()(const protocol::ComputeFailed& from) { write(to.initComputeFailed(), from); }
  void operator()(const protocol::ChunkDamaged& from) { write(to.initChunkDamaged(), from); }
  void operator()(const protocol::StartAnswer& from) { write(to.initStartAnswer(), from); }
  void operator()(const protocol::CancelAnswer& from) { write(to.initCancelAnswer(), from); }
  void operator()(const protocol::AnswerToken& from) { write(to.initAnswerToken(), from); }
  void operator()(const protocol::AnswerFinished& from) { write(to.initAnswerFinished(), from); }
  void operator()(const protocol::AnswerFailed& from) { write(to.initAnswerFailed(), from); }
  void operator()(const protocol::VerifyObject& from) { write(to.initVerifyObject(), from); }
  void operator()(const protocol::ObjectVerified& from) { write(to.initObjectVerified(), from); }
  void operator()(const protocol::CommitListing& from) { write(to.initCommitListing(), from); }
  void operator()(const protocol::ListingCommitted& from) { write(to.initListingCommitted(), from); }
  void operator()(const protocol::ReadSlice& from) { write(to.initReadSlice(), from); }
  void operator()(const protocol::SliceRead& from) { write(to.initSliceRead(), from); }
  void operator()(const protocol::WriteSlice& from) { write(to.initWriteSlice(), from); }
  void operator()(const protocol::CommitObject& from) { write(to.initCommitObject(), from); }
  void operator()(const protocol::SliceWritten& from) { write(to.initSliceWritten(), from); }
};

Message read_message(schema::Message::Reader from) {
  switch (from.which()) {
    case schema::Message::CHALLENGE:
      return read(from.getChallenge());
    case schema::Message::HELLO:
      return read(from.getHello());
    case schema::Message::WELCOME:
      return read(from.getWelcome());
    case schema::Message::REFUSAL:
      return read(from.getRefusal());
    case schema::Message::PING:
      return read(from.getPing());
    case schema::Message::PONG:
      return read(from.getPong());
    case schema::Message::WAKE:
      return read(from.getWake());
    case schema::Message::DRAIN:
      return read(from.getDrain());
    case schema::Message::RECONCILE_VOLUME:
      return read(from.getReconcileVolume());
    case schema::Message::VOLUME_RECONCILED:
      return read(from.getVolumeReconciled());
    case schema::Message::LIST_MANIFESTS:
      return read(from.getListManifests());
    case schema::Message::MANIFEST_PAGE:
      return read(from.getManifestPage());
    case schema::Message::ERASE_OBJECTS:
      return read(from.getEraseObjects());
    case schema::Message::TOKENIZE_DOCUMENT:
      return read(from.getTokenizeDocument());
    case schema::Message::ENCODE_TEXT:
      return read(from.getEncodeText());
    case schema::Message::ENCODED_TEXT:
      return read(from.getEncodedText());
    case schema::Message::DECODE_TOKENS:
      return read(from.getDecodeTokens());
    case schema::Message::RENDER_TEMPLATE:
      return read(from.getRenderTemplate());
    case schema::Message::DECODED_TEXT:
      return read(from.getDecodedText());
    case schema::Message::OPEN_CONTEXT:
      return read(from.getOpenContext());
    case schema::Message::CONTEXT_TOKENS:
      return read(from.getContextTokens());
    case schema::Message::CLOSE_CONTEXT:
      return read(from.getCloseContext());
    case schema::Message::COMPUTE_CHUNK:
      return read(from.getComputeChunk());
    case schema::Message::CANCEL_COMPUTE:
      return read(from.getCancelCompute());
    case schema::Message::CHUNK_PROGRESS:
      return read(from.getChunkProgress());
    case schema::Message::CHUNK_COMMITTED:
      return read(from.getChunkCommitted());
    case schema::Message::COMPUTE_FAILED:
      return read(from.getComputeFailed());
    case schema::Message::CHUNK_DAMAGED:
      return read(from.getChunkDamaged());
    case schema::Message::START_ANSWER:
      return read(from.getStartAnswer());
    case schema::Message::CANCEL_ANSWER:
      return read(from.getCancelAnswer());
    case schema::Message::ANSWER_TOKEN:
      return read(from.getAnswerToken());
    case schema::Message::ANSWER_FINISHED:
      return read(from.getAnswerFinished());
    case schema::Message::ANSWER_FAILED:
      return read(from.getAnswerFailed());
    case schema::Message::VERIFY_OBJECT:
      return read(from.getVerifyObject());
    case schema::Message::OBJECT_VERIFIED:
      return read(from.getObjectVerified());
    case schema::Message::COMMIT_LISTING:
      return read(from.getCommitListing());
    case schema::Message::LISTING_COMMITTED:
      return read(from.getListingCommitted());
    case schema::Message::READ_SLICE:
      return read(from.getReadSlice());
    case schema::Message::SLICE_READ:
      return read(from.getSliceRead());
    case schema::Message::WRITE_SLICE:
      return read(from.getWriteSlice());
    case schema::Message::COMMIT_OBJECT:
      return read(from.getCommitObject());
    case schema::Message::SLICE_WRITTEN:
      return read(from.getSliceWritten());
  }
  throw Error(ErrorCode::invalid_argument, fmt::format("message: kind {} is not known", static_cast<int>(from.which())),
              "message");
}

template <typename Root, typename Fill>
std::vector<std::byte> build(Fill fill) {
  capnp::MallocMessageBuilder builder;
  fill(builder.initRoot<Root>());
  const kj::Array<capnp::word> words = capnp::messageToFlatArray(builder);
  const auto bytes = std::as_bytes(std::span(words.begin(), words.size()));
  return {bytes.begin(), bytes.end()};
}

// Calls `take` with the root of the message in `bytes`. An honest message is read once, so that the traversal limit,
// twice its length, is met only by one whose pointers lead to the same words again and again.
template <typename Root, typename Take>
auto parse(std::span<const std::byte> bytes, Take take) {
  if (bytes.empty() || bytes.size() % sizeof(capnp::word) != 0) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("message: {} bytes are no whole number of words", bytes.size()), "message");
  }
  auto words = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));  // aligned, as the reader wants it
  std::memcpy(words.begin(), bytes.data(), bytes.size());
  try {
    capnp::ReaderOptions options;
    options.traversalLimitInWords = 2 * words.size();
    options.nestingLimit = kNestingLimit;
    capnp::FlatArrayMessageReader reader(words, options);
    if (reader.getEnd() != words.end()) {
      throw Error(ErrorCode::invalid_argument, "message: there are bytes behind its end", "message");
    }
    return take(reader.getRoot<Root>());
  } catch (const kj::Exception& error) {
    throw Error(ErrorCode::invalid_argument, fmt::format("message: {}", error.getDescription().cStr()), "message");
  }
}

}  // namespace

std::vector<std::byte> encode(const Message& message) {
  return build<schema::Message>([&](schema::Message::Builder to) {
    std::visit(MessageWriter{to}, message);
    CHECK(static_cast<std::size_t>(to.which()) == message.index(), message.index());
  });
}

Message decode(std::span<const std::byte> bytes) {
  return parse<schema::Message>(bytes, read_message);
}

std::vector<std::byte> encode_record(const ManifestRecord& record) {
  return build<schema::ManifestRecord>([&](schema::ManifestRecord::Builder to) { write(to, record); });
}

ManifestRecord decode_manifest_record(std::span<const std::byte> bytes) {
  return parse<schema::ManifestRecord>(bytes, [](schema::ManifestRecord::Reader from) { return read(from); });
}

std::vector<std::byte> encode_record(const ObjectRecord& record) {
  return build<schema::ObjectRecord>([&](schema::ObjectRecord::Builder to) { write(to, record); });
}

ObjectRecord decode_object_record(std::span<const std::byte> bytes) {
  return parse<schema::ObjectRecord>(bytes, [](schema::ObjectRecord::Reader from) { return read(from); });
}

std::vector<std::byte> encode_record(const ContextParameters& parameters, const ContextDescription& description) {
  return build<schema::ContextRecord>([&](schema::ContextRecord::Builder to) {
    write(to.initParameters(), parameters);
    write(to.initDescription(), description);
  });
}

void decode_context_record(std::span<const std::byte> bytes, ContextParameters& parameters,
                           ContextDescription& description) {
  parse<schema::ContextRecord>(bytes, [&](schema::ContextRecord::Reader from) {
    parameters = read(from.getParameters());
    description = read(from.getDescription());
  });
}

}  // namespace rotulus::protocol
