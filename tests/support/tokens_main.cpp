// rotulus-tokens -m FILE --texts TEXTS.json [--special] [--pieces BYTES]: our token ids of texts, for oracles.
//
// TEXTS.json is a list of strings; each line of the output is the list of one text's ids. --special parses special
// tokens; --pieces lets the texts arrive in pieces of so many bytes.
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "worker/model/gguf_file.h"
#include "worker/model/tokenizer.h"

namespace {

using namespace rotulus::worker;
namespace json = boost::json;

std::vector<TokenId> encode_in_pieces(const Tokenizer& tokenizer, std::string_view text, std::size_t bytes) {
  std::vector<TokenId> ids;
  TokenStream stream(tokenizer);
  for (std::size_t offset = 0; offset < text.size(); offset += bytes) stream.append(text.substr(offset, bytes), ids);
  stream.finish(ids);
  return ids;
}

}  // namespace

int main(int argc, char** argv) {
  std::string model, texts;
  bool parse_special = false;
  std::size_t piece_bytes = 0;
  CLI::App app;
  app.add_option("-m", model)->required();
  app.add_option("--texts", texts)->required();
  app.add_flag("--special", parse_special);
  app.add_option("--pieces", piece_bytes);
  CLI11_PARSE(app, argc, argv);

  const Tokenizer tokenizer(GgufFile::open(model));
  std::stringstream content;
  content << std::ifstream(texts).rdbuf();
  const json::value parsed = json::parse(content.str());
  for (const json::value& value : parsed.as_array()) {
    const std::string_view text = value.as_string();
    const auto special = parse_special ? SpecialTokens::parse : SpecialTokens::as_text;
    const auto ids = piece_bytes > 0 ? encode_in_pieces(tokenizer, text, piece_bytes) : tokenizer.encode(text, special);
    std::puts(json::serialize(json::value_from(ids)).c_str());
  }
  return 0;
}
