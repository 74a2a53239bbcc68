# Work: given to rank 0, the sequencer of the worker group, which alone reports on it.
@0xd7cbd4cbf222dceb;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rotulus::protocol::schema");

using Records = import "records.capnp";

struct OpenContext {
  # Coordinator: makes a context known to the group.
  context @0 :UInt64;             # Its id.
  parameters @1 :Records.ContextParameters;         # What its bytes depend on.
  description @2 :Records.ContextDescription;       # Its frame and its length.
  chunks @3 :List(Records.ObjectRecord);            # One for each chunk; object 0: not computed yet.
}

struct ContextTokens {
  # Coordinator: token ids of a context; needed where chunks are still to be computed.
  context @0 :UInt64;             # Which context.
  offset @1 :UInt64;              # Position of the first of them.
  ids @2 :List(UInt32);           # They stand at [offset, offset + their count).
}

struct CloseContext {
  # Coordinator: stops what runs on a context and forgets it. Nothing on disk is touched.
  context @0 :UInt64;             # Which context.
}

struct ComputeChunk {
  # Coordinator: computes one chunk and commits it. All chunks before it are committed, or were given before it.
  context @0 :UInt64;             # Which context.
  chunkIndex @1 :UInt32;          # Which chunk of it.
  object @2 :UInt64;              # Under this id, which is fresh.
  computedBefore @3 :UInt64;      # Rows at positions below this one count as recomputed.
  catalogueSequence @4 :UInt64;   # Where the catalogue stands; the volumes keep it.
}

struct CommitListing {
  # Coordinator: writes a record to all volumes that names the objects of a context, some of which it shares.
  record @0 :Records.ManifestRecord;                # Its store, volume and placement are filled in by the workers.
  catalogueSequence @1 :UInt64;   # Where the catalogue stands; the volumes keep it.
}

struct ListingCommitted {
  # Worker: answers a CommitListing.
  context @0 :UInt64;             # Whose.
  record @1 :Records.ObjectRecord;                  # What the catalogue is to name; of a failure the object's id alone.
  error :union {
    # Whether it failed; then the object is dead.
    none @2 :Void;                # It did not.
    code @3 :Records.ErrorCode;   # It did, in this way.
  }
  message @4 :Text;               # Of the failure; else "".
}

struct CancelCompute {
  # Coordinator: stops computing chunks of a context.
  context @0 :UInt64;             # Which context.
}

struct ChunkProgress {
  # Worker: tokens [0, processed) of the context are computed.
  context @0 :UInt64;             # Which context.
  processed @1 :UInt64;           # How far it is.
}

struct ChunkCommitted {
  # Worker: a chunk is durable on all its volumes. It is visible once the catalogue names it.
  context @0 :UInt64;             # Which context.
  chunkIndex @1 :UInt32;          # Which chunk of it.
  record @2 :Records.ObjectRecord;                  # What the catalogue is to name.
}

struct ComputeFailed {
  # Worker: an attempt at a chunk is over, and its object is dead.
  context @0 :UInt64;             # Which context.
  chunkIndex @1 :UInt32;          # Which chunk of it.
  code @2 :Records.ErrorCode;     # The kind of failure.
  message @3 :Text;               # What was tried, and what to do.
}

struct ChunkDamaged {
  # Worker: a committed object cannot be read as it was written. The coordinator has its chunk computed again, then
  # replays what ran on the context.
  context @0 :UInt64;             # Which context.
  chunkIndex @1 :UInt32;          # Which chunk of it.
  object @2 :UInt64;              # The damaged object.
  message @3 :Text;               # What does not hold, and where.
}

struct SamplingSpec {
  # How tokens are drawn. Draws depend on the seed and the token's index alone.
  temperature @0 :Float32;        # 0: the likeliest token.
  topK @1 :UInt32;                # 0: no limit.
  topP @2 :Float32;               # 1: no limit.
  minP @3 :Float32;               # 0: no limit.
  seed @4 :UInt64;                # Of the draws.
  logprobs @5 :UInt32;            # Alternatives to report; the chosen token's own is always reported.
}

struct TokenAlternative {
  # A token that might have been chosen.
  token @0 :UInt32;               # Its id.
  bytes @1 :Data;                 # What it stands for.
  logprob @2 :Float32;            # Natural logarithm of its probability at temperature 1.
}

enum PageLandmark {
  # What stands in for a page's keys.
  sketch @0;                      # The best of its sketched keys.
  mean @1;                        # The mean of its keys.
  bounds @2;                      # The least and greatest of its keys by channel, if kept; else as sketchedBounds.
  sketchedBounds @3;              # The least and greatest of its sketched keys, channel by channel.
  centroid @4;                    # The best centroid of the clusters of its keys, if kept; else as mean.
}

enum PageVote {
  # How the shares that rows and query heads give a page become one.
  maximum @0;                     # The largest.
  sum @1;                         # All of them.
}

enum VoteScope {
  # Who shares one list of pages.
  kvHead @0;                      # The query heads of a KV head.
  layer @1;                       # All heads of a layer.
}

enum SelectionUnit {
  # What a list is made of.
  page @0;                        # Pages of 16 tokens.
  block @1;                       # Blocks of 128; the best of its pages speaks for one.
}

enum PositionPolicy {
  # Where a block far from the question is shown.
  blockConstant @0;               # In the 128 positions before the local window.
  trueNear @1;                    # Where it stands, if the model's window reaches it; else as blockConstant.
  compacted @2;                   # What is read one behind the other, in order, up to the local window.
  clamped @3;                     # Where it stands, at most as far as the model's window reaches.
}

struct AttentionSpec {
  # How one answer attends to its context.
  mode @0 :Records.AttentionMode; # See there.
  budgetTokens @1 :UInt32;        # Retrieved per layer and KV head, a multiple of 16; what is always read comes on top.
  localTokens @2 :UInt32;         # The local window, a multiple of 128.
  secondPass @3 :Bool;            # Pin the pages of the largest mass for all heads and run the question again.
  wantsProvenance @4 :Bool;       # Report evidence, also where no second pass needs the vote.
  landmark @5 :PageLandmark;      # What is scored.
  vote @6 :PageVote;              # See there.
  voteOver @7 :VoteScope;         # See there.
  unit @8 :SelectionUnit;         # See there.
  topP @9 :Float32;               # (0, 1]: the fewest pages with that share of all votes, within the budget.
  reselectEvery @10 :UInt32;      # Positions of an answer that share a selection; a power of two, 1 to 64.
  layerStride @11 :UInt32;        # Layers whose index is a multiple select; the others reuse.
  selectLayers @12 :List(UInt32); # Where not empty, the layers that select; ascending.
  positions @13 :PositionPolicy;  # See there.
  wantsMissedMass @14 :Bool;      # Report an estimate of what was left out.
  audits @15 :Bool;               # And the truth, for which the question's last rows read everything once.
  rereadTokens @16 :UInt32;       # Of the best pages' text, to be computed again by the coordinator; 0: none is.
  rescanEvery @17 :UInt32;        # Positions of an answer between two looks at all pages; a power of two, 1 to 64.
  candidatePages @18 :UInt32;     # Of each list, among which is selected in between; at least 1.
  scanShare @19 :Float32;         # (0, 1]: of all pages, by their means, those that are scored by the landmark.
}

struct Evidence {
  # A run of pages that an answer's attention read.
  rangeBegin @0 :UInt64;          # Its first token's position.
  rangeEnd @1 :UInt64;            # One past its last token's position.
  mass @2 :Float32;               # The largest softmax mass that any head gave one of its pages.
}

struct MissedMass {
  # The share of the softmax of the question's last row that lies on what was not selected.
  mean @0 :Float32;               # Estimated; over query heads and the layers that select.
  worst @1 :Float32;              # Likewise.
  isAudited @2 :Bool;             # Whether the truth is known.
  trueMean @3 :Float32;           # If so, the truth of mean.
  trueWorst @4 :Float32;          # If so, the truth of worst.
  isBounded @5 :Bool;             # Whether bounds of the keys say what the truth is not above.
  boundMean @6 :Float32;          # If so, of mean.
  boundWorst @7 :Float32;         # If so, of worst.
  scanRecall @8 :Float32;         # Audited: of the pages that scoring all would have chosen, the share that was.
}

struct AttentionReport {
  # What an answer's attention read.
  mode @0 :Records.AttentionMode; # Exact or retrieval.
  contextTokens @1 :UInt64;       # Length of the context.
  attendedTokens @2 :UInt64;      # Of those, by the question's last row: the most of any layer and KV head.
  pinnedPages @3 :UInt32;         # By the second pass.
  secondPass @4 :Bool;            # Whether there was one.
  evidence @5 :List(Evidence);    # Best first.
  blocksRead @6 :UInt64;          # By the question's last row, of the layers without a sliding window.
  missedMass @7 :MissedMass;      # Absent where it was not asked for, or nothing was selected.
  landmark @8 :PageLandmark;      # Under retrieval, what pages were scored by.
}

struct StartAnswer {
  # Coordinator: an answer behind a completed context.
  request @0 :UInt64;             # Its id, which is fresh.
  context @1 :UInt64;             # 0: none.
  question @2 :List(UInt32);      # Runs as prefill behind the document.
  forced @3 :List(UInt32);        # Tokens already given to the client: run as decode, and not reported again.
  sampling @4 :SamplingSpec;      # How the others are drawn.
  maxTokens @5 :UInt32;           # Forced ones included.
  stop @6 :List(Text);            # Strings that end the answer and are not part of it.
  ignoreEos @7 :Bool;             # Go on behind the model's own end.
  attention @8 :AttentionSpec;    # How it attends to the context.
  scoresQuestion @9 :Bool;        # Report the question's tokens with their probabilities, before the answer's.
}

struct CancelAnswer {
  # Coordinator: stops an answer. It is not reported again.
  request @0 :UInt64;             # Which answer.
}

struct AnswerToken {
  # Worker: one token of an answer, in order and without gaps.
  request @0 :UInt64;             # Which answer.
  index @1 :UInt32;               # Of the token in the answer, forced ones counted.
  token @2 :UInt32;               # Its id.
  bytes @3 :Data;                 # What this token alone stands for.
  text @4 :Data;                  # What may be shown now: whole characters, held back while a stop string may match.
  logprob @5 :Float32;            # Natural logarithm of its probability at temperature 1.
  top @6 :List(TokenAlternative); # The likeliest, descending.
  isOfQuestion @7 :Bool;          # A token of the question; index counts those. Nothing predicts the first: logprob 0.
}

enum FinishReason {
  # Why an answer is complete.
  stop @0;                        # The model's own end, or a stop string.
  length @1;                      # maxTokens, or the end of the window.
}

struct AnswerFinished {
  # Worker: an answer is complete.
  request @0 :UInt64;             # Which answer.
  reason @1 :FinishReason;        # Why it ended.
  text @2 :Data;                  # What was held back and belongs to the answer.
  completionTokens @3 :UInt32;    # Its tokens, forced ones counted.
  promptMs @4 :Float64;           # From its start to its first token.
  predictedMs @5 :Float64;        # From its first token to its end.
  attention @6 :AttentionReport;  # What it read of the context.
}

struct AnswerFailed {
  # Worker: an answer is over and not complete.
  request @0 :UInt64;             # Which answer.
  code @1 :Records.ErrorCode;     # The kind of failure.
  message @2 :Text;               # What was tried, and what to do.
}
