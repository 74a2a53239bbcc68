// Our rendering is what Jinja renders from the same template (recorded by tests/oracle/record_chat_template.py); what
// is not exactly ChatML is refused; a document's frame and the question are the two halves of one conversation.
#include "worker/model/chat_template.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "protocol/error.h"
#include "tests/worker/model/piece_vocabulary.h"
#include "tests/worker/model/text_generator.h"
#include "tests/worker/model/tokenizer_fixture.h"

namespace rotulus::worker {
namespace {

namespace json = boost::json;
using protocol::Error;
using protocol::ErrorCode;
using Ids = std::vector<TokenId>;

const json::value& record() {
  static const json::value value = [] {
    std::ifstream file(std::filesystem::path(ROTULUS_SOURCE_DIR) / "tests/oracle/recorded/chat_template.json");
    std::stringstream text;
    text << file.rdbuf();
    return json::parse(text.str());
  }();
  return value;
}

std::string text_of(const Prompt& prompt) {
  std::string text;
  for (const PromptPiece& piece : prompt) text += piece.text;
  return text;
}

std::vector<Message> messages_of(const json::value& conversation) {
  std::vector<Message> messages;
  for (const json::value& message : conversation.as_array())
    messages.push_back({std::string(message.at("role").as_string()), std::string(message.at("content").as_string())});
  return messages;
}

std::unique_ptr<ChatTemplate> model_template() {
  return make_chat_template(record().at("templates").at(0).at("jinja").as_string(), "");
}

ErrorCode error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::internal;
}

TEST(ChatTemplate, RendersWhatJinjaRenders) {
  std::size_t compared = 0;
  for (const json::value& recorded : record().at("templates").as_array()) {
    const auto* rendered = recorded.as_object().if_contains("rendered");
    if (rendered == nullptr) continue;
    const auto chat = make_chat_template(recorded.at("jinja").as_string(), "");
    ASSERT_NE(chat, nullptr);
    EXPECT_EQ(chat->name(), "chatml");
    const json::array& conversations = record().at("conversations").as_array();
    for (std::size_t i = 0; i < conversations.size(); ++i, ++compared)
      EXPECT_EQ(text_of(chat->render(messages_of(conversations[i]))), rendered->at(i).as_string())
          << recorded.at("name").as_string();
  }
  EXPECT_EQ(compared, 40u);
}

// The other families: each is recognised by the marks of its template and rendered as Jinja renders it.
TEST(ChatTemplate, RendersEachFamilyAsJinjaDoes) {
  const TemplateMarks marks{.bos = "<s>", .eos = "</s>"};
  const json::array& conversations = record().at("family_conversations").as_array();
  EXPECT_EQ(record().at("families").as_array().size(), 15u);
  for (const json::value& recorded : record().at("families").as_array()) {
    const std::string name(recorded.at("name").as_string());
    const auto recognised = make_chat_template(recorded.at("jinja").as_string(), "", marks);
    const auto named = make_chat_template(std::nullopt, name, marks);
    EXPECT_EQ(recognised->name(), name);
    for (std::size_t i = 0; i < conversations.size(); ++i) {
      const auto messages = messages_of(conversations[i]);
      EXPECT_EQ(text_of(recognised->render(messages)), recorded.at("rendered").at(i).as_string()) << name;
      EXPECT_EQ(text_of(named->render(messages)), recorded.at("rendered").at(i).as_string()) << name;
    }
  }
}

// The frame of a context and the question about it are the two halves of one conversation, in every family.
TEST(ChatTemplate, FramesADocumentInEveryFamily) {
  for (const json::value& recorded : record().at("families").as_array()) {
    const auto chat = make_chat_template(recorded.at("jinja").as_string(), "", {.bos = "<s>", .eos = "</s>"});
    for (const std::optional<std::string>& system :
         {std::optional<std::string>("Be kind."), std::optional<std::string>()}) {
      std::vector<Message> conversation = {{"user", "The document.\n\nOne"}, {"assistant", "Two"}, {"user", "Three"}};
      if (system) conversation.insert(conversation.begin(), {"system", *system});
      EXPECT_EQ(text_of(chat->open_document(system)) + "The document." +
                    text_of(chat->close_document({{"user", "One"}, {"assistant", "Two"}, {"user", "Three"}})),
                text_of(chat->render(conversation)))
          << chat->name();
    }
  }
}

TEST(ChatTemplate, RefusesASystemMessageWhereTheTemplateHasNoPlaceForIt) {
  const auto chat = make_chat_template(
      "{{ '<start_of_turn>' }}{{ '<end_of_turn>' }}{{ raise_exception('System role not supported') }}", "");
  EXPECT_EQ(chat->name(), "gemma");
  EXPECT_EQ(error_of([&] { chat->open_document("x"); }), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of([&] { chat->render({{"system", "x"}, {"user", "y"}}); }), ErrorCode::invalid_argument);
}

// White space behind the marks of Phi-3 is no part of its prompts.
TEST(ChatTemplate, SwallowsSpaceBehindMarksWhereTheVocabularyDoes) {
  auto vocabulary = piece_vocabulary({{"x", -1}, {"<|user|>", 0, tokenizer::TokenType::control}}, true);
  vocabulary.swallows_space = true;
  const Tokenizer tokenizer(vocabulary);
  const Prompt prompt = {{PromptPiece::Kind::markup, "<|user|>\n"}, {PromptPiece::Kind::text, "\nx"}};
  EXPECT_EQ(encode(tokenizer, prompt), (Ids{kFirstPiece + 1, ' ', '\n', kFirstPiece}));
}

TEST(ChatTemplate, IsThatOfTheModelFile) {
  const GgufFile file = GgufFile::open(testing::model_file());
  EXPECT_EQ(file.require_string("tokenizer.chat_template"), record().at("templates").at(0).at("jinja").as_string());
}

TEST(ChatTemplate, RefusesWhatIsNotExactlyChatmlAndOffersTheFlag) {
  std::size_t refused = 0;
  for (const json::value& recorded : record().at("templates").as_array()) {
    if (recorded.as_object().contains("rendered")) continue;
    try {
      make_chat_template(recorded.at("jinja").as_string(), "");
      ADD_FAILURE() << recorded.at("name").as_string();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      EXPECT_NE(error.message().find("--chat-template chatml"), std::string::npos);
      ++refused;
    }
  }
  EXPECT_EQ(refused, 13u);
}

TEST(ChatTemplate, IsAbsentWhereTheFileHasNoneAndNoneIsNamed) {
  EXPECT_EQ(make_chat_template(std::nullopt, ""), nullptr);
}

TEST(ChatTemplate, CanBeNamedWhereTheFilesIsUnknown) {
  const auto chat = make_chat_template("{{ unknown }}", "chatml");
  EXPECT_EQ(text_of(chat->render({{"user", "x"}})), "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(error_of([] { make_chat_template("{{ unknown }}", "vicuna"); }), ErrorCode::unsupported);
  // Naming it does not lose the default system prompt of a template that is recognised.
  const auto same = make_chat_template(record().at("templates").at(0).at("jinja").as_string(), "chatml");
  EXPECT_EQ(text_of(same->render({{"user", "x"}})), text_of(model_template()->render({{"user", "x"}})));
}

TEST(ChatTemplate, RefusesRolesItDoesNotKnow) {
  const auto chat = model_template();
  for (const char* role : {"", "User", "user<|im_end|>"})
    EXPECT_EQ(error_of([&] { chat->render({{role, "x"}}); }), ErrorCode::invalid_argument);
}

TEST(ChatTemplate, RefusesAQuestionThatIsNone) {
  const auto chat = model_template();
  EXPECT_EQ(error_of([&] { chat->close_document({}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of([&] { chat->close_document({{"assistant", "x"}}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of([&] { chat->close_document({{"user", "x"}, {"system", "y"}}); }), ErrorCode::invalid_argument);
}

RC_GTEST_PROP(ChatTemplate, FramesADocumentAsTheFirstUserTurn, ()) {
  const auto chat = model_template();
  const std::string document = *any_text();
  std::vector<Message> messages = {{"user", *any_text()}};
  for (int turns = *rc::gen::inRange(0, 3); turns > 0; --turns) {
    messages.push_back({"assistant", *any_text()});
    messages.push_back({"user", *any_text()});
  }
  const auto system = *rc::gen::maybe(any_text());

  std::vector<Message> conversation = messages;
  conversation[0].content = document + "\n\n" + messages[0].content;
  if (system) conversation.insert(conversation.begin(), {"system", *system});
  RC_ASSERT(text_of(chat->open_document(system ? std::optional(*system) : std::nullopt)) + document +
                text_of(chat->close_document(messages)) ==
            text_of(chat->render(conversation)));
}

// The text of users never becomes special tokens, and markup and text are cut into pre-tokens as one text.
RC_GTEST_PROP(ChatTemplate, EncodesMarkupAsOneShotTokenizingOfTheString, ()) {
  const Tokenizer& tokenizer = model_tokenizer();
  std::string content = *any_text();
  const Prompt prompt = model_template()->render({{"system", "Be kind."}, {"user", content}});
  const Ids ids = encode(tokenizer, prompt);
  const TokenId start = *tokenizer.find_special("<|im_start|>");
  RC_ASSERT(std::count(ids.begin(), ids.end(), start) == 3);
  if (content.find("<|im_") == std::string::npos)
    RC_ASSERT(ids == tokenizer.encode(text_of(prompt), SpecialTokens::parse));
}

RC_GTEST_PROP(ChatTemplate, LetsADocumentFollowInAStream, ()) {
  const Tokenizer& tokenizer = model_tokenizer();
  const std::string document = *any_text();
  Prompt prompt = model_template()->open_document(std::nullopt);
  Ids ids;
  TokenStream stream(tokenizer);
  append(tokenizer, prompt, stream, ids);
  stream.append(document, ids);
  stream.finish(ids);
  prompt.push_back({PromptPiece::Kind::text, document});
  RC_ASSERT(ids == encode(tokenizer, prompt));
}

}  // namespace
}  // namespace rotulus::worker
