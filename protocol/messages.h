// One plain struct per message of the control plane (coordinator <-> worker), and the records that travel in them.
// schema/messages.capnp says the same in prose for other languages; codec.h turns one into the other.
//
// Who speaks: every rank holds one connection to the coordinator. Rank 0 of a worker group is the sequencer: work is
// given to it alone, and it alone reports on work. Volumes are spoken of with the rank that holds them.
//
// Opening: coordinator Challenge -> worker Hello (with proof) -> coordinator Welcome or Refusal.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "protocol/attention.h"
#include "protocol/error.h"
#include "protocol/ids.h"
#include "protocol/kv_cost.h"
#include "protocol/lanes.h"
#include "protocol/token_range.h"

namespace rotulus::protocol {

inline constexpr std::uint32_t kProtocolVersion = 6;
inline constexpr std::uint32_t kStoreFormatVersion = 1;
inline constexpr std::uint32_t kLandmarkVersion = 1;

// ---------------------------------------------------------------------------------------------------------------
// Records

// What a context keeps for retrieval, and how its rows beyond the window were computed: their keys depend on it.
struct RetrievalParameters {
  std::uint32_t landmark_version = 0;  // 0: no landmarks are kept, every row attends exactly
  std::uint32_t exact_tokens = 0;      // rows at positions below attend to everything before them
  std::uint32_t local_tokens = 0;      // later rows: sinks (the first block) and this window, a multiple of 128
  LandmarkKinds landmarks = kDefaultLandmarks;  // what is kept, where any is
  bool operator==(const RetrievalParameters&) const = default;
};

// What a context's stored bytes depend on. Constant for a context's life; two contexts share bytes only where equal.
struct ContextParameters {
  std::string model_fingerprint;      // hex SHA-256
  std::string tokenizer_fingerprint;  // hex SHA-256
  std::string rope;                   // canonical text, e.g. "neighbours dims=64 base=100000"
  std::string kv_type;                // "f16", "f32", "bf16", "int8", "int4"
  std::uint32_t block_tokens = kBlockTokens;
  std::uint32_t lane_count = kLaneCount;
  std::uint32_t chunk_tokens = kChunkTokens;
  std::uint32_t format_version = kStoreFormatVersion;
  std::string numerics_id;             // may differ at reopening; then answers say numerics_changed
  RetrievalParameters retrieval = {};  // chosen for each context when its tokens are counted; a worker's own is empty
  bool operator==(const ContextParameters&) const = default;
};

// The name of the first field in which `stored` cannot be used by `running`; numerics_id does not count, and of
// `retrieval` only a landmark_version that is neither 0 nor kLandmarkVersion, and landmarks of an unknown kind.
std::optional<std::string> find_conflict(const ContextParameters& stored, const ContextParameters& running);

enum class Frame : std::uint8_t { chat = 0, raw = 1 };

// What people said about a context. Kept in the catalogue, and in manifests so that a catalogue can be rebuilt.
struct ContextDescription {
  Frame frame = Frame::chat;
  std::optional<std::string> system;
  std::string display_name;
  std::string metadata_json;  // an object, as given; at most limits.h kMaxMetadataBytes
  std::int64_t created_at_unix_ms = 0;
  std::int64_t expires_at_unix_ms = 0;  // 0: never
  bool is_anonymous = false;            // made for a prompt without context_id
  std::uint64_t token_count = 0;        // of the whole context, frame included
  // Asked for at its creation; what came of it are ContextParameters::retrieval. automatic: retrieval beyond the
  // window.
  AttentionMode attention = AttentionMode::automatic;
  LandmarkKinds landmarks = kDefaultLandmarks;  // likewise: to be kept, where any are
  ContextId version_of;  // made by appending to that context, whose id it goes by once it is complete; 0: to none
  bool operator==(const ContextDescription&) const = default;
};

// Lanes [first_lane, next run's first_lane) of an object lie on `volume`. Ascending, the first run starts at lane 0.
struct PlacementRun {
  std::uint32_t first_lane = 0;
  VolumeId volume;
  bool operator==(const PlacementRun&) const = default;
};
using Placement = std::vector<PlacementRun>;
VolumeId volume_of_lane(const Placement& placement, std::uint32_t lane);
// Each rank's lanes in equal runs on its volumes; volumes_of_ranks[r] are rank r's. Empty where a rank has none.
Placement place_lanes(const std::vector<std::vector<VolumeId>>& volumes_of_ranks);

// One volume's part of one committed object. Written and synced after the blocks; its hash is what the catalogue
// names. Holds enough to rebuild the catalogue from volumes alone.
//
// An object without blocks whose `objects` are not empty is a *listing*: these are the chunks of its context, in order.
// Contexts that share objects each have one, since an object's own record names only the context it was computed for.
struct ManifestRecord {
  ObjectId object;
  ObjectId parent;  // the object of the chunk before; 0 for the first
  ContextId context;
  std::uint32_t chunk_index = 0;
  TokenRange range;
  StoreId store;
  VolumeId volume;
  Placement placement;  // of the whole object
  ContextParameters parameters;
  ContextDescription description;
  std::vector<TokenId> token_ids;  // range.count() of them
  std::uint32_t block_count = 0;   // on this volume, over all layers
  std::uint64_t blocks_hash = 0;   // over (key, checksum) of those blocks in key order
  std::vector<ObjectId> objects;   // of a listing
  bool operator==(const ManifestRecord&) const = default;
};

struct VolumeManifest {
  VolumeId volume;
  std::uint64_t manifest_hash = 0;  // XXH3 of the stored record
  bool operator==(const VolumeManifest&) const = default;
};

// What the catalogue knows of a committed chunk.
struct ObjectRecord {
  ObjectId object;
  Placement placement;
  std::vector<VolumeManifest> manifests;  // one for each volume that holds a part
  bool operator==(const ObjectRecord&) const = default;
};

struct ModelFacts {
  std::string name;
  std::string architecture;
  std::string chat_template;         // "" where there is none
  std::uint32_t context_length = 0;  // the window
  std::uint32_t trained_length = 0;  // the window that it was trained for
  std::uint32_t vocabulary = 0;
  std::uint32_t layers = 0;
  std::uint64_t parameter_count = 0;
  std::uint64_t file_bytes = 0;
  KvCost kv;
  bool operator==(const ModelFacts&) const = default;
};

struct VolumeState {
  VolumeId volume;
  StoreId store;  // 0: a new volume that belongs to no store yet
  std::string path;
  std::uint64_t catalogue_sequence = 0;  // the last that it saw
  std::uint64_t bytes_used = 0;          // physical
  std::uint64_t bytes_free = 0;          // what it may still take: of its disk, and of its own bound
  std::uint64_t disk = 0;                // one of its host; volumes may share it
  std::uint64_t disk_bytes_free = 0;
  bool is_salvaged = false;  // opened over a damaged file: it reads and writes, and compacts nothing
  bool operator==(const VolumeState&) const = default;
};

// What one machine can do, measured when its worker started.
struct MachineRate {
  std::string name;           // "fma_f32", "dot_bf16", "dot_int8", "tile_bf16", "tile_int8", "read"
  std::uint32_t threads = 1;  // together
  double per_second = 0;      // operations, two for each product that is added; of "read": bytes
  bool operator==(const MachineRate&) const = default;
};

struct VolumeFailure {
  std::string path;
  std::string reason;
  bool operator==(const VolumeFailure&) const = default;
};

struct WorkerStats {
  std::uint64_t host_bytes_used = 0;
  std::uint64_t host_bytes_budget = 0;
  std::uint64_t disk_bytes_used = 0;
  std::uint64_t blocks_loaded = 0;  // from disk
  std::uint64_t blocks_verified = 0;
  std::uint64_t blocks_corrupt = 0;
  std::uint64_t blocks_evicted = 0;
  std::uint64_t prefetched_used = 0;    // blocks that were read before they were asked for, and then were
  std::uint64_t prefetched_unused = 0;  // left host memory without being asked for
  std::uint64_t tokens_prefilled = 0;   // rows of the forward pass, this rank's
  std::uint64_t tokens_decoded = 0;
  std::uint64_t tokens_recomputed = 0;  // of those: had been computed before
  std::uint64_t steps = 0;
  double step_seconds = 0;  // summed
  bool operator==(const WorkerStats&) const = default;
};

struct SamplingSpec {
  float temperature = 1.0f;
  std::uint32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  std::uint64_t seed = 0;
  std::uint32_t logprobs = 0;  // alternatives to report; the chosen token's own is always reported
  bool operator==(const SamplingSpec&) const = default;
};

struct TokenAlternative {
  TokenId token = 0;
  std::string bytes;
  float logprob = 0;
  bool operator==(const TokenAlternative&) const = default;
};

struct ChatMessage {
  std::string role;
  std::string content;
  bool operator==(const ChatMessage&) const = default;
};

// ---------------------------------------------------------------------------------------------------------------
// Opening a connection

struct Challenge {  // coordinator: first on every connection
  std::array<std::uint8_t, 32> nonce{};
  bool operator==(const Challenge&) const = default;
};

struct Hello {  // worker
  std::uint32_t protocol_version = kProtocolVersion;
  std::uint64_t group = 0;  // drawn by rank 0, the same in all ranks of one mpirun job
  std::uint32_t rank = 0;
  std::uint32_t size = 0;
  std::string host;
  std::uint64_t pid = 0;
  std::uint32_t threads = 0;
  ModelFacts model;
  ContextParameters parameters;      // what this rank would give a new context
  std::vector<VolumeState> volumes;  // held
  std::vector<VolumeFailure> failed_volumes;
  std::vector<MachineRate> rates;
  std::array<std::uint8_t, 32> proof{};  // HMAC-SHA-256(secret, nonce | the message with proof zero); zero: no secret
  bool operator==(const Hello&) const = default;
};

struct Welcome {  // coordinator
  Epoch epoch;
  StoreId store;
  std::uint64_t catalogue_sequence = 0;
  bool operator==(const Welcome&) const = default;
};

struct Refusal {  // coordinator, then it closes
  ErrorCode code = ErrorCode::unauthorized;
  std::string message;
  bool operator==(const Refusal&) const = default;
};

// ---------------------------------------------------------------------------------------------------------------
// Keeping it

struct Ping {  // coordinator, every kHeartbeatInterval
  std::uint64_t sequence = 0;
  bool operator==(const Ping&) const = default;
};
struct Pong {  // worker; silence for kLeaseTimeout is a loss on either side
  std::uint64_t sequence = 0;
  WorkerStats stats;
  std::vector<VolumeState> volumes;
  bool operator==(const Pong&) const = default;
};
// Coordinator, to every rank but 0, before each message of work to rank 0: `work` counts those messages. A parked rank
// leaves its park. See worker/step_plan.h.
struct Wake {
  std::uint64_t work = 0;
  bool operator==(const Wake&) const = default;
};
struct Drain {  // coordinator, to all: finish nothing new, exit with 0 when told work is done
  bool operator==(const Drain&) const = default;
};

// ---------------------------------------------------------------------------------------------------------------
// Volumes (with the rank that holds them)

// The live objects of a volume, in pieces; with the last piece the worker adopts an unowned volume, erases what is not
// listed, and answers. A volume of another store, or that saw a later sequence, is refused and nothing is touched.
struct ReconcileVolume {
  VolumeId volume;
  StoreId store;
  std::uint64_t catalogue_sequence = 0;
  struct Live {
    ObjectId object;
    std::uint64_t manifest_hash = 0;
    bool operator==(const Live&) const = default;
  };
  std::vector<Live> live;
  bool is_last = false;
  bool operator==(const ReconcileVolume&) const = default;
};
struct VolumeReconciled {
  VolumeId volume;
  std::vector<ObjectId> damaged;  // live, but absent here or with another hash
  std::uint64_t collected_objects = 0;
  std::optional<std::string> refused;  // why nothing was touched
  bool operator==(const VolumeReconciled&) const = default;
};
struct ListManifests {
  VolumeId volume;
  bool operator==(const ListManifests&) const = default;
};
struct ManifestPage {
  VolumeId volume;
  std::vector<ManifestRecord> records;
  std::vector<std::uint64_t> hashes;  // one per record
  bool is_last = false;
  bool operator==(const ManifestPage&) const = default;
};
// Reads what a volume has of an object as it lies on the disk, and compares it with what was written. One at a time for
// each volume, beside everything else.
struct VerifyObject {
  VolumeId volume;
  ObjectId object;
  std::uint64_t manifest_hash = 0;  // as the catalogue names it
  bool operator==(const VerifyObject&) const = default;
};
struct ObjectVerified {
  VolumeId volume;
  ObjectId object;
  std::uint64_t blocks_verified = 0;   // as they were written
  std::uint64_t blocks_damaged = 0;    // absent, or not as they were written; a damaged manifest record counts as one
  std::optional<std::string> failure;  // why it could not be told
  bool operator==(const ObjectVerified&) const = default;
};
// A *slice* is what a volume has of one layer of one stripe of an object: KV blocks, landmarks, bounds, each with its
// header as it is stored, one behind the other. Objects travel to another store in slices. `call` is echoed.
struct ReadSlice {  // read from the disk, beside everything else
  std::uint64_t call = 0;
  VolumeId volume;
  ObjectId object;
  std::uint64_t manifest_hash = 0;  // as the catalogue names it
  std::uint64_t stripe = 0;
  std::uint32_t layer = 0;
  bool operator==(const ReadSlice&) const = default;
};
struct SliceRead {  // worker: answers it, in one or more parts of at most kSlicePartBytes
  std::uint64_t call = 0;
  std::string bytes;                     // behind those of the part before
  std::uint32_t block_count = 0;         // in the slice
  std::uint32_t object_block_count = 0;  // that were written of the object on this volume
  bool is_last = true;                   // the slice is complete; a failure always is
  std::optional<ErrorCode> error;
  std::string message;
  bool operator==(const SliceRead&) const = default;
};
// A slice of another store's object, to become part of this one, which CommitObject makes an object like any other.
// Not committed, it is erased like any other.
struct WriteSlice {  // in one or more parts; answered behind the last
  std::uint64_t call = 0;
  VolumeId volume;
  ObjectId object;
  std::uint64_t stripe = 0;
  std::uint32_t layer = 0;
  std::string bytes;
  bool is_last = true;
  bool operator==(const WriteSlice&) const = default;
};
struct CommitObject {
  std::uint64_t call = 0;
  ManifestRecord record;  // complete but for what tells of its blocks
  std::uint64_t catalogue_sequence = 0;
  bool operator==(const CommitObject&) const = default;
};
struct SliceWritten {  // worker: answers WriteSlice, and CommitObject when it is durable
  std::uint64_t call = 0;
  std::uint32_t block_count = 0;    // of the slice; of a CommitObject: of the object on its volume
  std::uint64_t manifest_hash = 0;  // of a CommitObject
  std::optional<ErrorCode> error;   // then the object is to be erased
  std::string message;
  bool operator==(const SliceWritten&) const = default;
};
struct EraseObjects {  // to every rank, after the catalogue's batch was synced
  std::vector<ObjectId> objects;
  std::uint64_t catalogue_sequence = 0;
  bool operator==(const EraseObjects&) const = default;
};

// ---------------------------------------------------------------------------------------------------------------
// Text (rank 0; answered beside the steps, in order). `call` is echoed.

struct TokenizeDocument {  // one document in pieces of <= kTokenizePieceBytes
  std::uint64_t call = 0;
  bool is_first = false;
  bool is_last = false;
  Frame frame = Frame::raw;  // with is_first: chat puts the frame's opening before the text
  std::optional<std::string> system;
  std::string bytes;
  bool operator==(const TokenizeDocument&) const = default;
};
struct EncodeText {  // a short text: a prompt, a question, a conversation
  enum class Kind : std::uint8_t {
    text = 0,               // `text`, special tokens as text
    text_with_special = 1,  // `text`, special tokens parsed
    question = 2,           // `messages` behind the document of a chat context
    conversation = 3,       // `messages`, the whole prompt
    raw_question = 4,       // `text` behind the document of a raw context
    prompt = 5,             // `text` as a whole raw prompt: BOS where the file asks for it
  };
  std::uint64_t call = 0;
  Kind kind = Kind::text;
  std::string text;
  std::vector<ChatMessage> messages;
  bool operator==(const EncodeText&) const = default;
};
struct EncodedText {  // answers TokenizeDocument (each piece) and EncodeText, in one or more parts
  std::uint64_t call = 0;
  std::vector<TokenId> ids;  // behind those of the part before
  bool is_last = true;       // the answer to this piece or text is complete; a failure always is
  std::optional<ErrorCode> error;
  std::string message;
  bool operator==(const EncodedText&) const = default;
};
struct DecodeTokens {
  std::uint64_t call = 0;
  std::vector<TokenId> ids;
  bool operator==(const DecodeTokens&) const = default;
};
struct RenderTemplate {
  std::uint64_t call = 0;
  std::vector<ChatMessage> messages;
  bool operator==(const RenderTemplate&) const = default;
};
struct DecodedText {  // answers DecodeTokens and RenderTemplate, in one or more parts
  std::uint64_t call = 0;
  std::string text;                 // bytes, behind those of the part before
  std::vector<std::string> pieces;  // DecodeTokens: the bytes of each id, behind those of the part before
  bool is_last = true;              // the answer is complete
  std::optional<ErrorCode> error;
  std::string message;
  bool operator==(const DecodedText&) const = default;
};

// ---------------------------------------------------------------------------------------------------------------
// Work (rank 0)

// Makes a context known to the group. `chunks` has one entry per chunk; object 0: not computed yet.
struct OpenContext {
  ContextId context;
  ContextParameters parameters;
  ContextDescription description;
  std::vector<ObjectRecord> chunks;
  bool operator==(const OpenContext&) const = default;
};
struct ContextTokens {  // token ids [offset, offset + ids.size()); needed where chunks are computed
  ContextId context;
  std::uint64_t offset = 0;
  std::vector<TokenId> ids;
  bool operator==(const ContextTokens&) const = default;
};
struct CloseContext {  // stops what runs on it, forgets it; nothing on disk is touched
  ContextId context;
  bool operator==(const CloseContext&) const = default;
};
// Computes one chunk (prefill) and commits it under `object`. All chunks before it are committed or given before it.
// Rows at positions below `computed_before` count as recomputed.
struct ComputeChunk {
  ContextId context;
  std::uint32_t chunk_index = 0;
  ObjectId object;
  std::uint64_t computed_before = 0;
  std::uint64_t catalogue_sequence = 0;
  bool operator==(const ComputeChunk&) const = default;
};
// Writes a listing (ManifestRecord) to all volumes. Of `record`, store, volume and placement are filled in.
struct CommitListing {
  ManifestRecord record;
  std::uint64_t catalogue_sequence = 0;
  bool operator==(const CommitListing&) const = default;
};
struct ListingCommitted {  // worker: answers it; durable on all volumes, or the object is dead
  ContextId context;
  ObjectRecord record;  // of a failure: the object's id alone
  std::optional<ErrorCode> error;
  std::string message;
  bool operator==(const ListingCommitted&) const = default;
};
struct CancelCompute {
  ContextId context;
  bool operator==(const CancelCompute&) const = default;
};
struct ChunkProgress {  // worker: tokens [0, processed) of the context are computed
  ContextId context;
  std::uint64_t processed = 0;
  bool operator==(const ChunkProgress&) const = default;
};
struct ChunkCommitted {  // worker: durable on all its volumes; visible once the catalogue names it
  ContextId context;
  std::uint32_t chunk_index = 0;
  ObjectRecord record;
  bool operator==(const ChunkCommitted&) const = default;
};
struct ComputeFailed {  // worker: this chunk's attempt is over; its object is dead
  ContextId context;
  std::uint32_t chunk_index = 0;
  ErrorCode code = ErrorCode::internal;
  std::string message;
  bool operator==(const ComputeFailed&) const = default;
};
// Worker: a committed object cannot be read as it was written. The coordinator has its chunk computed again, then
// replays what ran on the context.
struct ChunkDamaged {
  ContextId context;
  std::uint32_t chunk_index = 0;
  ObjectId object;
  std::string message;
  bool operator==(const ChunkDamaged&) const = default;
};

// An answer behind a completed context (context 0: none). `question` runs as prefill behind the document, `forced` are
// tokens already given to the client: they are run as decode and not reported again.
struct StartAnswer {
  RequestId request;
  ContextId context;
  std::vector<TokenId> question;
  std::vector<TokenId> forced;
  SamplingSpec sampling;
  std::uint32_t max_tokens = 0;  // forced ones included; 0: the question runs, and that is all
  std::vector<std::string> stop;
  bool ignore_eos = false;
  AttentionSpec attention;
  bool scores_question = false;  // its tokens are reported too, before the answer's
  bool operator==(const StartAnswer&) const = default;
};
struct CancelAnswer {
  RequestId request;
  bool operator==(const CancelAnswer&) const = default;
};
// Worker: token `index` of the answer, or of the question that is scored; either ascending without gaps. Nothing
// predicts the question's first token: its logprob is 0, without alternatives.
struct AnswerToken {
  RequestId request;
  std::uint32_t index = 0;
  TokenId token = 0;
  std::string bytes;  // of this token alone
  std::string text;   // what may be shown now: whole characters, held back while a stop may match
  float logprob = 0;
  std::vector<TokenAlternative> top;
  bool is_of_question = false;
  bool operator==(const AnswerToken&) const = default;
};
enum class FinishReason : std::uint8_t { stop = 0, length = 1 };
struct AnswerFinished {
  RequestId request;
  FinishReason reason = FinishReason::stop;
  std::string text;  // what was held back and belongs to the answer
  std::uint32_t completion_tokens = 0;
  double prompt_ms = 0;
  double predicted_ms = 0;
  AttentionReport attention;
  bool operator==(const AnswerFinished&) const = default;
};
struct AnswerFailed {
  RequestId request;
  ErrorCode code = ErrorCode::internal;
  std::string message;
  bool operator==(const AnswerFailed&) const = default;
};

// Append only: the alternative's index is its number on the wire.
using Message =
    std::variant<Challenge, Hello, Welcome, Refusal, Ping, Pong, Wake, Drain, ReconcileVolume, VolumeReconciled,
                 ListManifests, ManifestPage, EraseObjects, TokenizeDocument, EncodeText, EncodedText, DecodeTokens,
                 RenderTemplate, DecodedText, OpenContext, ContextTokens, CloseContext, ComputeChunk, CancelCompute,
                 ChunkProgress, ChunkCommitted, ComputeFailed, ChunkDamaged, StartAnswer, CancelAnswer, AnswerToken,
                 AnswerFinished, AnswerFailed, VerifyObject, ObjectVerified, CommitListing, ListingCommitted, ReadSlice,
                 SliceRead, WriteSlice, CommitObject, SliceWritten>;

}  // namespace rotulus::protocol
