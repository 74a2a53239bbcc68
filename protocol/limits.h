// Every limit of the project in one place. Each has a test that meets it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace rotulus::protocol {

using namespace std::chrono_literals;

// Control plane.
inline constexpr std::size_t kMaxFrameBytes = 1u << 20;         // one message, framing included
inline constexpr std::size_t kMaxQueuedFrameBytes = 8u << 20;   // per connection; then the producer waits
inline constexpr std::size_t kTokenizePieceBytes = 256u << 10;  // document bytes in one message
inline constexpr std::size_t kTokenIdsPerMessage = 128u << 10;  // token ids in one message
inline constexpr std::size_t kSlicePartBytes = 512u << 10;      // of a travelling object in one message
inline constexpr auto kHeartbeatInterval = 500ms;
inline constexpr auto kLeaseTimeout = 8s;  // silence after which a peer counts as lost
inline constexpr auto kHelloTimeout = 10s;
inline constexpr auto kWorkerGroupTimeout = 30s;  // a stream waits this long for a new group

// Data plane.
inline constexpr std::size_t kRingMessageBytes = 4u << 20;
inline constexpr auto kExchangeTimeout = 20s;    // extended while the peer reports progress
inline constexpr auto kBeaconInterval = 1000ms;  // between two such reports

// HTTP.
inline constexpr std::size_t kMaxJsonBodyBytes = 64u << 20;
inline constexpr std::uint64_t kMaxDocumentBytes = 8ull << 30;
inline constexpr std::size_t kMaxHeaderBytes = 8u << 10;
inline constexpr std::size_t kMaxJsonDepth = 32;
inline constexpr std::size_t kMaxJsonValues = 1u << 20;  // of one body; token ids in an array count as one
inline constexpr std::size_t kMaxHeaderFields = 100;
inline constexpr std::size_t kMaxHttpConnections = 1024;
inline constexpr std::size_t kMaxStreamBufferBytes = 1u << 20;  // per event stream; a slower client is cut off

// Contexts that travel as files.
inline constexpr std::uint64_t kMaxContextFileBytes = 16ull << 40;
inline constexpr std::uint64_t kMaxFileRecordBytes = 64u << 20;  // the largest is one slice, held in memory
inline constexpr std::size_t kMaxTransfers = 8;                  // exports and imports at once

// Requests.
inline constexpr std::uint32_t kMaxLogprobs = 20;
inline constexpr std::size_t kMaxEchoedTokens = 16u << 10;  // of a prompt whose tokens are scored and reported
inline constexpr std::uint32_t kMaxStopStrings = 16;
inline constexpr std::size_t kMaxStopStringBytes = 1024;
inline constexpr std::uint32_t kMaxBudgetTokens = 64u << 10;   // retrieved per layer and KV head
inline constexpr std::uint32_t kMaxReselectEvery = 64;         // positions of an answer that share a selection
inline constexpr std::uint32_t kMaxCandidatePages = 1u << 20;  // of each list, among which an answer selects
inline constexpr std::uint32_t kMaxSelectLayers = 512;         // named in one request
inline constexpr std::size_t kMaxEvidence = 32;                // runs of pages reported with one answer
inline constexpr std::size_t kMaxRunningRequests = 64;
inline constexpr std::size_t kMaxWaitingRequests = 512;
inline constexpr std::size_t kMaxMetadataBytes = 16u << 10;
inline constexpr std::size_t kMaxDisplayNameBytes = 1024;
inline constexpr std::size_t kMaxSystemBytes = 256u << 10;    // travels in one frame with a piece of the document
inline constexpr std::size_t kMaxTokenizeBytes = 512u << 10;  // of one /tokenize; documents go to /v1/contexts

// Tokenizer.
inline constexpr std::size_t kMaxPreTokenBytes = 64u << 20;
inline constexpr std::size_t kMaxTokenizedDocuments = 16;  // begun and not ended; the one longest untouched is given up

// Model files.
inline constexpr std::size_t kMaxGgufEntries = 64u << 10;     // metadata keys, and tensors
inline constexpr std::size_t kMaxGgufArrayBytes = 32u << 20;  // all metadata arrays as they lie in memory

// Store.
inline constexpr std::size_t kMaxWriteBatchBytes = 8u << 20;
inline constexpr auto kVolumeLockTimeout = 8s;    // for an earlier life of the rank to let go
inline constexpr auto kVolumeWriteTimeout = 60s;  // in which a volume must take at least one batch
inline constexpr std::uint32_t kMaxRanks = 256;   // one lane each

}  // namespace rotulus::protocol
