// bench methods: the methods of docs/retrieval.md side by side on one context of the user's own text. Sentences with
// keys are hidden in it; a method is as good as the share of them that its answers name.
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <fstream>
#include <random>
#include <utility>

#include "client/api/json_answer.h"
#include "client/commands/commands.h"
#include "client/commands/document.h"
#include "client/scatter_plot.h"
#include "protocol/error.h"
#include "protocol/methods.h"
#include "protocol/token_range.h"

namespace rotulus::client {
namespace {

namespace json = boost::json;
using protocol::Error;
using protocol::ErrorCode;

constexpr std::string_view kSubjects[] = {"lighthouse", "orchard",  "museum",    "harbour", "observatory", "bakery",
                                          "library",    "windmill", "monastery", "brewery", "aqueduct",    "foundry",
                                          "granary",    "shipyard", "vineyard",  "quarry"};
static_assert(std::size(kSubjects) == kMostNeedles);

struct Needle {
  std::string subject;
  std::string key;
  std::string sentence() const { return fmt::format("The number of the {} is {}.", subject, key); }
  // In the sentence's own words: what a small model misses then, it did not read.
  std::string question() const {
    return fmt::format("\n\nQuestion: What is the number of the {0}?\nAnswer: The number of the {0} is", subject);
  }
};

struct Trial {  // one question
  std::string answer;
  bool is_right = false;
  double seconds = 0;
  std::uint64_t blocks_read = 0;  // of one layer each; where passages are read again, to find them
};

struct MethodResult {
  std::string method;
  std::vector<Trial> trials;  // none: it was refused

  std::uint64_t right() const {
    return static_cast<std::uint64_t>(std::count_if(trials.begin(), trials.end(), [](auto& t) { return t.is_right; }));
  }
  double share() const { return static_cast<double>(right()) / static_cast<double>(trials.size()); }
  double seconds() const {  // the median
    std::vector<double> all;
    for (const Trial& trial : trials) all.push_back(trial.seconds);
    std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
    return all[all.size() / 2];
  }
  double blocks() const {  // the mean
    double sum = 0;
    for (const Trial& trial : trials) sum += static_cast<double>(trial.blocks_read);
    return sum / static_cast<double>(trials.size());
  }
};

struct Comparison {
  std::string file;
  std::uint32_t seed = 0;
  std::uint64_t tokens = 0;
  double block_bytes = 0;  // of one layer
  std::vector<MethodResult> results;

  // The share of answers that are those of exact attention, word for word; nothing where that does not fit.
  std::optional<double> agreement(const MethodResult& result) const {
    const auto is_exact = [](const MethodResult& other) { return other.method == "exact" && !other.trials.empty(); };
    const auto exact = std::find_if(results.begin(), results.end(), is_exact);
    if (exact == results.end()) return std::nullopt;
    std::size_t same = 0;
    for (std::size_t i = 0; i < result.trials.size(); ++i) {
      same += result.trials[i].answer == exact->trials[i].answer ? 1 : 0;
    }
    return static_cast<double>(same) / static_cast<double>(result.trials.size());
  }
};

std::vector<Needle> draw_needles(std::uint32_t count, std::mt19937& dice) {
  std::vector<std::string_view> subjects(std::begin(kSubjects), std::end(kSubjects));
  std::vector<Needle> needles;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto drawn = subjects.begin() + static_cast<std::ptrdiff_t>(dice() % subjects.size());
    needles.push_back({std::string(*drawn), std::to_string(10'000 + dice() % 90'000)});
    subjects.erase(drawn);
  }
  return needles;
}

// Each as a line of its own, behind the line that is nearest to the middle of its part of the text.
std::string hide(const std::string& text, const std::vector<Needle>& needles) {
  std::string hidden;
  std::size_t done = 0;
  for (std::size_t i = 0; i < needles.size(); ++i) {
    const std::size_t middle = std::max(done, text.size() * (2 * i + 1) / (2 * needles.size()));
    const std::size_t end = std::min(text.find('\n', middle), text.size());
    hidden += text.substr(done, end - done) + "\n" + needles[i].sentence();
    done = end;
  }
  return hidden + text.substr(done);
}

// The first number of a reply.
std::string number_in(const std::string& reply) {
  const std::size_t begin = reply.find_first_of("0123456789");
  if (begin == std::string::npos) return "";
  return reply.substr(begin, reply.find_first_not_of("0123456789", begin) - begin);
}

Request completion(const std::string& context, const std::string& method, const Needle& needle) {
  json::object attention{{"method", method}, {"report", true}};
  if (method != "exact") attention["mode"] = "retrieval";
  const json::object body{{"context_id", context},
                          {"prompt", needle.question()},
                          {"max_tokens", 8},
                          {"temperature", 0},
                          {"attention", attention}};
  return {
      .method = "POST", .target = "/v1/completions", .content_type = "application/json", .body = json::serialize(body)};
}

Trial ask_once(Session& session, const std::string& context, const std::string& method, const Needle& needle) {
  const auto began = std::chrono::steady_clock::now();
  const json::object answer = parse_object(session.http.send(completion(context, method, needle)));
  Trial trial;
  trial.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (const json::value* choices = answer.if_contains("choices");
      choices && choices->is_array() && !choices->as_array().empty() && choices->as_array()[0].is_object()) {
    trial.answer = text_of(choices->as_array()[0].as_object(), "text");
  }
  trial.is_right = number_in(trial.answer) == needle.key;
  trial.blocks_read = static_cast<std::uint64_t>(number_of(object_of(answer, "attention"), "blocks_read"));
  return trial;
}

MethodResult try_method(Session& session, const std::string& context, const std::string& method,
                        const std::vector<Needle>& needles) {
  MethodResult result{.method = method, .trials = {}};
  try {
    for (const Needle& needle : needles) result.trials.push_back(ask_once(session, context, method, needle));
  } catch (const Error& error) {
    // Exact attention of a document that is longer than the window, or a method that is made for a longer window.
    if (error.code() != ErrorCode::invalid_argument) throw;
    result.trials.clear();
    if (!session.options.is_quiet) fmt::print(stderr, "{} is left out: {}\n", method, error.message());
  }
  return result;
}

// Deletes its context, whatever happens.
class BenchContext final {
 public:
  BenchContext(Session& session, const std::string& text) : session_(session) {
    // All kinds, so that each method has those that it scores by.
    const DocumentOptions kept{.frame = "raw",
                               .attention = "retrieval",
                               .landmarks = fmt::format("{}", fmt::join(protocol::kLandmarkKindWords, ","))};
    bool is_sent = false;
    const BodySource source{[&] { return std::exchange(is_sent, true) ? std::string_view() : std::string_view(text); },
                            text.size()};
    id_ = parse_context(
              session.http.send({.method = "POST",
                                 .target = "/v1/contexts?" + document_fields(kept) + "&display_name=bench%20methods",
                                 .content_type = "text/plain; charset=utf-8",
                                 .streamed_body = source}))
              .id;
  }
  ~BenchContext() {
    try {
      session_.http.send({.method = "DELETE", .target = "/v1/contexts/" + percent_encode(id_)});
    } catch (const Error&) {  // the server is gone; what was thrown before says more
    }
  }
  BenchContext(const BenchContext&) = delete;
  BenchContext& operator=(const BenchContext&) = delete;
  const std::string& id() const { return id_; }

 private:
  Session& session_;
  std::string id_;
};

double bytes_of_block(Session& session) {
  const json::object model = object_of(parse_object(session.http.send({.target = "/v1/cluster"})), "model");
  const auto layers = static_cast<double>(std::max<std::int64_t>(1, number_of(model, "layers")));
  return static_cast<double>(number_of(model, "kv_bytes_per_token")) * protocol::kBlockTokens / layers;
}

Comparison compare(Session& session, const BenchOptions& options) {
  std::mt19937 dice(options.seed);
  const std::vector<Needle> needles = draw_needles(options.needles, dice);
  Comparison comparison{.file = options.file, .seed = options.seed, .results = {}};
  comparison.block_bytes = bytes_of_block(session);
  const BenchContext context(session, hide(read_document(options.file), needles));
  const ContextSummary completed = parse_context(wait_until_final(session, context.id()));
  if (completed.status != "completed") throw Error(ErrorCode::unavailable, completed.last_error);
  comparison.tokens = completed.total_tokens;
  for (const std::string& method : options.methods) {
    comparison.results.push_back(try_method(session, context.id(), method, needles));
    const bool is_asked = !comparison.results.back().trials.empty();
    if (is_asked && !session.options.is_quiet) fmt::print(stderr, "{} asked\n", method);
  }
  return comparison;
}

std::string to_table(const Comparison& comparison) {
  std::vector<std::vector<std::string>> rows{{"METHOD", "FOUND", "AS EXACT", "READ", "SECONDS"}};
  for (const MethodResult& result : comparison.results) {
    if (result.trials.empty()) {
      rows.push_back({result.method, "-", "-", "-", "-"});
      continue;
    }
    const auto agreement = comparison.agreement(result);
    rows.push_back({result.method, fmt::format("{}/{}", result.right(), result.trials.size()),
                    agreement ? fmt::format("{:.0f} %", 100 * *agreement) : "-",
                    describe_bytes(static_cast<std::uint64_t>(result.blocks() * comparison.block_bytes)),
                    fmt::format("{:.2f}", result.seconds())});
  }
  return format_table(rows);
}

std::string to_json(const Comparison& comparison) {
  json::array methods;
  for (const MethodResult& result : comparison.results) {
    json::object method{{"method", result.method}, {"asked", result.trials.size()}};
    if (!result.trials.empty()) {
      method["found"] = result.right();
      const auto agreement = comparison.agreement(result);
      method["agreement"] = agreement ? json::value(*agreement) : json::value(nullptr);
      method["bytes_read"] = result.blocks() * comparison.block_bytes;
      method["seconds"] = result.seconds();
    }
    json::array answers;
    for (const Trial& trial : result.trials) answers.push_back(json::string(trial.answer));
    method["answers"] = answers;
    methods.push_back(method);
  }
  return json::serialize(json::object{{"object", "bench.methods"},
                                      {"file", comparison.file},
                                      {"seed", comparison.seed},
                                      {"tokens", comparison.tokens},
                                      {"methods", methods}}) +
         "\n";
}

void draw(const Comparison& comparison, const std::string& path) {
  constexpr double kMebibyte = 1 << 20;
  std::vector<PlotPoint> points;
  for (const MethodResult& result : comparison.results) {
    if (result.trials.empty()) continue;
    points.push_back({result.blocks() * comparison.block_bytes / kMebibyte, result.share(),
                      fmt::format("{} {:.2f} s", result.method, result.seconds())});
  }
  std::ofstream file(path, std::ios::binary);
  file << scatter_plot(fmt::format("Keys found in {} tokens over what an answer reads", comparison.tokens), "MiB read",
                       std::move(points));
  if (!file.flush()) throw Error(ErrorCode::unavailable, "cannot write " + path, "plot");
}

}  // namespace

int bench(Session& session, const BenchOptions& given) {
  BenchOptions options = given;
  if (options.methods.empty()) {
    for (const protocol::Method& method : protocol::methods()) options.methods.push_back(method.name);
  }
  const Comparison comparison = compare(session, options);
  session.results.write(session.wants_json() ? to_json(comparison) : to_table(comparison));
  if (!options.plot_file.empty()) draw(comparison, options.plot_file);
  return 0;
}

}  // namespace rotulus::client
