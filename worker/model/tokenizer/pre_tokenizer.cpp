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
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                     R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// DeepSeek LLM and Coder.
constexpr std::string_view kNewline = R"([\r\n])";
constexpr std::string_view kLettersOfCase =
    R"(\s?[)"
    R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1})"
    R"(\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A})"
    R"(\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B})"
    R"(\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC})"
    R"(\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})"
    R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134})"
    R"(\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787})"
    R"(\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A})"
    R"(\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2})"
    R"(\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})"
    R"(]+)";
constexpr std::string_view kSigns =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
// Their \s+$. Looking for it from each space of a long run would be quadratic: where it is not at the end, none is.
constexpr std::string_view kSpacesAtEnd = R"(\s++(?:\z|(*SKIP)(*FAIL)))";
constexpr std::string_view kHanAndHangul = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr std::string_view kLetters = R"(\s?\p{L}+)";
constexpr std::string_view kAnySigns = R"(\s?\p{P}+)";
// DeepSeek V2 and V3.
constexpr std::string_view kUpToThreeDigits = R"(\p{N}{1,3})";
constexpr std::string_view kHanAndKana = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr std::string_view kDeepseekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// What "default" means to the converters of GGUF files: Falcon's, with numbers in threes.
constexpr std::string_view kPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr std::string_view kNumber = R"(\p{N}+)";
constexpr std::string_view kThreeDigits = R"([0-9][0-9][0-9])";

struct Entry {
  std::string_view name;
  std::array<std::string_view, 6> patterns;  // "" ends them
  bool whole_tokens_first = false;
  bool adds_bos = false;
};

constexpr Entry kEntries[] = {
    {"codeshell", {kEachDigit, kGpt2}},
    {"command-r", {kEachDigit, kGpt2}},
    {"dbrx", {kLlama3}},  // and Phi-4
    {"deepseek-coder", {kNewline, kLetters, kAnySigns, kHanAndHangul, kEachDigit}},
    {"deepseek-llm", {kNewline, kLettersOfCase, kSigns, kSpacesAtEnd, kHanAndHangul, kNumber}},
    {"deepseek-r1-qwen", {kQwen2}},
    {"deepseek-v3", {kUpToThreeDigits, kHanAndKana, kDeepseekV3}},
    {"default", {kPunctuation, kGpt2, kNumber, kThreeDigits}},
    {"falcon3", {kLlama3}, true, true},
    {"gpt-2", {kGpt2}},
    {"gpt-4o", {kGpt4o}},  // and Phi-4-mini
    {"llama-bpe", {kLlama3}, true, true},
    {"llama-v3", {kLlama3}, true, true},
    {"llama3", {kLlama3}, true, true},
    {"llama4", {kGpt4o}},
    {"olmo", {kGpt2}},
    {"phi-2", {kGpt2}},
    {"pixtral", {kLlama3}, true, true},
    {"qwen2", {kQwen2}},
    {"refact", {kEachDigit, kGpt2}},
    {"smaug-bpe", {kLlama3}},
    {"smollm", {kEachDigit, kGpt2}},
    {"starcoder", {kEachDigit, kGpt2}},
    {"tekken", {kTekken}, true, true},
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
