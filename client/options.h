// What the user asked for, verb by verb. Values; command_line.h fills them in from flags, environment and file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace rotulus::client {

enum class OutputFormat { terminal, json };

struct GlobalOptions {
  std::string url = "http://127.0.0.1:8080";
  std::string api_key;
  OutputFormat format = OutputFormat::terminal;
  std::string output_file;  // "": standard output
  bool is_quiet = false;    // no progress, no remarks
};

struct ServeOptions {
  std::string model;
  std::uint32_t ranks = 2;
  std::filesystem::path store;
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;
  std::uint32_t threads = 0;  // of each rank; 0: the cores divided by the ranks
  std::string kv_type = "f16";
  std::string isa = "auto";
  std::string arithmetic = "f32";
  std::string tier_ram_size = "4G";   // of each rank, as rotulus-worker reads it
  std::string landmark_ram_size;      // of it for landmarks; "": the worker's share
  std::string tier_disk_size;         // of each volume; "": as much as the disk has
  std::string eviction = "frequent";  // which blocks stay in memory
  std::string strategy = "auto";      // how queries and keys meet; any gives the same bits
  std::string alias;
  std::string chat_template;
  std::uint32_t context_length = 0;  // of the window; 0: what the model was trained for
  std::uint32_t step_tokens = 0;     // 0: the worker's own choice
  bool must_rebuild_catalogue = false;
  std::filesystem::path program_directory;  // of rotulus-coordinator and rotulus-worker
  std::string mpirun = "mpirun";
};

// A document, and how it is to be kept.
struct DocumentOptions {
  std::string file;  // "-": standard input
  std::string frame = "chat";
  std::optional<std::string> system;
  bool holds_token_ids = false;    // u32 little-endian, in place of text
  std::string attention = "auto";  // or "exact", "retrieval"
  std::string landmarks;           // with commas between them; "": the service's choice
};

struct SubmitOptions : DocumentOptions {
  std::optional<std::string> name;
  std::optional<std::uint32_t> ttl_seconds;
  bool must_wait = false;
};

struct EstimateOptions : DocumentOptions {};

// How an answer attends to its context; what is absent is the server's choice.
struct AttentionOptions {
  bool is_exact = false;
  std::optional<std::string> method;
  std::optional<std::uint32_t> budget_tokens;
  std::optional<std::uint32_t> local_tokens;
};

struct AskOptions {
  std::string context;
  std::string question;  // "-": standard input
  bool is_raw = false;
  std::optional<std::uint32_t> max_tokens;
  std::optional<double> temperature;
  std::optional<std::uint32_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<std::uint64_t> seed;
  std::vector<std::string> stop;
  AttentionOptions attention;
  bool is_one_pass = false;
  std::optional<bool> rereads;
  bool wants_provenance = false;
};

struct SearchOptions {
  std::string context;
  std::string query;  // "-": standard input
  std::uint32_t max_results = 10;
  AttentionOptions attention;
};

struct AppendOptions {
  std::string context;
  std::string file;  // "-": standard input; "": fork alone, nothing is put behind
  bool must_wait = false;
};
struct ForkOptions : AppendOptions {};

struct ExportOptions {
  std::string context;
};

struct ImportOptions {
  std::string file;  // "-": standard input
  std::optional<std::string> name;
};

inline constexpr std::uint32_t kMostNeedles = 16;

struct BenchOptions {
  std::string what = "methods";
  std::string file;                  // "-": standard input
  std::vector<std::string> methods;  // none: all that have a name
  std::uint32_t needles = 8;         // sentences hidden in the text, and asked for
  std::uint32_t seed = 1;
  std::string plot_file;  // an SVG; "": none
};

// For show, cancel, pin, verify and rm.
struct ContextsOptions {
  std::vector<std::string> contexts;
};

}  // namespace rotulus::client
