#include <cmath>

#include "protocol/codec/fields.h"
#include "protocol/codec/parts.h"

namespace rotulus::protocol::schema {

void write(OpenContext::Builder to, const protocol::OpenContext& from) {
  to.setContext(from.context.value);
  write(to.initParameters(), from.parameters);
  write(to.initDescription(), from.description);
  write_list(to.initChunks(count_of(from.chunks)), from.chunks);
}

protocol::OpenContext read(OpenContext::Reader from) {
  return {.context = {from.getContext()},
          .parameters = read(from.getParameters()),
          .description = read(from.getDescription()),
          .chunks = read_list(from.getChunks())};
}

void write(ContextTokens::Builder to, const protocol::ContextTokens& from) {
  to.setContext(from.context.value);
  to.setOffset(from.offset);
  write_numbers<TokenId>(to.initIds(count_of_tokens(from.ids, "ids")), from.ids);
}

protocol::ContextTokens read(ContextTokens::Reader from) {
  return {.context = {from.getContext()}, .offset = from.getOffset(), .ids = read_tokens(from.getIds(), "ids")};
}

void write(CloseContext::Builder to, const protocol::CloseContext& from) {
  to.setContext(from.context.value);
}

protocol::CloseContext read(CloseContext::Reader from) {
  return {.context = {from.getContext()}};
}

void write(ComputeChunk::Builder to, const protocol::ComputeChunk& from) {
  to.setContext(from.context.value);
  to.setChunkIndex(from.chunk_index);
  to.setObject(from.object.value);
  to.setComputedBefore(from.computed_before);
  to.setCatalogueSequence(from.catalogue_sequence);
}

protocol::ComputeChunk read(ComputeChunk::Reader from) {
  return {.context = {from.getContext()},
          .chunk_index = from.getChunkIndex(),
          .object = {from.getObject()},
          .computed_before = from.getComputedBefore(),
          .catalogue_sequence = from.getCatalogueSequence()};
}

void write(CancelCompute::Builder to, const protocol::CancelCompute& from) {
  to.setContext(from.context.value);
}

protocol::CancelCompute read(CancelCompute::Reader from) {
  return {.context = {from.getContext()}};
}

void write(ChunkProgress::Builder to, const protocol::ChunkProgress& from) {
  to.setContext(from.context.value);
  to.setProcessed(from.processed);
}

protocol::ChunkProgress read(ChunkProgress::Reader from) {
  return {.context = {from.getContext()}, .processed = from.getProcessed()};
}

void write(ChunkCommitted::Builder to, const protocol::ChunkCommitted& from) {
  to.setContext(from.context.value);
  to.setChunkIndex(from.chunk_index);
  write(to.initRecord(), from.record);
}

protocol::ChunkCommitted read(ChunkCommitted::Reader from) {
  return {.context = {from.getContext()}, .chunk_index = from.getChunkIndex(), .record = read(from.getRecord())};
}

void write(ComputeFailed::Builder to, const protocol::ComputeFailed& from) {
  to.setContext(from.context.value);
  to.setChunkIndex(from.chunk_index);
  to.setCode(write(from.code));
  to.setMessage(text(from.message));
}

protocol::ComputeFailed read(ComputeFailed::Reader from) {
  return {.context = {from.getContext()},
          .chunk_index = from.getChunkIndex(),
          .code = read(from.getCode()),
          .message = text(from.getMessage())};
}

void write(CommitListing::Builder to, const protocol::CommitListing& from) {
  write(to.initRecord(), from.record);
  to.setCatalogueSequence(from.catalogue_sequence);
}

protocol::CommitListing read(CommitListing::Reader from) {
  return {.record = read(from.getRecord()), .catalogue_sequence = from.getCatalogueSequence()};
}

void write(ListingCommitted::Builder to, const protocol::ListingCommitted& from) {
  to.setContext(from.context.value);
  write(to.initRecord(), from.record);
  if (from.error) to.getError().setCode(write(*from.error));
  to.setMessage(text(from.message));
}

protocol::ListingCommitted read(ListingCommitted::Reader from) {
  protocol::ListingCommitted committed{
      .context = {from.getContext()}, .record = read(from.getRecord()), .message = text(from.getMessage())};
  if (from.getError().isCode()) committed.error = read(from.getError().getCode());
  return committed;
}

void write(ChunkDamaged::Builder to, const protocol::ChunkDamaged& from) {
  to.setContext(from.context.value);
  to.setChunkIndex(from.chunk_index);
  to.setObject(from.object.value);
  to.setMessage(text(from.message));
}

protocol::ChunkDamaged read(ChunkDamaged::Reader from) {
  return {.context = {from.getContext()},
          .chunk_index = from.getChunkIndex(),
          .object = {from.getObject()},
          .message = text(from.getMessage())};
}

void write(SamplingSpec::Builder to, const protocol::SamplingSpec& from) {
  check_limit(from.logprobs, kMaxLogprobs, "logprobs");
  to.setTemperature(from.temperature);
  to.setTopK(from.top_k);
  to.setTopP(from.top_p);
  to.setMinP(from.min_p);
  to.setSeed(from.seed);
  to.setLogprobs(from.logprobs);
}

protocol::SamplingSpec read(SamplingSpec::Reader from) {
  check_limit(from.getLogprobs(), kMaxLogprobs, "logprobs");
  return {.temperature = from.getTemperature(),
          .top_k = from.getTopK(),
          .top_p = from.getTopP(),
          .min_p = from.getMinP(),
          .seed = from.getSeed(),
          .logprobs = from.getLogprobs()};
}

void write(TokenAlternative::Builder to, const protocol::TokenAlternative& from) {
  to.setToken(from.token);
  to.setBytes(data(from.bytes));
  to.setLogprob(from.logprob);
}

protocol::TokenAlternative read(TokenAlternative::Reader from) {
  return {.token = from.getToken(), .bytes = data(from.getBytes()), .logprob = from.getLogprob()};
}

void write(AttentionSpec::Builder to, const protocol::AttentionSpec& from) {
  check(from);
  to.setMode(write(from.mode));
  to.setBudgetTokens(from.budget_tokens);
  to.setLocalTokens(from.local_tokens);
  to.setSecondPass(from.second_pass);
  to.setWantsProvenance(from.wants_provenance);
  to.setLandmark(to_wire<PageLandmark>(from.landmark));
  to.setVote(to_wire<PageVote>(from.vote));
  to.setVoteOver(to_wire<VoteScope>(from.vote_over));
  to.setUnit(to_wire<SelectionUnit>(from.unit));
  to.setTopP(from.top_p);
  to.setReselectEvery(from.reselect_every);
  to.setLayerStride(from.layer_stride);
  write_numbers<std::uint32_t>(to.initSelectLayers(count_of(from.select_layers)), from.select_layers);
  to.setPositions(to_wire<PositionPolicy>(from.positions));
  to.setWantsMissedMass(from.wants_missed_mass);
  to.setAudits(from.audits);
  to.setRereadTokens(from.reread_tokens);
  to.setRescanEvery(from.rescan_every);
  to.setCandidatePages(from.candidate_pages);
  to.setScanShare(from.scan_share);
}

protocol::AttentionSpec read(AttentionSpec::Reader from) {
  const auto layers = from.getSelectLayers();
  check_limit(layers.size(), kMaxSelectLayers, "select_layers");
  protocol::AttentionSpec spec{
      .mode = read(from.getMode()),
      .budget_tokens = from.getBudgetTokens(),
      .local_tokens = from.getLocalTokens(),
      .second_pass = from.getSecondPass(),
      .wants_provenance = from.getWantsProvenance(),
      .landmark = from_wire(from.getLandmark(), protocol::PageLandmark::centroid, "landmark"),
      .vote = from_wire(from.getVote(), protocol::PageVote::sum, "vote"),
      .vote_over = from_wire(from.getVoteOver(), protocol::VoteScope::layer, "vote_over"),
      .unit = from_wire(from.getUnit(), protocol::SelectionUnit::block, "unit"),
      .top_p = from.getTopP(),
      .reselect_every = from.getReselectEvery(),
      .rescan_every = from.getRescanEvery(),
      .candidate_pages = from.getCandidatePages(),
      .scan_share = from.getScanShare(),
      .layer_stride = from.getLayerStride(),
      .select_layers = read_numbers<std::uint32_t>(layers),
      .positions = from_wire(from.getPositions(), protocol::PositionPolicy::clamped, "positions"),
      .wants_missed_mass = from.getWantsMissedMass(),
      .audits = from.getAudits(),
      .reread_tokens = from.getRereadTokens()};
  check(spec);
  return spec;
}

void write(Evidence::Builder to, const protocol::Evidence& from) {
  to.setRangeBegin(from.range.begin);
  to.setRangeEnd(from.range.end);
  to.setMass(from.mass);
}

protocol::Evidence read(Evidence::Reader from) {
  const TokenRange range{from.getRangeBegin(), from.getRangeEnd()};
  if (range.begin > range.end) refuse("evidence", fmt::format("[{}, {}) is no range", range.begin, range.end));
  if (!std::isfinite(from.getMass())) refuse("evidence", "its mass is no finite number");
  return {.range = range, .mass = from.getMass()};
}

void write(MissedMass::Builder to, const protocol::MissedMass& from) {
  to.setMean(from.mean);
  to.setWorst(from.worst);
  to.setIsAudited(from.is_audited);
  to.setTrueMean(from.true_mean);
  to.setTrueWorst(from.true_worst);
  to.setIsBounded(from.is_bounded);
  to.setBoundMean(from.bound_mean);
  to.setBoundWorst(from.bound_worst);
  to.setScanRecall(from.scan_recall);
}

protocol::MissedMass read(MissedMass::Reader from) {
  const float shares[] = {from.getMean(),      from.getWorst(),      from.getTrueMean(),  from.getTrueWorst(),
                          from.getBoundMean(), from.getBoundWorst(), from.getScanRecall()};
  for (const float share : shares) {
    if (!std::isfinite(share)) refuse("missed_mass", "a share is no finite number");
  }
  return {.mean = shares[0],
          .worst = shares[1],
          .is_audited = from.getIsAudited(),
          .true_mean = shares[2],
          .true_worst = shares[3],
          .is_bounded = from.getIsBounded(),
          .bound_mean = shares[4],
          .bound_worst = shares[5],
          .scan_recall = shares[6]};
}

void write(AttentionReport::Builder to, const protocol::AttentionReport& from) {
  check_limit(from.evidence.size(), kMaxEvidence, "evidence");
  to.setMode(write(from.mode));
  to.setContextTokens(from.context_tokens);
  to.setAttendedTokens(from.attended_tokens);
  to.setPinnedPages(from.pinned_pages);
  to.setSecondPass(from.second_pass);
  write_list(to.initEvidence(count_of(from.evidence)), from.evidence);
  to.setBlocksRead(from.blocks_read);
  if (from.missed_mass) write(to.initMissedMass(), *from.missed_mass);
  to.setLandmark(to_wire<PageLandmark>(from.landmark));
}

protocol::AttentionReport read(AttentionReport::Reader from) {
  const auto evidence = from.getEvidence();
  check_limit(evidence.size(), kMaxEvidence, "evidence");
  protocol::AttentionReport report{.mode = read(from.getMode()),
                                   .context_tokens = from.getContextTokens(),
                                   .attended_tokens = from.getAttendedTokens(),
                                   .pinned_pages = from.getPinnedPages(),
                                   .second_pass = from.getSecondPass(),
                                   .evidence = read_list(evidence),
                                   .blocks_read = from.getBlocksRead()};
  if (from.hasMissedMass()) report.missed_mass = read(from.getMissedMass());
  report.landmark = from_wire(from.getLandmark(), protocol::PageLandmark::centroid, "landmark");
  return report;
}

void write(StartAnswer::Builder to, const protocol::StartAnswer& from) {
  check_limit(from.stop.size(), kMaxStopStrings, "stop");
  to.setRequest(from.request.value);
  to.setContext(from.context.value);
  write_numbers<TokenId>(to.initQuestion(count_of_tokens(from.question, "question")), from.question);
  write_numbers<TokenId>(to.initForced(count_of_tokens(from.forced, "forced")), from.forced);
  write(to.initSampling(), from.sampling);
  to.setMaxTokens(from.max_tokens);
  auto stop = to.initStop(count_of(from.stop));
  for (unsigned i = 0; i < stop.size(); ++i) {
    check_limit(from.stop[i].size(), kMaxStopStringBytes, "stop");
    stop.set(i, text(from.stop[i]));
  }
  to.setIgnoreEos(from.ignore_eos);
  write(to.initAttention(), from.attention);
  to.setScoresQuestion(from.scores_question);
}

protocol::StartAnswer read(StartAnswer::Reader from) {
  protocol::StartAnswer answer{.request = {from.getRequest()},
                               .context = {from.getContext()},
                               .question = read_tokens(from.getQuestion(), "question"),
                               .forced = read_tokens(from.getForced(), "forced"),
                               .sampling = read(from.getSampling()),
                               .max_tokens = from.getMaxTokens(),
                               .ignore_eos = from.getIgnoreEos(),
                               .attention = read(from.getAttention()),
                               .scores_question = from.getScoresQuestion()};
  const auto stop = from.getStop();
  check_limit(stop.size(), kMaxStopStrings, "stop");
  for (const auto string : stop) {
    check_limit(string.size(), kMaxStopStringBytes, "stop");
    answer.stop.push_back(text(string));
  }
  return answer;
}

void write(CancelAnswer::Builder to, const protocol::CancelAnswer& from) {
  to.setRequest(from.request.value);
}

protocol::CancelAnswer read(CancelAnswer::Reader from) {
  return {.request = {from.getRequest()}};
}

void write(AnswerToken::Builder to, const protocol::AnswerToken& from) {
  check_limit(from.top.size(), kMaxLogprobs, "top");
  to.setRequest(from.request.value);
  to.setIndex(from.index);
  to.setToken(from.token);
  to.setBytes(data(from.bytes));
  to.setText(data(from.text));
  to.setLogprob(from.logprob);
  write_list(to.initTop(count_of(from.top)), from.top);
  to.setIsOfQuestion(from.is_of_question);
}

protocol::AnswerToken read(AnswerToken::Reader from) {
  const auto top = from.getTop();
  check_limit(top.size(), kMaxLogprobs, "top");
  return {.request = {from.getRequest()},
          .index = from.getIndex(),
          .token = from.getToken(),
          .bytes = data(from.getBytes()),
          .text = data(from.getText()),
          .logprob = from.getLogprob(),
          .top = read_list(top),
          .is_of_question = from.getIsOfQuestion()};
}

void write(AnswerFinished::Builder to, const protocol::AnswerFinished& from) {
  to.setRequest(from.request.value);
  to.setReason(to_wire<FinishReason>(from.reason));
  to.setText(data(from.text));
  to.setCompletionTokens(from.completion_tokens);
  to.setPromptMs(from.prompt_ms);
  to.setPredictedMs(from.predicted_ms);
  write(to.initAttention(), from.attention);
}

protocol::AnswerFinished read(AnswerFinished::Reader from) {
  return {.request = {from.getRequest()},
          .reason = from_wire(from.getReason(), protocol::FinishReason::length, "reason"),
          .text = data(from.getText()),
          .completion_tokens = from.getCompletionTokens(),
          .prompt_ms = from.getPromptMs(),
          .predicted_ms = from.getPredictedMs(),
          .attention = read(from.getAttention())};
}

void write(AnswerFailed::Builder to, const protocol::AnswerFailed& from) {
  to.setRequest(from.request.value);
  to.setCode(write(from.code));
  to.setMessage(text(from.message));
}

protocol::AnswerFailed read(AnswerFailed::Reader from) {
  return {.request = {from.getRequest()}, .code = read(from.getCode()), .message = text(from.getMessage())};
}

}  // namespace rotulus::protocol::schema
