#include <fmt/format.h>

#include <boost/json.hpp>
#include <chrono>

#include "client/api/json_answer.h"
#include "client/commands/commands.h"
#include "client/commands/document.h"

namespace rotulus::client {
namespace {

namespace json = boost::json;

std::uint64_t count_of(const json::object& object, std::string_view name) {
  return static_cast<std::uint64_t>(number_of(object, name));
}

std::string describe_attention(const json::object& attention) {
  std::string mode = text_of(attention, "mode");
  if (mode != "retrieval") return mode;
  return fmt::format("{}; computed exactly to {} tokens, then by a window of {}", mode,
                     describe_count(count_of(attention, "exact_tokens")),
                     describe_count(count_of(attention, "local_tokens")));
}

std::string describe_landmarks(std::uint64_t bytes) {
  return bytes == 0 ? "" : fmt::format("; landmarks {}", describe_bytes(bytes));
}

std::string describe_savings(std::uint64_t bytes) {
  return bytes == 0 ? "" : fmt::format("; {} less than without sliding windows", describe_bytes(bytes));
}

std::string describe_estimate(const json::object& estimate) {
  json::object bytes = object_of(estimate, "bytes");
  json::object available = object_of(estimate, "available");
  const json::value* seconds = estimate.if_contains("seconds");
  bool is_known = seconds && seconds->is_number();
  std::string obstacle = text_of(object_of(estimate, "obstacle"), "message");
  auto of = [&](std::string_view tier) {
    return fmt::format("{} of {}", describe_bytes(count_of(bytes, tier)), describe_bytes(count_of(available, tier)));
  };
  return format_table({{"tokens", describe_count(count_of(estimate, "tokens"))},
                       {"attention", describe_attention(object_of(estimate, "attention"))},
                       {"disk", of("disk") + " free" + describe_landmarks(count_of(bytes, "landmarks")) +
                                    describe_savings(count_of(bytes, "saved_by_windows"))},
                       {"memory", of("ram")},
                       {"time", is_known ? "about " + describe_age(std::chrono::seconds(number_of(estimate, "seconds")))
                                         : "not known before something was computed"},
                       {"fits", obstacle.empty() ? "yes" : "no: " + obstacle}});
}

}  // namespace

int estimate(Session& session, const EstimateOptions& options) {
  std::string answer = send_document(session, "/v1/contexts/estimate?" + document_fields(options), options);
  json::object estimate = parse_object(answer);
  session.results.write(session.wants_json() ? answer + "\n" : describe_estimate(estimate));
  return object_of(estimate, "obstacle").empty() ? 0 : 1;
}

}  // namespace rotulus::client
