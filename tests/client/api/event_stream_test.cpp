// The parser is shown streams as servers write them, and every stream again in every cut.
#include "client/api/event_stream.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <vector>

namespace rotulus::client {
namespace {

using Event = std::tuple<std::string, std::string, std::string>;  // name, id, data

std::vector<Event> parse(const std::vector<std::string>& pieces) {
  std::vector<Event> events;
  EventStreamParser parser([&](const ServerEvent& event) { events.emplace_back(event.name, event.id, event.data); });
  for (const std::string& piece : pieces) parser.feed(piece);
  return events;
}

TEST(EventStream, ReadsFieldsCommentsAndSeveralDataLines) {
  EXPECT_EQ(parse({": ping\n\nid: 7\nevent: progress\ndata: {\"a\":\ndata:1}\n\ndata: [DONE]\n\n"}),
            (std::vector<Event>{{"progress", "7", "{\"a\":\n1}"}, {"", "7", "[DONE]"}}));
}

TEST(EventStream, GivesNoEventWithoutDataOrWithoutItsEnd) {
  EXPECT_TRUE(parse({"id: 1\n\nevent: x\n\n: comment\n\ndata: not ended\n"}).empty());
}

TEST(EventStream, TakesEveryKindOfLineEnd) {
  std::vector<Event> one{{"", "", "a\nb"}};
  EXPECT_EQ(parse({"data: a\ndata: b\n\n"}), one);
  EXPECT_EQ(parse({"data: a\r\ndata: b\r\n\r\n"}), one);
  EXPECT_EQ(parse({"data: a\rdata: b\r\r"}), one);
}

RC_GTEST_PROP(EventStream, DoesNotDependOnHowTheStreamIsCut, ()) {
  auto line = rc::gen::element<std::string>("data: a", "data:b", "data", "id: 3", "event: e", ": c", "", "x: y");
  auto line_end = rc::gen::element<std::string>("\n", "\r\n", "\r");
  std::string stream;
  for (const auto& [text, end] :
       *rc::gen::container<std::vector<std::pair<std::string, std::string>>>(rc::gen::pair(line, line_end)))
    stream += text + end;
  std::vector<std::string> bytes;
  for (char byte : stream) bytes.emplace_back(1, byte);
  RC_ASSERT(parse(bytes) == parse({stream}));
}

}  // namespace
}  // namespace rotulus::client
