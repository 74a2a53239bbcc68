// What every API class is given: the rooms below and the settings, borrowed from the server for its life.
#pragma once

#include <vector>

#include "coordinator/http/json_reader.h"
#include "coordinator/http/router.h"
#include "coordinator/http/server.h"

namespace rotulus::coordinator::http {

struct Backends {
  const HttpConfig& config;
  boost::asio::thread_pool& file_pool;
  Contexts& contexts;
  Queries& queries;
  Cluster& cluster;
  Metrics& metrics;
  const bool& is_draining;
  const std::int64_t started_at_unix_s;
};

std::vector<Route> contexts_routes(const Backends& backends);
std::vector<Route> openai_routes(const Backends& backends);
std::vector<Route> text_routes(const Backends& backends);
std::vector<Route> system_routes(const Backends& backends);

// The whole body as JSON, parsed as it arrives.
awaitable<JsonValue> read_json_body(Exchange& exchange);

// The error as a client sees it, with the numbers where the length is at fault.
ApiError to_api_error(const QueryFailure& failure, const Cluster& cluster);

}  // namespace rotulus::coordinator::http
