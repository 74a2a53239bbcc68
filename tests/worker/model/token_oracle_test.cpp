// Our ids are those that llama.cpp and Hugging Face `tokenizers` gave on the texts of tests/oracle/token_texts.py
// (recorded by record_tokens.py). Where the two disagree, the list below says whom we follow; it has no other entries.
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/worker/model/tokenizer_fixture.h"
#include "worker/model/tokenizer.h"
#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker {
namespace {

namespace json = boost::json;
using Ids = std::vector<TokenId>;

// Causes: worker/model/tokenizer/README.md.
const std::map<std::string, std::string> kDisputes = {
    {"disputed-0", "tokenizers"},  // bytes that have no token: their neighbours meet
    {"disputed-1", "tokenizers"},
    {"disputed-2", "tokenizers"},
    {"disputed-3", "tokenizers"},  // a digit of Unicode 16
};

json::value read_record(const std::string& name) {
  const auto path = std::filesystem::path(ROTULUS_SOURCE_DIR) / ("tests/oracle/recorded/" + name + ".json");
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return json::parse(text.str());
}

std::string text_of(const json::object& entry) {
  std::string text;
  for (const json::value& part : entry.at("parts").as_array()) {
    const auto* run = part.if_array();
    const std::string piece(run != nullptr ? run->at(1).as_string() : part.as_string());
    for (std::int64_t i = 0, count = run != nullptr ? run->at(0).as_int64() : 1; i < count; ++i) text += piece;
  }
  return text;
}

std::string digest(const Ids& ids) {
  std::string bytes;
  for (const TokenId id : ids)
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(id >> shift);
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), hash);
  std::string hex;
  for (const unsigned char byte : hash) hex += fmt::format("{:02x}", byte);
  return hex;
}

void expect_recorded_ids(const json::value& record, const char* key, SpecialTokens special, std::size_t count) {
  std::map<std::string, std::string> disputes;
  const json::array& entries = record.at(key).as_array();
  ASSERT_EQ(entries.size(), count);
  for (const json::value& value : entries) {
    const json::object& entry = value.as_object();
    const std::string name(entry.at("name").as_string());
    const Ids ids = model_tokenizer().encode(text_of(entry), special);
    if (const auto* recorded = entry.if_contains("ids")) {
      EXPECT_EQ(ids, json::value_to<Ids>(*recorded)) << name;
    }
    if (const auto* recorded = entry.if_contains("sha256")) {
      EXPECT_EQ(digest(ids), recorded->as_string()) << name;
    } else {
      for (const char* other : {"llama.cpp", "tokenizers"})
        if (ids == json::value_to<Ids>(entry.at(other))) disputes[name] = other;
    }
  }
  EXPECT_EQ(disputes, special == SpecialTokens::parse ? decltype(disputes)() : kDisputes);
}

// Texts in which a letter, sign or digit stands that Unicode 15 or 16 added: PCRE2 10.42 does not know it.
const std::map<std::string, std::set<std::size_t>> kNewerThanPcre2 = {
    {"vocabularies/llama-3.gguf", {998, 999}},        {"vocabularies/qwen2.gguf", {999}},
    {"vocabularies/mistral-tekken.gguf", {998, 999}}, {"vocabularies/deepseek-v3.gguf", {512, 998, 999}},
    {"vocabularies/qwen2.gguf as dbrx", {999}},       {"vocabularies/qwen2.gguf as gpt-4o", {999}},
};

Tokenizer tokenizer_of(const std::string& file, const std::string& pre) {
  const auto path = std::filesystem::path(ROTULUS_SOURCE_DIR) / "models" / file;
  if (!std::filesystem::exists(path)) throw std::runtime_error(path.string() + " is missing: run scripts/setup.sh");
  tokenizer::Vocabulary vocabulary = tokenizer::read_vocabulary(GgufFile::open(path));
  if (!pre.empty()) vocabulary.pre_tokenizer = pre;
  return Tokenizer(vocabulary);
}

// Real vocabularies of many families, recorded by record_vocabularies.py: the first digits of the digest of each text.
TEST(TokenOracle, GivesTheIdsOfTheOthersForEveryVocabulary) {
  std::vector<std::string> texts;
  const json::value tokens = read_record("tokens");
  for (const json::value& entry : tokens.at("as_text").as_array()) texts.push_back(text_of(entry.as_object()));
  const json::value record = read_record("vocabularies");
  EXPECT_EQ(record.at("vocabularies").as_array().size(), 15u);
  for (const json::value& recorded : record.at("vocabularies").as_array()) {
    std::string name(recorded.at("file").as_string());
    const std::string pre(recorded.at("pre").as_string());
    const Tokenizer tokenizer = tokenizer_of(name, pre);
    if (!pre.empty()) name += " as " + pre;
    std::istringstream digests{std::string(recorded.at("digests").as_string())};
    std::set<std::size_t> different;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      std::string expected;
      digests >> expected;
      ASSERT_EQ(expected.size(), 8u);
      if (digest(tokenizer.encode(texts[i])).substr(0, 8) != expected) different.insert(i);
    }
    const auto known = kNewerThanPcre2.find(name);
    EXPECT_EQ(different, known == kNewerThanPcre2.end() ? std::set<std::size_t>() : known->second) << name;
  }
}

TEST(TokenOracle, GivesTheIdsOfTheOthersForTexts) {
  expect_recorded_ids(read_record("tokens"), "as_text", SpecialTokens::as_text, 1000);
}

TEST(TokenOracle, GivesTheIdsOfTheOthersWhereSpecialTokensAreParsed) {
  expect_recorded_ids(read_record("tokens"), "parsed", SpecialTokens::parse, 30);
}

}  // namespace
}  // namespace rotulus::worker
