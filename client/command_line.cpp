#include "client/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <map>

#include "client/config_file.h"
#include "protocol/error.h"
#include "protocol/methods.h"

namespace rotulus::client {
namespace {

namespace fs = std::filesystem;

// The application, and where each verb's options go.
struct Parser {
  CLI::App app{"Rotulus keeps long documents as the attention memory of a language model, and answers from them.",
               "rotulus"};
  GlobalOptions global;
  std::string format = "terminal";
  std::string config_file;
  bool must_print_config = false;
  ServeOptions serve;
  SubmitOptions submit;
  EstimateOptions estimate;
  AskOptions ask;
  SearchOptions search;
  AppendOptions append;
  ForkOptions fork;
  ShowOptions show;
  CancelOptions cancel;
  PinOptions pin;
  VerifyOptions verify;
  ExportOptions leaving;
  ImportOptions coming;
  BenchOptions bench;
  RemoveOptions remove;
};

// Gives every option that has a long name its environment twin: --kv-type, ROTULUS_KV_TYPE.
void name_environment(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty() || option->get_lnames()[0] == "help") continue;
    std::string name = "ROTULUS_" + option->get_lnames()[0];
    for (char& letter : name) letter = letter == '-' ? '_' : static_cast<char>(std::toupper(letter));
    option->envname(name);
  }
}

CLI::App* add_verb(Parser& parser, const std::string& name, const std::string& what, const std::string& examples) {
  CLI::App* verb = parser.app.add_subcommand(name, what);
  verb->footer("\nExamples:\n" + examples);
  return verb;
}

void add_global(Parser& parser) {
  CLI::App& app = parser.app;
  app.require_subcommand(1);
  app.fallthrough();
  app.option_defaults()->always_capture_default();
  app.set_help_flag("-h,--help", "Say this, or with a verb what it takes");
  app.get_formatter()->column_width(34);
  app.add_option("--url", parser.global.url, "The server");
  app.add_option("--api-key", parser.global.api_key, "The server's key; prefer ROTULUS_API_KEY, others can read flags");
  app.add_option("--format", parser.format, "How results are printed")->check(CLI::IsMember({"terminal", "json"}));
  app.add_option("-o,--output", parser.global.output_file, "Write results to this file");
  app.add_flag("-q,--quiet", parser.global.is_quiet, "No progress, no remarks");
  app.add_option("--config", parser.config_file, "Settings in TOML [~/.config/rotulus.toml where there is one]");
  app.add_flag("--print-config", parser.must_print_config, "Print the settings in force for the verb, and stop");
  app.footer(
      "\nEvery option --some-name can also be set as ROTULUS_SOME_NAME in the environment, or as some-name in the\n"
      "configuration file (a verb's options in a section named after the verb). Other verbs are the programs\n"
      "rotulus-VERB beside this one.\n"
      "\nExamples:\n"
      "  rotulus serve -m models/SmolLM2-135M-Instruct.Q4_1.gguf -n 2\n"
      "  rotulus submit book.txt --wait\n"
      "  rotulus ask book.txt \"Who is the murderer?\"");
}

void add_serve(Parser& parser) {
  ServeOptions& options = parser.serve;
  CLI::App* verb =
      add_verb(parser, "serve", "Run a server: a coordinator and one group of workers, restarted if they die",
               "  rotulus serve -m model.gguf -n 2\n"
               "  rotulus serve -m model.gguf -n 4 -t 8 --store /nvme/rotulus --tier-ram-size 64G\n"
               "  ROTULUS_API_KEY=… rotulus serve -m model.gguf --host 0.0.0.0");
  verb->add_option("-m,--model", options.model, "The model, a GGUF file (needed)");
  verb->add_option("-n,--ranks", options.ranks, "Worker processes")->check(CLI::Range(1, 256));
  verb->add_option("--store", options.store, "Where contexts are kept [~/.local/share/rotulus]");
  verb->add_option("--host", options.host, "Address to listen on; other than loopback only with --api-key");
  verb->add_option("--port", options.port, "Port to listen on")->check(CLI::Range(1, 65535));
  verb->add_option("-t,--threads", options.threads, "Threads of each rank; 0: cores / ranks");
  verb->add_option("--kv-type", options.kv_type, "How keys and values are stored")
      ->check(CLI::IsMember({"f16", "f32", "bf16", "int8", "int4"}));
  verb->add_option("--isa", options.isa, "Instruction set of the kernels")
      ->check(CLI::IsMember({"auto", "scalar", "avx2", "avx512"}));
  verb->add_option("--arithmetic", options.arithmetic,
                   "Dense products: f32; bf16 or int8, faster and rounded; auto, by the machine's rates")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "int8"}));
  verb->add_option("--tier-ram-size", options.tier_ram_size, "Memory for the store, each rank; K, M, G");
  verb->add_option("--landmark-ram-size", options.landmark_ram_size,
                   "Of it for landmarks, the rest for keys and values [a quarter]");
  verb->add_option("--eviction", options.eviction, "Which blocks stay in memory")
      ->check(CLI::IsMember({"frequent", "lru"}));
  verb->add_option("--tier-disk-size", options.tier_disk_size, "Disk for each volume; K, M, G [what the disk has]");
  verb->add_option("--strategy", options.strategy, "How queries and keys of ranks meet; any gives the same answers")
      ->check(CLI::IsMember({"auto", "ring", "gathered"}));
  verb->add_option("-a,--alias", options.alias, "Name of the model in the API [the file's]");
  verb->add_option("-c,--context-length", options.context_length,
                   "Positions that exact attention may span; 0: what the model was trained for")
      ->check(CLI::Range(512, 1 << 24) | CLI::IsMember({0}));
  verb->add_option("--step-tokens", options.step_tokens, "Tokens of one step of a prefill; 0: by time");
  verb->add_option(
      "--chat-template", options.chat_template,
      "Chat template to use instead of the file's: chatml, gemma, llama3 … (an unknown name is answered by all)");
  verb->add_flag("--rebuild-catalogue", options.must_rebuild_catalogue, "First restore the catalogue from the volumes");
  verb->add_option("--mpirun", options.mpirun, "The mpirun to start workers with");
  verb->add_option("--program-directory", options.program_directory, "Where the other programs are [beside this one]")
      ->group("");
}

void add_document(CLI::App* verb, DocumentOptions& options) {
  verb->add_option("file", options.file, "The document; - for standard input")->required();
  verb->add_option("--frame", options.frame, "Where the document stands: in a chat's first turn, or as raw text")
      ->check(CLI::IsMember({"chat", "raw"}));
  verb->add_option("--system", options.system, "System message, before the document");
  verb->add_flag("--ids", options.holds_token_ids, "The file holds token ids, u32 little-endian");
  verb->add_option("--attention", options.attention,
                   "Keep what retrieval needs: auto, where the document is longer than the model's window; or never, "
                   "or always")
      ->check(CLI::IsMember({"auto", "exact", "retrieval"}));
  verb->add_option(
      "--landmarks", options.landmarks,
      "What stands in for keys when pages are chosen, where retrieval needs it: sketch,mean and bounds and "
      "centroids, or some of them [sketch,mean]");
}

void add_submit(Parser& parser) {
  SubmitOptions& options = parser.submit;
  CLI::App* verb = add_verb(parser, "submit", "Make a document a context; it is streamed, however long",
                            "  rotulus submit book.txt --wait\n"
                            "  bible -f gen1:1-gen9:29 | rotulus submit - --name genesis --wait\n"
                            "  rotulus submit log.txt --frame raw --attention retrieval --format json\n"
                            "  rotulus submit book.txt --landmarks sketch,mean,bounds");
  add_document(verb, options);
  verb->add_option("--name", options.name, "Name to show and to ask by [the file's]");
  verb->add_option("--ttl", options.ttl_seconds, "Seconds after which it is deleted by itself [never]")
      ->check(CLI::Range(1, 10 * 365 * 24 * 3600));
  verb->add_flag("-w,--wait", options.must_wait, "Stay until it is completed, showing progress");
}

void add_estimate(Parser& parser) {
  CLI::App* verb =
      add_verb(parser, "estimate", "Count a document's tokens, and say what it would take and whether it fits",
               "  rotulus estimate book.txt\n"
               "  rotulus estimate ids.bin --ids --attention exact --format json");
  add_document(verb, parser.estimate);
}

void add_attention(CLI::App* verb, AttentionOptions& options) {
  CLI::Option* exact =
      verb->add_flag("--exact", options.is_exact, "Attend to every token; what does not fit is refused");
  verb->add_option("--method", options.method, "A named way to select what is read: quest, infllm, … [rotulus]")
      ->excludes(exact);
  verb->add_option("--budget-tokens", options.budget_tokens, "Tokens to retrieve, each layer and head [2048]")
      ->excludes(exact);
  verb->add_option("--local-tokens", options.local_tokens, "Tokens before the question that are always read [512]")
      ->excludes(exact);
}

void add_ask(Parser& parser) {
  AskOptions& options = parser.ask;
  CLI::App* verb = add_verb(parser, "ask", "Ask a question about a context; the answer streams",
                            "  rotulus ask book.txt \"Who is the murderer?\" --temperature 0\n"
                            "  rotulus ask ctx_0123456789abcdef --raw \"The murderer is\" --max-tokens 8\n"
                            "  rotulus ask book.txt \"Who is the murderer?\" --budget-tokens 4096 --provenance");
  verb->add_option("context", options.context, "The context's id or name")->required();
  verb->add_option("question", options.question, "The question; - for standard input")->required();
  verb->add_flag("--raw", options.is_raw, "Continue the text as it stands, without a chat turn");
  verb->add_option("--max-tokens", options.max_tokens, "Longest answer [what the window leaves]");
  verb->add_option("--temperature", options.temperature, "0: always the likeliest token [1]");
  verb->add_option("--top-k", options.top_k, "Sample among the k likeliest only");
  verb->add_option("--top-p", options.top_p, "Sample among the likeliest that hold this much probability");
  verb->add_option("--min-p", options.min_p, "Drop what is less likely than this share of the likeliest");
  verb->add_option("--seed", options.seed, "The same seed gives the same answer");
  verb->add_option("--stop", options.stop, "End the answer before this text; may be repeated")->allow_extra_args(false);
  add_attention(verb, options.attention);
  verb->add_flag("--reread,!--no-reread", options.rereads,
                 "Beyond the window: whether the text of the most attended pages is read again, exactly, before the "
                 "answer [yes, but for methods that do not]; if not, the question runs again with those pages pinned");
  verb->add_flag("--no-second-pass", options.is_one_pass, "Neither: the question runs once");
  verb->add_flag("--provenance", options.wants_provenance, "Print the passages that were attended to most");
}

void add_search(Parser& parser) {
  SearchOptions& options = parser.search;
  CLI::App* verb = add_verb(parser, "search", "Find the passages of a context that a question makes the model look at",
                            "  rotulus search book.txt \"The number of the lighthouse is\"\n"
                            "  rotulus search book.txt \"Who is the murderer?\" --max-results 3 --format json");
  verb->add_option("context", options.context, "The context's id or name")->required();
  verb->add_option("query", options.query, "The question; - for standard input")->required();
  verb->add_option("-n,--max-results", options.max_results, "Passages to print at most")->check(CLI::Range(1, 50));
  add_attention(verb, options.attention);
}

void add_append_and_fork(Parser& parser) {
  const auto add = [](CLI::App* verb, AppendOptions& options) {
    verb->add_flag("-w,--wait", options.must_wait, "Stay until it is completed, showing progress");
    verb->add_option("context", options.context, "The context's id or name")->required();
    return verb->add_option("file", options.file, "Text to put behind the document; - for standard input");
  };
  add(add_verb(parser, "append", "Continue a context's document; what is there is not computed again",
               "  rotulus append log.txt today.txt --wait\n"
               "  dmesg | rotulus append ctx_0123456789abcdef -"),
      parser.append)
      ->required();
  add(add_verb(parser, "fork", "Make a new context of the same document, which may go on differently",
               "  rotulus fork book.txt\n"
               "  rotulus fork book.txt other-ending.txt --wait"),
      parser.fork);
}

void add_export_and_import(Parser& parser) {
  CLI::App* leaving = add_verb(parser, "export", "Write a context to a file, with all that was computed for it",
                               "  rotulus export book.txt -o book.rotulus\n"
                               "  rotulus export ctx_0123456789abcdef | ssh other-machine rotulus import -");
  leaving->add_option("context", parser.leaving.context, "The context's id or name")->required();
  CLI::App* coming =
      add_verb(parser, "import", "Take in an exported context; nothing is computed, on any number of ranks",
               "  rotulus import book.rotulus\n"
               "  rotulus import book.rotulus --name book --format json");
  coming->add_option("file", parser.coming.file, "The file of an exported context; - for standard input")->required();
  coming->add_option("--name", parser.coming.name, "Name to show and to ask by [the one it had]");
}

void add_bench(Parser& parser) {
  BenchOptions& options = parser.bench;
  CLI::App* verb =
      add_verb(parser, "bench", "Compare the methods of retrieval on your own text: keys found, bytes read, time",
               "  rotulus bench methods book.txt\n"
               "  rotulus bench methods book.txt --methods exact rotulus quest --plot methods.svg\n"
               "  rotulus bench methods log.txt --needles 16 --seed 7 --format json");
  verb->add_option("what", options.what, "What is compared: methods")->required()->check(CLI::IsMember({"methods"}));
  verb->add_option("file", options.file, "The text in which sentences with keys are hidden; - for standard input")
      ->required();
  std::vector<std::string> names;
  for (const protocol::Method& method : protocol::methods()) names.push_back(method.name);
  verb->add_option("--methods", options.methods, "Names of methods [all]")->check(CLI::IsMember(names));
  verb->add_option("--needles", options.needles, "Sentences to hide and ask for")
      ->check(CLI::Range(std::uint32_t{1}, kMostNeedles));
  verb->add_option("--seed", options.seed, "The same seed hides the same keys");
  verb->add_option("--plot", options.plot_file, "Draw keys found over bytes read: an SVG file");
}

void add_others(Parser& parser) {
  add_verb(parser, "ps", "List the contexts", "  rotulus ps\n  rotulus ps --format json");
  auto add_contexts = [](CLI::App* verb, ContextsOptions& options) {
    verb->add_option("contexts", options.contexts, "Ids or names of contexts")->required();
  };
  add_contexts(add_verb(parser, "show", "Show all that is known of contexts", "  rotulus show book.txt"), parser.show);
  add_contexts(add_verb(parser, "cancel", "Stop computing contexts", "  rotulus cancel ctx_0123456789abcdef"),
               parser.cancel);
  add_contexts(
      add_verb(parser, "pin", "Keep contexts for good, whatever time they were given", "  rotulus pin book.txt"),
      parser.pin);
  add_verb(parser, "verify", "Read all that is stored of contexts, mend what is damaged, and read it again",
           "  rotulus verify\n"
           "  rotulus verify book.txt")
      ->add_option("contexts", parser.verify.contexts, "Ids or names of contexts [all]");
  add_contexts(add_verb(parser, "rm", "Delete contexts and free their bytes", "  rotulus rm book.txt log.txt"),
               parser.remove);
  add_verb(parser, "version", "Print the versions of this program and of the server", "  rotulus version");
}

// The file to read: named ones must be there.
std::optional<fs::path> config_path(const std::string& named) {
  if (!named.empty()) return fs::path(named);
  const char* home = std::getenv("HOME");
  fs::path usual = fs::path(home ? home : "/") / ".config" / "rotulus.toml";
  std::error_code unreadable;
  return fs::exists(usual, unreadable) ? std::optional(usual) : std::nullopt;
}

decltype(CommandLine::verb) chosen_verb(const Parser& parser) {
  std::string name = parser.app.get_subcommands()[0]->get_name();
  if (name == "serve") return parser.serve;
  if (name == "submit") return parser.submit;
  if (name == "estimate") return parser.estimate;
  if (name == "ask") return parser.ask;
  if (name == "search") return parser.search;
  if (name == "append") return parser.append;
  if (name == "fork") return parser.fork;
  if (name == "show") return parser.show;
  if (name == "cancel") return parser.cancel;
  if (name == "pin") return parser.pin;
  if (name == "verify") return parser.verify;
  if (name == "rm") return parser.remove;
  if (name == "export") return parser.leaving;
  if (name == "import") return parser.coming;
  if (name == "bench") return parser.bench;
  if (name == "ps") return PsOptions{};
  return VersionOptions{};
}

void add_everything(Parser& parser) {
  add_global(parser);
  add_serve(parser);
  add_submit(parser);
  add_estimate(parser);
  add_ask(parser);
  add_search(parser);
  add_append_and_fork(parser);
  add_export_and_import(parser);
  add_bench(parser);
  add_others(parser);
  name_environment(parser.app);
  for (CLI::App* verb : parser.app.get_subcommands([](CLI::App*) { return true; })) name_environment(*verb);
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments) {
  Parser parser;
  add_everything(parser);
  try {
    parser.app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    auto verbs = parser.app.get_subcommands();
    return {{}, Notice{verbs.empty() ? parser.app.help() : verbs[0]->help("rotulus"), 0}};
  } catch (const CLI::ParseError& failure) {
    return {{}, Notice{fmt::format("rotulus: {}\nTry rotulus --help.\n", failure.what()), 2}};
  }
  if (auto file = config_path(parser.config_file)) apply_config_file(parser.app, *file);
  if (parser.must_print_config) return {{}, Notice{describe_config(parser.app), 0}};
  parser.global.format = parser.format == "json" ? OutputFormat::json : OutputFormat::terminal;
  return {parser.global, chosen_verb(parser)};
}

std::vector<std::string> own_verbs() {
  Parser parser;
  add_everything(parser);
  std::vector<std::string> names;
  for (const CLI::App* verb : parser.app.get_subcommands([](CLI::App*) { return true; }))
    names.push_back(verb->get_name());
  return names;
}

}  // namespace rotulus::client
