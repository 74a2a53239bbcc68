#include "worker/model/tokenizer/pre_tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "protocol/error.h"

namespace rotulus::worker::tokenizer {
namespace {

// The patterns are data of the models (pre_tokenizer.pattern in their tokenizer.json).
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// `tokenizers` splits digits by a table that is newer than those of its patterns and of PCRE2 10.42 (Unicode 14): the
// ranges are the numbers that Unicode 15 to 17 added.
constexpr std::string_view kEachDigit =
    R"([\p{N}\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11DE0}-\x{11DE9}\x{11F50}-\x{11F59})"
    R"(\x{16130}-\x{16139}\x{16D70}-\x{16D79}\x{16FF4}-\x{16FF6}\x{1CCF0}-\x{1CCF9}\x{1D2C0}-\x{1D2D3})"
    R"(\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA}])";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
// What "default" means to the converters of GGUF files: Falcon's, with numbers in threes.
constexpr std::string_view kPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr std::string_view kNumber = R"(\p{N}+)";
constexpr std::string_view kThreeDigits = R"([0-9][0-9][0-9])";

struct Entry {
  std::string_view name;
  std::array<std::string_view, 4> patterns;  // "" ends them
  bool whole_tokens_first = false;
  bool adds_bos = false;
};

constexpr Entry kEntries[] = {
    {"command-r", {kEachDigit, kGpt2}},
    {"codeshell", {kEachDigit, kGpt2}},
    {"deepseek-r1-qwen", {kQwen2}},
    {"default", {kPunctuation, kGpt2, kNumber, kThreeDigits}},
    {"gpt-2", {kGpt2}},
    {"llama-bpe", {kLlama3}, true, true},
    {"llama-v3", {kLlama3}, true, true},
    {"llama3", {kLlama3}, true, true},
    {"qwen2", {kQwen2}},
    {"refact", {kEachDigit, kGpt2}},
    {"smollm", {kEachDigit, kGpt2}},
    {"starcoder", {kEachDigit, kGpt2}},
};

}  // namespace

PreTokenizer make_pre_tokenizer(std::string_view name) {
  const auto* entry = std::find_if(std::begin(kEntries), std::end(kEntries),
                                   [&](const Entry& candidate) { return candidate.name == name; });
  if (entry == std::end(kEntries)) {
    std::vector<std::string_view> names;
    for (const Entry& known : kEntries) names.push_back(known.name);
    throw protocol::Error(protocol::ErrorCode::unsupported,
                          fmt::format("tokenizer.ggml.pre is \"{}\"; we have {}", name, fmt::join(names, ", ")));
  }
  PreTokenizer pre_tokenizer{.whole_tokens_first = entry->whole_tokens_first, .adds_bos = entry->adds_bos};
  for (const std::string_view pattern : entry->patterns)
    if (!pattern.empty()) pre_tokenizer.patterns.emplace_back(pattern);
  return pre_tokenizer;
}

}  // namespace rotulus::worker::tokenizer
