// From a request to its handler. The gate stands before every route: Host and Origin (DNS rebinding), then the key;
// only routes that say so are open. A new route is one line in its API's routes().
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/exchange.h"
#include "coordinator/http/gate.h"

namespace rotulus::coordinator::http {

using Handled = awaitable<std::optional<HttpResponse>>;  // nullopt: streamed, or nobody is left to answer

struct Route {
  std::string_view method;
  std::string_view pattern;  // "/v1/contexts/{id}/cancel": one segment may be {id}
  std::function<Handled(Exchange& exchange, std::string id)> handler;
  bool is_open = false;                            // answered without a key
  bool is_work = false;                            // refused while draining
  std::function<HttpResponse()> without_key = {};  // instead of the plain 401: a page that asks for the key
};

class Router final {
 public:
  Router(Gate gate, std::vector<Route> routes) : gate_(std::move(gate)), routes_(std::move(routes)) {}

  // Throws what the handler throws; judges by the gate first.
  Handled handle(Exchange& exchange, bool is_draining) const;

  std::span<const Route> routes() const { return routes_; }

 private:
  const Gate gate_;
  const std::vector<Route> routes_;
};

}  // namespace rotulus::coordinator::http
