#include "coordinator/http/context_json.h"

#include "coordinator/http/attention_form.h"
#include "coordinator/http/json_writer.h"

namespace rotulus::coordinator::http {
namespace {

void write_progress(JsonWriter& json, const ContextProgress& progress) {
  json.key("progress").begin_object();
  json.field("total", progress.total).field("processed", progress.processed).field("committed", progress.committed);
  json.field("time_ms", progress.time_ms).key("eta_ms");
  if (progress.eta_ms < 0) {
    json.null();
  } else {
    json.value(progress.eta_ms);
  }
  json.end_object();
}

void write_parameters(JsonWriter& json, const protocol::ContextParameters& parameters) {
  json.key("parameters").begin_object();
  json.field_or_null("model_fingerprint", parameters.model_fingerprint);
  json.field_or_null("tokenizer_fingerprint", parameters.tokenizer_fingerprint);
  json.field_or_null("rope", parameters.rope).field_or_null("kv_type", parameters.kv_type);
  json.field("block_tokens", parameters.block_tokens).field("chunk_tokens", parameters.chunk_tokens);
  json.field("lane_count", parameters.lane_count).field("format_version", parameters.format_version);
  json.field_or_null("numerics_id", parameters.numerics_id).end_object();
}

void write_description(JsonWriter& json, const protocol::ContextDescription& description) {
  json.field("frame", description.frame == protocol::Frame::chat ? "chat" : "raw");
  json.key("system");
  if (description.system) {
    json.value(*description.system);
  } else {
    json.null();
  }
  json.field_or_null("display_name", description.display_name);
  json.key("metadata").raw(description.metadata_json.empty() ? "{}" : std::string_view(description.metadata_json));
}

void write_times(JsonWriter& json, const protocol::ContextDescription& description) {
  json.field("created_at", description.created_at_unix_ms / 1000).key("expires_at");
  if (description.expires_at_unix_ms == 0) {
    json.null();
  } else {
    json.value(description.expires_at_unix_ms / 1000);
  }
}

void write_error(JsonWriter& json, const std::optional<protocol::Error>& error) {
  if (!error) {
    json.null();
    return;
  }
  json.begin_object().field("code", protocol::to_string(error->code())).field("message", error->message());
  json.end_object();
}

void write_verification(JsonWriter& json, const std::optional<VerificationView>& verification) {
  json.key("verification");
  if (!verification) {
    json.null();
    return;
  }
  std::string_view status = verification->error ? "failed" : "completed";
  if (verification->is_mending) status = "mending";
  if (verification->is_running) status = "in_progress";
  json.begin_object().field("status", status);
  json.key("chunks").begin_object();
  json.field("total", verification->chunks_total).field("read", verification->chunks_read);
  json.field("damaged", verification->chunks_damaged).end_object();
  json.field("blocks_verified", verification->blocks_verified);
  json.field("blocks_damaged", verification->blocks_damaged).key("error");
  write_error(json, verification->error);
  json.end_object();
}

}  // namespace

std::string to_json(const ContextView& view, std::string_view model_name) {
  JsonWriter json;
  json.begin_object();
  json.field("id", protocol::to_string(view.id)).field("object", "context").field("status", to_string(view.status));
  json.field("phase", view.phase);
  write_times(json, view.description);
  json.field("model", model_name);
  write_description(json, view.description);
  json.key("usage").begin_object().field("total_tokens", view.description.token_count);
  json.field("shared_tokens", view.shared_tokens);
  json.key("bytes").begin_object().field("source", view.source_bytes).field("disk", view.kv_bytes);
  json.field("saved_by_windows", view.window_savings).end_object();
  json.end_object();
  write_progress(json, view.progress);
  json.key("chunks").begin_object().field("committed", view.chunks_committed).field("repaired", view.chunks_repaired);
  json.end_object();
  write_parameters(json, view.parameters);
  const bool is_counted = view.description.token_count > 0;
  json.key("attention");
  write_retrieval(json, is_counted ? mode_of(view.parameters.retrieval) : to_string(view.description.attention),
                  view.parameters.retrieval);
  json.field("numerics_changed", view.numerics_changed);
  json.key("absent_volumes").begin_array();
  for (const std::string& volume : view.absent_volumes) json.value(volume);
  json.end_array();
  write_verification(json, view.verification);
  json.key("last_error");
  write_error(json, view.last_error);
  json.end_object();
  return json.take();
}

}  // namespace rotulus::coordinator::http
