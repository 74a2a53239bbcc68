// What operators ask: health, the worker group, metrics, and the page that shows them.
#include <fmt/format.h>

#include "coordinator/http/backends.h"
#include "coordinator/http/dashboard.h"
#include "coordinator/http/json_writer.h"
#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

std::string status_json(std::string_view status) {
  JsonWriter json;
  json.begin_object().field("status", status).end_object();
  return json.take();
}

HttpResponse readiness(const Backends& backends) {
  const ClusterView cluster = backends.cluster.view();
  if (backends.is_draining) return error_response(http_error(503, "draining", "The server is shutting down."));
  if (!cluster.is_ready) {
    return error_response(http_error(503, "not_ready", fmt::format("Not ready yet: {}.", cluster.state)));
  }
  return json_response(status_json("ok"));
}

void write_volumes(JsonWriter& json, const RankView& rank) {
  json.key("volumes").begin_array();
  for (const protocol::VolumeState& volume : rank.volumes) {
    json.begin_object().field("id", fmt::format("{}", volume.volume)).field("path", volume.path);
    json.field("catalogue_sequence", volume.catalogue_sequence);
    json.field("bytes_used", volume.bytes_used).field("bytes_free", volume.bytes_free);
    json.field("is_salvaged", volume.is_salvaged).end_object();
  }
  json.end_array().key("failed_volumes").begin_array();
  for (const protocol::VolumeFailure& failure : rank.failed_volumes) {
    json.begin_object().field("path", failure.path).field("reason", failure.reason).end_object();
  }
  json.end_array();
}

void write_stats(JsonWriter& json, const protocol::WorkerStats& stats) {
  json.key("bytes").begin_object();
  json.field("host_used", stats.host_bytes_used).field("host_budget", stats.host_bytes_budget);
  json.field("disk_used", stats.disk_bytes_used).end_object();
  json.key("blocks").begin_object();
  json.field("loaded", stats.blocks_loaded).field("verified", stats.blocks_verified);
  json.field("corrupt", stats.blocks_corrupt).field("evicted", stats.blocks_evicted);
  json.field("prefetched_used", stats.prefetched_used).field("prefetched_unused", stats.prefetched_unused);
  json.end_object();
  json.key("tokens").begin_object();
  json.field("prefilled", stats.tokens_prefilled).field("decoded", stats.tokens_decoded);
  json.field("recomputed", stats.tokens_recomputed).end_object();
  json.field("steps", stats.steps).field("step_seconds", stats.step_seconds);
}

void write_rank(JsonWriter& json, const RankView& rank) {
  json.begin_object().field("rank", rank.rank).field("host", rank.host).field("pid", rank.pid);
  json.field("threads", rank.threads);
  json.key("lanes").begin_object().field("begin", rank.lanes.begin).field("end", rank.lanes.end).end_object();
  write_volumes(json, rank);
  json.key("rates").begin_array();
  for (const protocol::MachineRate& rate : rank.rates) {
    json.begin_object().field("name", rate.name).field("threads", rate.threads);
    json.field("per_second", rate.per_second).end_object();
  }
  json.end_array();
  write_stats(json, rank.stats);
  json.end_object();
}

void write_model(JsonWriter& json, const ClusterView& cluster, std::string_view name) {
  json.key("model");
  if (!cluster.model) {
    json.null();
    return;
  }
  const protocol::ModelFacts& model = *cluster.model;
  json.begin_object().field("id", name).field("name", model.name).field("architecture", model.architecture);
  json.field("context_length", model.context_length).field("trained_length", model.trained_length);
  json.field("n_vocab", model.vocabulary).field("layers", model.layers);
  json.field("n_params", model.parameter_count).field("size", model.file_bytes);
  json.field("kv_bytes_per_token", model.kv.token_bytes);
  json.field("sliding_kv_bytes_per_token", model.kv.sliding_token_bytes);
  json.field("sliding_window", model.kv.sliding_window);
  json.field("has_chat_template", !model.chat_template.empty()).end_object();
}

HttpResponse cluster(const Backends& backends) {
  const ClusterView view = backends.cluster.view();
  JsonWriter json;
  json.begin_object().field("object", "cluster").field("is_ready", view.is_ready);
  json.field("state", backends.is_draining ? "draining" : view.state);
  json.field("epoch", view.epoch.value).field("store_id", fmt::format("{}", view.store));
  json.field("lane_count", protocol::kLaneCount);
  json.field_or_null("numerics_id", view.parameters ? view.parameters->numerics_id : "");
  json.field_or_null("kv_type", view.parameters ? view.parameters->kv_type : "");
  json.field_or_null("model_fingerprint", view.parameters ? view.parameters->model_fingerprint : "");
  write_model(json, view, backends.cluster.model_name());
  json.key("ranks").begin_array();
  for (const RankView& rank : view.ranks) write_rank(json, rank);
  json.end_array().key("refused").begin_array();
  for (const std::string& refusal : view.refused) json.value(refusal);
  json.end_array().end_object();
  return json_response(json.take());
}

HttpResponse version(const Backends& backends) {
  JsonWriter json;
  json.begin_object().field("name", "rotulus").field("version", backends.config.version);
  json.field("protocol_version", protocol::kProtocolVersion);
  json.field("store_format_version", protocol::kStoreFormatVersion).end_object();
  return json_response(json.take());
}

HttpResponse metrics(const Backends& backends) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = backends.metrics.serialize();
  return response;
}

HttpResponse liveness(const Backends&) {
  return json_response(status_json("ok"));
}
HttpResponse dashboard(const Backends&) {
  return dashboard_page(200);
}

Handled at_once(const Backends& backends, HttpResponse (*answer)(const Backends&)) {
  co_return answer(backends);
}

}  // namespace

std::vector<Route> system_routes(const Backends& backends) {
  const auto answer = [&backends](HttpResponse (*with)(const Backends&)) {
    return [&backends, with](Exchange&, std::string) { return at_once(backends, with); };
  };
  const auto page_that_asks_for_the_key = [] { return dashboard_page(401); };
  return {
      {.method = "GET", .pattern = "/livez", .handler = answer(liveness), .is_open = true},
      {.method = "GET", .pattern = "/readyz", .handler = answer(readiness), .is_open = true},
      {.method = "GET", .pattern = "/health", .handler = answer(readiness), .is_open = true},
      {.method = "GET", .pattern = "/version", .handler = answer(version)},
      {.method = "GET", .pattern = "/metrics", .handler = answer(metrics)},
      {.method = "GET", .pattern = "/v1/cluster", .handler = answer(cluster)},
      {.method = "GET", .pattern = "/", .handler = answer(dashboard), .without_key = page_that_asks_for_the_key},
  };
}

}  // namespace rotulus::coordinator::http
