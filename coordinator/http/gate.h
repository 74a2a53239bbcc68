// Who may ask at all: the page a browser shows (Host, Origin) and the key.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/exchange.h"

namespace rotulus::coordinator::http {

class Gate final {
 public:
  // On loopback any page of any site could be pointed at us by its own DNS, so only loopback names are answered.
  Gate(const std::vector<std::string>& api_keys, bool is_loopback);

  // 403 where the Host is not ours or the Origin is another site's.
  std::optional<ApiError> judge_origin(const HttpRequest& request) const;

  // Whether no key is asked for, or one of ours came as "Authorization: Bearer" or "x-api-key". Takes the same time
  // for every wrong key.
  bool has_key(const HttpRequest& request) const;
  ApiError missing_key() const;

 private:
  using Digest = std::array<unsigned char, 32>;

  std::vector<Digest> keys_;
  bool is_loopback_;
};

}  // namespace rotulus::coordinator::http
