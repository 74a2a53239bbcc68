// rotulus-doctor: `rotulus doctor -m FILE`. Exit codes: 0 a worker takes the file, 1 it is refused, 2 wrong usage.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <string>

#include "protocol/error.h"
#include "worker/doctor/inspection.h"

namespace rotulus::worker::doctor {
namespace {

namespace json = boost::json;

void print_list(const char* name, const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    fmt::print("{:<15} {}\n", name, line);
    name = "";
  }
}

void print_kv(const KvCost& cost) {
  fmt::print("{:<15} {} a token in memory and as much on disk, {} more for retrieval; a full window is {}{}\n",
             "KV in " + cost.type, shown_bytes(cost.token_bytes), shown_bytes(cost.landmark_bytes),
             shown_bytes(cost.window_bytes),
             cost.window_savings == 0
                 ? ""
                 : fmt::format(", without sliding layers {}", shown_bytes(cost.window_bytes + cost.window_savings)));
}

void print_text(const std::string& path, const Inspection& inspection) {
  fmt::print("{:<15} {}\n", "file", path);
  for (const Fact& fact : inspection.facts) fmt::print("{:<15} {}\n", fact.name, fact.value);
  for (const KvCost& cost : inspection.kv) print_kv(cost);
  print_list("unusual", inspection.unusual);
  print_list("refused", inspection.refused);
  fmt::print("{:<15} {}\n", "verdict", inspection.refused.empty() ? "can be served" : "cannot be served");
}

void print_json(const std::string& path, const Inspection& inspection) {
  json::object facts;
  for (const Fact& fact : inspection.facts) facts[fact.name] = fact.value;
  json::array kv;
  for (const KvCost& cost : inspection.kv)
    kv.push_back({{"type", cost.type},
                  {"host_bytes_per_token", cost.token_bytes},
                  {"disk_bytes_per_token", cost.token_bytes},
                  {"landmark_bytes_per_token", cost.landmark_bytes},
                  {"window_bytes", cost.window_bytes},
                  {"saved_by_windows", cost.window_savings}});
  const json::object result = {{"file", path},
                               {"facts", facts},
                               {"kv", kv},
                               {"unusual", json::value_from(inspection.unusual)},
                               {"refused", json::value_from(inspection.refused)}};
  fmt::print("{}\n", json::serialize(result));
}

// A file that cannot even be read has one thing to say.
Inspection inspect_file(const std::string& path, const std::string& chat_template) {
  try {
    return inspect(GgufFile::open(path), chat_template);
  } catch (const protocol::Error& error) {
    return {.refused = {error.message()}};
  }
}

int run(int argc, char** argv) {
  std::string path;
  std::string chat_template;
  std::string format = "text";
  CLI::App app{
      "Says what a model file is, what its keys and values cost, what is unusual in it, and what is refused and why.\n"
      "Reads the header only. Exit code 1 where a worker would refuse the file.\n\n"
      "  rotulus doctor -m model.gguf\n"
      "  rotulus doctor -m model.gguf --format json | jq .refused"};
  app.name("rotulus doctor");
  app.add_option("-m,--model", path, "GGUF file")->envname("ROTULUS_MODEL")->required()->check(CLI::ExistingFile);
  app.add_option("--chat-template", chat_template, "Judge the file as if started with this chat template")
      ->envname("ROTULUS_CHAT_TEMPLATE");
  app.add_option("--format", format, "text or json")->check(CLI::IsMember({"text", "json"}))->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const Inspection inspection = inspect_file(path, chat_template);
  if (format == "json")
    print_json(path, inspection);
  else
    print_text(path, inspection);
  return inspection.refused.empty() ? 0 : 1;
}

}  // namespace
}  // namespace rotulus::worker::doctor

int main(int argc, char** argv) {
  return rotulus::worker::doctor::run(argc, argv);
}
