// What doctor says of the model that tests read, and that a file which is refused is told why, part by part.
#include "worker/doctor/inspection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/byte_model.h"
#include "tests/support/model_file.h"

namespace rotulus::worker::doctor {
namespace {

std::string fact(const Inspection& inspection, const std::string& name) {
  const auto found = std::find_if(inspection.facts.begin(), inspection.facts.end(),
                                  [&](const Fact& candidate) { return candidate.name == name; });
  return found == inspection.facts.end() ? "" : found->value;
}

bool has(const std::vector<std::string>& lines, const std::string& part) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

TEST(Doctor, SaysWhatAModelIsAndCosts) {
  const Inspection inspection = inspect(GgufFile::open(testing::model_file()), "");
  EXPECT_TRUE(inspection.refused.empty()) << inspection.refused.front();
  EXPECT_EQ(fact(inspection, "architecture"), "llama");
  EXPECT_EQ(fact(inspection, "window"), "8192 tokens");
  EXPECT_EQ(fact(inspection, "attention"), "30 layers, 9 query heads, 3 KV heads of 64");
  EXPECT_EQ(fact(inspection, "chat template"), "chatml");
  EXPECT_EQ(fact(inspection, "ends an answer"), "<|endoftext|> <|im_end|>");
  ASSERT_GE(inspection.kv.size(), 2u);
  EXPECT_EQ(inspection.kv[0].type, "f16");
  EXPECT_EQ(inspection.kv[0].token_bytes, 30u * 2 * 3 * 64 * 2);
  EXPECT_EQ(inspection.kv[0].window_bytes, 8192 * inspection.kv[0].token_bytes);
  EXPECT_TRUE(has(inspection.unusual, "21 of 256 bytes"));
}

TEST(Doctor, CountsOfSlidingLayersWhatTheyKeep) {
  const auto bytes = testing::byte_model("gemma3", 512).build();
  const Inspection inspection = inspect(GgufFile::parse(bytes), "");
  EXPECT_TRUE(inspection.refused.empty()) << inspection.refused.front();
  EXPECT_EQ(fact(inspection, "sliding window"), "512 tokens, in 5 of 6 layers; RoPE base 10000");
  const std::uint64_t layer_bytes = 2 * 2 * 16 * 2;  // of one token in f16
  EXPECT_EQ(inspection.kv[0].token_bytes, (4096 + 5 * 512) * layer_bytes / 4096);
  EXPECT_EQ(inspection.kv[0].window_bytes, (1024 + 5 * 512) * layer_bytes);
  EXPECT_EQ(inspection.kv[0].window_bytes + inspection.kv[0].window_savings, 1024 * 6 * layer_bytes);
  EXPECT_GT(inspection.kv[0].landmark_bytes, 0u);
}

TEST(Doctor, SaysThatATemplateBeginsThoughts) {
  testing::GgufBuilder file = testing::byte_model("qwen3", 0);
  file.string(
      "tokenizer.chat_template",
      "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
      "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}");
  const auto bytes = file.build();
  const Inspection inspection = inspect(GgufFile::parse(bytes), "");
  EXPECT_EQ(fact(inspection, "chat template"), "chatml");
  EXPECT_TRUE(has(inspection.unusual, "</think>"));
}

TEST(Doctor, SaysOfEachPartOfAFileWhyItIsRefused) {
  testing::GgufBuilder file;
  file.string("general.architecture", "mamba").string("tokenizer.ggml.model", "t5");
  file.string("tokenizer.chat_template", "{{ unknown }}").zeros("x", {32}, 24, 32);  // I8: no weights
  const auto bytes = file.build();
  const Inspection inspection = inspect(GgufFile::parse(bytes), "");
  EXPECT_TRUE(has(inspection.refused, "mamba"));
  EXPECT_TRUE(has(inspection.refused, "t5"));
  EXPECT_TRUE(has(inspection.refused, "--chat-template"));
  EXPECT_TRUE(has(inspection.refused, "I8"));
  EXPECT_TRUE(inspection.kv.empty());

  const Inspection named = inspect(GgufFile::parse(bytes), "zephyr");
  EXPECT_EQ(fact(named, "chat template"), "zephyr");
  EXPECT_FALSE(has(named.refused, "--chat-template"));
}

}  // namespace
}  // namespace rotulus::worker::doctor
