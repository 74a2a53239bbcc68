# The control plane between the coordinator and each rank of a worker group: one Message per frame (see framing.h).
#
# Every rank holds one connection. Rank 0 is the sequencer: work is given to it alone, and it alone reports on it.
@0x87fff00c9a07490f;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rotulus::protocol::schema");

using Connection = import "connection.capnp";
using Volumes = import "volumes.capnp";
using Text = import "text.capnp";
using Work = import "work.capnp";

struct Message {
  # Append only: an alternative's number is that of protocol/messages.h's variant.
  union {
    challenge @0 :Connection.Challenge;
    hello @1 :Connection.Hello;
    welcome @2 :Connection.Welcome;
    refusal @3 :Connection.Refusal;
    ping @4 :Connection.Ping;
    pong @5 :Connection.Pong;
    wake @6 :Connection.Wake;
    drain @7 :Connection.Drain;
    reconcileVolume @8 :Volumes.ReconcileVolume;
    volumeReconciled @9 :Volumes.VolumeReconciled;
    listManifests @10 :Volumes.ListManifests;
    manifestPage @11 :Volumes.ManifestPage;
    eraseObjects @12 :Volumes.EraseObjects;
    tokenizeDocument @13 :Text.TokenizeDocument;
    encodeText @14 :Text.EncodeText;
    encodedText @15 :Text.EncodedText;
    decodeTokens @16 :Text.DecodeTokens;
    renderTemplate @17 :Text.RenderTemplate;
    decodedText @18 :Text.DecodedText;
    openContext @19 :Work.OpenContext;
    contextTokens @20 :Work.ContextTokens;
    closeContext @21 :Work.CloseContext;
    computeChunk @22 :Work.ComputeChunk;
    cancelCompute @23 :Work.CancelCompute;
    chunkProgress @24 :Work.ChunkProgress;
    chunkCommitted @25 :Work.ChunkCommitted;
    computeFailed @26 :Work.ComputeFailed;
    chunkDamaged @27 :Work.ChunkDamaged;
    startAnswer @28 :Work.StartAnswer;
    cancelAnswer @29 :Work.CancelAnswer;
    answerToken @30 :Work.AnswerToken;
    answerFinished @31 :Work.AnswerFinished;
    answerFailed @32 :Work.AnswerFailed;
    verifyObject @33 :Volumes.VerifyObject;
    objectVerified @34 :Volumes.ObjectVerified;
    commitListing @35 :Work.CommitListing;
    listingCommitted @36 :Work.ListingCommitted;
    readSlice @37 :Volumes.ReadSlice;
    sliceRead @38 :Volumes.SliceRead;
    writeSlice @39 :Volumes.WriteSlice;
    commitObject @40 :Volumes.CommitObject;
    sliceWritten @41 :Volumes.SliceWritten;
  }
}
