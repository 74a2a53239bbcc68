// Strictness is shown by what is refused, equality by reading back what was written, and independence of the pieces by
// cutting one text at every byte.
#include "coordinator/http/json_reader.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>

#include "coordinator/http/json_writer.h"
#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

std::string refusal(std::string_view text) {
  try {
    parse_json(text);
    return "";
  } catch (const protocol::Error& error) {
    EXPECT_EQ(error.code(), protocol::ErrorCode::invalid_argument);
    return error.message();
  }
}

TEST(JsonReader, ReadsEveryKindOfValueAndWritesItBack) {
  const std::string text =
      R"({"a":null,"b":[true,false],"c":-5,"d":18446744073709551615,"e":0.25,"f":"x\"\\\n\u0001é😀","g":[1,2,3],"h":{},"i":[]})";
  EXPECT_EQ(to_json(parse_json(text)), text);
}

TEST(JsonReader, RefusesWhatIsNotStrictJson) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":1,}",
                           "// x\n1",
                           "NaN",
                           "Infinity",
                           "-Infinity",
                           "01",
                           "+1",
                           ".5",
                           "1.",
                           "1e",
                           "'a'",
                           "{a:1}",
                           "[1 2]",
                           "1 2",
                           "{}x",
                           "\"\\x41\"",
                           "\"a\nb\"",
                           "\"\\u12\"",
                           "nul",
                           "tru",
                           "\"",
                           "[\"\xFF\"]",
                           "[\"\xC0\xAF\"]",
                           "[\"\xED\xA0\x80\"]",
                           "[\"\xF4\x90\x80\x80\"]",
                           "[\"\\ud800\"]",
                           "[\"\\ud800x\"]",
                           "[\"\\udc00\"]",
                           "[\"\\ud800\\ud800\"]",
                           "\xEF\xBB\xBF{}",
                           "1e999",
                           "-1e999",
                           "1e-999",
                           "1e99999999999"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
}

TEST(JsonReader, NamesAKeyThatIsGivenTwiceAtAnyDepth) {
  EXPECT_NE(refusal(R"({"text":"a","text":"b"})").find("\"text\" is given twice"), std::string::npos);
  EXPECT_NE(refusal(R"([[{"x":{"a":1,"b":2,"a":3}}]])").find("\"a\" is given twice"), std::string::npos);
  EXPECT_NE(refusal(R"({"a":1,"\u0061":2})").find("given twice"), std::string::npos);
}

TEST(JsonReader, TakesThirtyTwoLevelsAndNoMore) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(refusal(nested(protocol::kMaxJsonDepth)), "");
  EXPECT_NE(refusal(nested(protocol::kMaxJsonDepth + 1)).find("nested deeper than 32"), std::string::npos);
  EXPECT_NE(refusal(nested(1'000'000)), "");
}

TEST(JsonReader, CountsValuesButNotTokenIds) {
  std::string zeros = "[0";
  std::string nulls = "[null";
  for (std::size_t i = 0; i < protocol::kMaxJsonValues; ++i) {
    zeros += ",0";
    nulls += ",null";
  }
  EXPECT_EQ(parse_json(zeros + "]").get_if<JsonValue::Integers>()->size(), protocol::kMaxJsonValues + 1);
  EXPECT_NE(refusal(nulls + "]").find("values"), std::string::npos);
  EXPECT_NE(refusal(zeros + ",\"a\"]").find("values"), std::string::npos);
}

TEST(JsonReader, KeepsIntegersExactAtTheEdges) {
  EXPECT_EQ(*parse_json("9223372036854775807").get_if<std::int64_t>(), INT64_MAX);
  EXPECT_EQ(*parse_json("-9223372036854775808").get_if<std::int64_t>(), INT64_MIN);
  EXPECT_EQ(*parse_json("9223372036854775808").get_if<std::uint64_t>(), 1ull << 63);
  EXPECT_TRUE(parse_json("18446744073709551616").get_if<double>());
  EXPECT_EQ(*parse_json("[4294967295]").get_if<JsonValue::Integers>(), JsonValue::Integers{UINT32_MAX});
  EXPECT_TRUE(parse_json("[4294967296]").get_if<JsonValue::Array>());
  EXPECT_TRUE(parse_json("[1,-1]").get_if<JsonValue::Array>());
  EXPECT_NE(refusal(std::string(200, '1') + ".5"), "");
}

TEST(JsonReader, GivesOneValueWhereverTheTextIsCut) {
  const std::string text = R"({"key":["\ud83d\ude00é",12345,-0.125e2,[7,8,4294967295],{"in":"side"}],"t":true})";
  const std::string whole = to_json(parse_json(text));
  for (std::size_t first = 0; first <= text.size(); ++first) {
    for (std::size_t second = first; second <= text.size(); second += 7) {
      JsonParser parser;
      parser.write(std::string_view(text).substr(0, first));
      parser.write(std::string_view(text).substr(first, second - first));
      parser.write(std::string_view(text).substr(second));
      EXPECT_EQ(to_json(parser.finish()), whole) << first << " " << second;
    }
  }
}

TEST(JsonReader, ReadsBackAnyStringThatItWrote) {
  rc::check("write then read is the identity on UTF-8, and mends the rest", [](const std::string& bytes) {
    JsonWriter json;
    json.value(bytes);
    RC_ASSERT(*parse_json(json.take()).get_if<std::string>() == to_valid_utf8(bytes));
  });
}

TEST(JsonReader, ReadsBackTheSameFloat) {
  rc::check("the shortest text of a float32 gives its bits again", [](std::uint32_t bits) {
    float number = 0;
    std::memcpy(&number, &bits, sizeof number);
    RC_PRE(std::isfinite(number));
    JsonWriter json;
    json.value(number);
    RC_ASSERT(static_cast<float>(*parse_json(json.take()).get_if<double>()) == number);
  });
}

TEST(JsonReader, WritesFloatsAsReals) {
  JsonWriter json;
  json.begin_array().value(1.0f).value(-0.1f).value(1e-8f).value(3.0).end_array();
  EXPECT_EQ(json.take(), "[1.0,-0.1,1e-08,3.0]");
}

TEST(JsonReader, SurvivesAnyBytes) {
  rc::check("any bytes give a value or an Error", [](const std::string& bytes) {
    try {
      parse_json(bytes);
    } catch (const protocol::Error&) {
    }
  });
}

}  // namespace
}  // namespace rotulus::coordinator::http
