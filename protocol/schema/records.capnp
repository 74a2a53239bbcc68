# Values that travel inside messages, and the records that are stored on volumes and in the catalogue.
#
# All ids are drawn by the coordinator; 0 names nothing. Fields are never renumbered or removed: stored records are read
# by later versions. `Data` is used for text that need not be UTF-8.
@0xd0fa98261dd0a234;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rotulus::protocol::schema");

enum ErrorCode {
  # What kind of failure; the message beside it says what was tried, on what, and what to do.
  internal @0;               # A bug, or a failure that has no better name.
  invalidArgument @1;        # The caller's input is wrong.
  notFound @2;               # It does not exist, or not any more.
  conflict @3;               # It exists, but cannot be used as asked (another model, KV format …).
  contextLengthExceeded @4;  # Longer than the model's window.
  unsupported @5;            # Understood, and refused by name.
  malformedFile @6;          # A file does not keep to its format.
  storageCorrupt @7;         # A checksum, an identity or a manifest does not hold.
  storageFull @8;            # The disk, or the share of it that we may use, is full.
  outOfMemory @9;            # The memory budget does not hold what is needed at once.
  unavailable @10;           # Try again later: no worker group, or a volume is absent.
  deadlineExceeded @11;      # It took longer than it may.
  cancelled @12;             # Someone asked for it to stop.
  transportLost @13;         # A peer of the data plane is gone; ends the worker group.
  unauthorized @14;          # The secret, or the proof of it, is wrong.
  staleEpoch @15;            # From an earlier life of the worker group.
  payloadTooLarge @16;       # Longer than a limit.
}

enum Frame {
  # How a document sits in the model's prompt.
  chat @0;                   # At the start of the first user turn of the chat template.
  raw @1;                    # Behind BOS, where the file asks for one; otherwise alone.
}

enum AttentionMode {
  # What attends to what.
  automatic @0;              # Exact where all of it fits the window, else retrieval.
  exact @1;                  # Every row to every token before it.
  retrieval @2;              # By the first block, a local window, and the pages that landmarks select.
}

struct RetrievalParameters {
  # What a context keeps for retrieval, and how its rows beyond the window were computed: their keys depend on it.
  landmarkVersion @0 :UInt32;     # Format of its landmarks; 0: it keeps none, and every row attends exactly.
  exactTokens @1 :UInt32;         # Rows at positions below this one attend to everything before them.
  localTokens @2 :UInt32;         # Later rows attend to the first block and to a window of this many, a multiple of 128.
  landmarks @3 :UInt32 = 3;       # Bits of what is kept: 1 sketches, 2 means (of one format), 4 bounds, 8 centroids.
}

struct ContextParameters {
  # What a context's stored bytes depend on. Constant for its life; bytes are shared only where all of it is equal.
  modelFingerprint @0 :Text;      # SHA-256 of the model's tensors and hyperparameters, in hexadecimal.
  tokenizerFingerprint @1 :Text;  # SHA-256 of the vocabulary and its rules, in hexadecimal.
  rope @2 :Text;                  # The rotation of keys in canonical text, e.g. "neighbours dims=64 base=100000".
  kvType @3 :Text;                # The stored form of keys and values: "f16", "f32", "bf16", "int8", "int4".
  blockTokens @4 :UInt32;         # Tokens in a block.
  laneCount @5 :UInt32;           # S, the number of lanes.
  chunkTokens @6 :UInt32;         # Tokens in a chunk.
  formatVersion @7 :UInt32;       # Of the store's files.
  numericsId @8 :Text;            # ISA row, arithmetic and formats that made the bytes. May differ at reopening.
  retrieval @9 :RetrievalParameters;        # Chosen for each context. Absent in older records: no landmarks.
}

struct ContextDescription {
  # What people said about a context. In the catalogue, and in manifests so that a catalogue can be rebuilt.
  frame @0 :Frame;                # How the document sits in the prompt.
  system :union {
    # The system message of a chat frame.
    absent @1 :Void;              # None was given: the template's own default, if it has one.
    given @2 :Text;               # This one, which may be empty.
  }
  displayName @3 :Text;           # Shown to people; need not be unique.
  metadataJson @4 :Text;          # A JSON object as it was given; "" for none.
  createdAtUnixMs @5 :Int64;      # When it was accepted.
  expiresAtUnixMs @6 :Int64;      # When it is erased by itself; 0: never.
  isAnonymous @7 :Bool;           # Made for a prompt without a context, and not listed.
  tokenCount @8 :UInt64;          # Of the whole context, frame included.
  attention @9 :AttentionMode;    # Asked for at its creation; what came of it stands in ContextParameters.
  versionOf @10 :UInt64;          # Made by appending to that context, whose id it goes by once complete; 0: to none.
  landmarks @11 :UInt32 = 3;      # Asked for at its creation, as attention: bits as in RetrievalParameters.
}

struct PlacementRun {
  # Lanes [firstLane, the next run's firstLane) of an object lie on one volume.
  firstLane @0 :UInt32;           # Ascending over the runs; 0 in the first.
  volume @1 :UInt64;              # The volume's id.
}

struct ManifestRecord {
  # One volume's part of one committed object: written and synced after its blocks. The catalogue names its hash. Holds
  # enough to rebuild the catalogue from volumes alone.
  object @0 :UInt64;              # The commit attempt; never used again.
  parent @1 :UInt64;              # The object of the chunk before; 0 for the first chunk.
  context @2 :UInt64;             # The context that it belongs to.
  chunkIndex @3 :UInt32;          # Which chunk of the context.
  rangeBegin @4 :UInt64;          # Its first token's position.
  rangeEnd @5 :UInt64;            # One past its last token's position.
  store @6 :UInt64;               # The store that volume and catalogue belong to.
  volume @7 :UInt64;              # The volume on which this record lies.
  placement @8 :List(PlacementRun);         # Of the whole object, other volumes included.
  parameters @9 :ContextParameters;         # Of the context.
  description @10 :ContextDescription;      # Of the context, as it was when this was written.
  tokenIds @11 :List(UInt32);     # rangeEnd - rangeBegin of them.
  blockCount @12 :UInt32;         # Blocks of the object on this volume, over all layers.
  blocksHash @13 :UInt64;         # XXH3-64 over (key, checksum) of those blocks in key order.
  objects @14 :List(UInt64);      # Not empty: no chunk, but the list of the context's chunks, which it shares.
}

struct VolumeManifest {
  # What the catalogue expects of one volume.
  volume @0 :UInt64;              # The volume's id.
  manifestHash @1 :UInt64;        # XXH3-64 of the manifest record as it is stored there.
}

struct ObjectRecord {
  # What the catalogue knows of a committed chunk; its presence there makes the chunk visible.
  object @0 :UInt64;              # 0: not computed yet.
  placement @1 :List(PlacementRun);         # Empty where object is 0.
  manifests @2 :List(VolumeManifest);       # One for each volume that holds a part.
}

struct ContextRecord {
  # A context in the catalogue.
  parameters @0 :ContextParameters;         # What its bytes depend on.
  description @1 :ContextDescription;       # What people said about it.
}

struct ModelFacts {
  # What a worker's model is, as the API tells it.
  name @0 :Text;                  # From the file.
  architecture @1 :Text;          # general.architecture of the file.
  chatTemplate @2 :Text;          # Name of the recognised template; "" where there is none.
  contextLength @3 :UInt32;       # The window in tokens.
  vocabulary @4 :UInt32;          # Number of token ids.
  layers @5 :UInt32;              # Transformer blocks.
  parameterCount @6 :UInt64;      # Elements of all tensors.
  fileBytes @7 :UInt64;           # Size of the file.
  kvBytesPerToken @8 :UInt64;     # Over all layers, in the stored form.
  slidingKvBytesPerToken @9 :UInt64;        # Of these, in layers that see the last slidingWindow tokens only.
  slidingWindow @10 :UInt32;      # 0: no layer slides.
  trainedLength @11 :UInt32;      # The window that it was trained for.
}

struct MachineRate {
  # What one machine can do, measured when its worker started.
  name @0 :Text;                  # "fma_f32", "dot_bf16" …, "read".
  threads @1 :UInt32;             # Together.
  perSecond @2 :Float64;          # Operations, two for each product that is added; of "read": bytes.
}

struct VolumeState {
  # A volume that a rank holds.
  volume @0 :UInt64;              # Its id.
  store @1 :UInt64;               # 0: a new volume that belongs to no store yet.
  path @2 :Text;                  # Where it lies on its host.
  catalogueSequence @3 :UInt64;   # The last sequence of the catalogue that it saw.
  bytesUsed @4 :UInt64;           # By its files.
  bytesFree @5 :UInt64;           # What it may still take: of its disk, and of its own bound.
  disk @6 :UInt64;                # One of its host; volumes may share it.
  diskBytesFree @7 :UInt64;
  isSalvaged @8 :Bool;            # Opened over a damaged file: compacts nothing.
}

struct VolumeFailure {
  # A volume that a rank should hold and could not open.
  path @0 :Text;                  # Where it lies.
  reason @1 :Text;                # Why it did not open, in words for the operator.
}

struct WorkerStats {
  # Counters of one rank since it started, and its gauges now.
  hostBytesUsed @0 :UInt64;       # Blocks in host memory now.
  hostBytesBudget @1 :UInt64;     # The most that they may be.
  diskBytesUsed @2 :UInt64;       # Of all its volumes now.
  blocksLoaded @3 :UInt64;        # Read from disk.
  blocksVerified @4 :UInt64;      # Whose checksum and identity held.
  blocksCorrupt @5 :UInt64;       # Whose checksum or identity did not hold.
  blocksEvicted @6 :UInt64;       # Dropped from host memory, being on disk.
  tokensPrefilled @7 :UInt64;     # Rows of the forward pass on this rank in the role of prefill.
  tokensDecoded @8 :UInt64;       # Rows in the role of decode.
  tokensRecomputed @9 :UInt64;    # Rows of both that had been computed before.
  steps @10 :UInt64;              # Steps of the worker group.
  stepSeconds @11 :Float64;       # Their time, summed.
  prefetchedUsed @12 :UInt64;     # Blocks read before they were asked for, and then asked for.
  prefetchedUnused @13 :UInt64;   # Blocks read so that left host memory without being asked for.
}
