// One pair a struct of messages.h: write() fills its schema type, read() takes it back, checking every count.
// Throws Error{invalid_argument} naming the field.
#pragma once

#include "protocol/messages.h"
#include "protocol/schema/messages.capnp.h"

namespace rotulus::protocol::schema {

// records.cpp
void write(RetrievalParameters::Builder to, const protocol::RetrievalParameters& from);
protocol::RetrievalParameters read(RetrievalParameters::Reader from);
void write(ContextParameters::Builder to, const protocol::ContextParameters& from);
protocol::ContextParameters read(ContextParameters::Reader from);
void write(ContextDescription::Builder to, const protocol::ContextDescription& from);
protocol::ContextDescription read(ContextDescription::Reader from);
void write(PlacementRun::Builder to, const protocol::PlacementRun& from);
protocol::PlacementRun read(PlacementRun::Reader from);
void write(ManifestRecord::Builder to, const protocol::ManifestRecord& from);
protocol::ManifestRecord read(ManifestRecord::Reader from);
void write(VolumeManifest::Builder to, const protocol::VolumeManifest& from);
protocol::VolumeManifest read(VolumeManifest::Reader from);
void write(ObjectRecord::Builder to, const protocol::ObjectRecord& from);
protocol::ObjectRecord read(ObjectRecord::Reader from);
void write(ModelFacts::Builder to, const protocol::ModelFacts& from);
protocol::ModelFacts read(ModelFacts::Reader from);
void write(VolumeState::Builder to, const protocol::VolumeState& from);
protocol::VolumeState read(VolumeState::Reader from);
void write(MachineRate::Builder to, const protocol::MachineRate& from);
protocol::MachineRate read(MachineRate::Reader from);
void write(VolumeFailure::Builder to, const protocol::VolumeFailure& from);
protocol::VolumeFailure read(VolumeFailure::Reader from);
void write(WorkerStats::Builder to, const protocol::WorkerStats& from);
protocol::WorkerStats read(WorkerStats::Reader from);
ErrorCode write(protocol::ErrorCode code);
protocol::ErrorCode read(ErrorCode code);
Frame write(protocol::Frame frame);
protocol::Frame read(Frame frame);
AttentionMode write(protocol::AttentionMode mode);
protocol::AttentionMode read(AttentionMode mode);

// connection.cpp
void write(Challenge::Builder to, const protocol::Challenge& from);
protocol::Challenge read(Challenge::Reader from);
void write(Hello::Builder to, const protocol::Hello& from);
protocol::Hello read(Hello::Reader from);
void write(Welcome::Builder to, const protocol::Welcome& from);
protocol::Welcome read(Welcome::Reader from);
void write(Refusal::Builder to, const protocol::Refusal& from);
protocol::Refusal read(Refusal::Reader from);
void write(Ping::Builder to, const protocol::Ping& from);
protocol::Ping read(Ping::Reader from);
void write(Pong::Builder to, const protocol::Pong& from);
protocol::Pong read(Pong::Reader from);
void write(Wake::Builder to, const protocol::Wake& from);
protocol::Wake read(Wake::Reader from);
void write(Drain::Builder to, const protocol::Drain& from);
protocol::Drain read(Drain::Reader from);

// volumes.cpp
void write(ReconcileVolume::Builder to, const protocol::ReconcileVolume& from);
protocol::ReconcileVolume read(ReconcileVolume::Reader from);
void write(VolumeReconciled::Builder to, const protocol::VolumeReconciled& from);
protocol::VolumeReconciled read(VolumeReconciled::Reader from);
void write(ListManifests::Builder to, const protocol::ListManifests& from);
protocol::ListManifests read(ListManifests::Reader from);
void write(ManifestPage::Builder to, const protocol::ManifestPage& from);
protocol::ManifestPage read(ManifestPage::Reader from);
void write(EraseObjects::Builder to, const protocol::EraseObjects& from);
protocol::EraseObjects read(EraseObjects::Reader from);
void write(VerifyObject::Builder to, const protocol::VerifyObject& from);
protocol::VerifyObject read(VerifyObject::Reader from);
void write(ObjectVerified::Builder to, const protocol::ObjectVerified& from);
protocol::ObjectVerified read(ObjectVerified::Reader from);
void write(ReadSlice::Builder to, const protocol::ReadSlice& from);
protocol::ReadSlice read(ReadSlice::Reader from);
void write(SliceRead::Builder to, const protocol::SliceRead& from);
protocol::SliceRead read(SliceRead::Reader from);
void write(WriteSlice::Builder to, const protocol::WriteSlice& from);
protocol::WriteSlice read(WriteSlice::Reader from);
void write(CommitObject::Builder to, const protocol::CommitObject& from);
protocol::CommitObject read(CommitObject::Reader from);
void write(SliceWritten::Builder to, const protocol::SliceWritten& from);
protocol::SliceWritten read(SliceWritten::Reader from);

// text.cpp
void write(ChatMessage::Builder to, const protocol::ChatMessage& from);
protocol::ChatMessage read(ChatMessage::Reader from);
void write(TokenizeDocument::Builder to, const protocol::TokenizeDocument& from);
protocol::TokenizeDocument read(TokenizeDocument::Reader from);
void write(EncodeText::Builder to, const protocol::EncodeText& from);
protocol::EncodeText read(EncodeText::Reader from);
void write(EncodedText::Builder to, const protocol::EncodedText& from);
protocol::EncodedText read(EncodedText::Reader from);
void write(DecodeTokens::Builder to, const protocol::DecodeTokens& from);
protocol::DecodeTokens read(DecodeTokens::Reader from);
void write(RenderTemplate::Builder to, const protocol::RenderTemplate& from);
protocol::RenderTemplate read(RenderTemplate::Reader from);
void write(DecodedText::Builder to, const protocol::DecodedText& from);
protocol::DecodedText read(DecodedText::Reader from);

// work.cpp
void write(OpenContext::Builder to, const protocol::OpenContext& from);
protocol::OpenContext read(OpenContext::Reader from);
void write(ContextTokens::Builder to, const protocol::ContextTokens& from);
protocol::ContextTokens read(ContextTokens::Reader from);
void write(CloseContext::Builder to, const protocol::CloseContext& from);
protocol::CloseContext read(CloseContext::Reader from);
void write(ComputeChunk::Builder to, const protocol::ComputeChunk& from);
protocol::ComputeChunk read(ComputeChunk::Reader from);
void write(CancelCompute::Builder to, const protocol::CancelCompute& from);
protocol::CancelCompute read(CancelCompute::Reader from);
void write(ChunkProgress::Builder to, const protocol::ChunkProgress& from);
protocol::ChunkProgress read(ChunkProgress::Reader from);
void write(ChunkCommitted::Builder to, const protocol::ChunkCommitted& from);
protocol::ChunkCommitted read(ChunkCommitted::Reader from);
void write(ComputeFailed::Builder to, const protocol::ComputeFailed& from);
protocol::ComputeFailed read(ComputeFailed::Reader from);
void write(CommitListing::Builder to, const protocol::CommitListing& from);
protocol::CommitListing read(CommitListing::Reader from);
void write(ListingCommitted::Builder to, const protocol::ListingCommitted& from);
protocol::ListingCommitted read(ListingCommitted::Reader from);
void write(ChunkDamaged::Builder to, const protocol::ChunkDamaged& from);
protocol::ChunkDamaged read(ChunkDamaged::Reader from);
void write(AttentionSpec::Builder to, const protocol::AttentionSpec& from);
protocol::AttentionSpec read(AttentionSpec::Reader from);
void write(Evidence::Builder to, const protocol::Evidence& from);
protocol::Evidence read(Evidence::Reader from);
void write(MissedMass::Builder to, const protocol::MissedMass& from);
protocol::MissedMass read(MissedMass::Reader from);
void write(AttentionReport::Builder to, const protocol::AttentionReport& from);
protocol::AttentionReport read(AttentionReport::Reader from);
void write(StartAnswer::Builder to, const protocol::StartAnswer& from);
protocol::StartAnswer read(StartAnswer::Reader from);
void write(CancelAnswer::Builder to, const protocol::CancelAnswer& from);
protocol::CancelAnswer read(CancelAnswer::Reader from);
void write(AnswerToken::Builder to, const protocol::AnswerToken& from);
protocol::AnswerToken read(AnswerToken::Reader from);
void write(AnswerFinished::Builder to, const protocol::AnswerFinished& from);
protocol::AnswerFinished read(AnswerFinished::Reader from);
void write(AnswerFailed::Builder to, const protocol::AnswerFailed& from);
protocol::AnswerFailed read(AnswerFailed::Reader from);

}  // namespace rotulus::protocol::schema
