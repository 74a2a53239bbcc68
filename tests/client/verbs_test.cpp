// Each verb against a real HTTP server that answers as the coordinator does: what is asked, and what the user sees.
#include <gtest/gtest.h>

#include "client/commands/commands.h"
#include "protocol/error.h"
#include "tests/client/fake_server.h"
#include "tests/client/temporary_directory.h"

namespace rotulus::client {
namespace {

constexpr const char* kCompleted =
    R"({"id":"ctx_1","object":"context","status":"completed","phase":"","display_name":"book","created_at":1,)"
    R"("usage":{"total_tokens":6000,"bytes":{"disk":2048}},"progress":{"total":6000,"processed":6000}})";
constexpr const char* kInProgress = R"({"id":"ctx_1","status":"in_progress","phase":"computing","display_name":"book",)"
                                    R"("progress":{"total":6000,"processed":512,"eta_ms":4000}})";
constexpr const char* kFailed =
    R"({"id":"ctx_1","status":"failed","last_error":{"code":"context_length_exceeded","message":"9,000 tokens"}})";

class VerbsTest : public testing::Test {
 protected:
  // The session's results, read back after the verb.
  template <typename Verb, typename... Options>
  std::string run(FakeServer& server, OutputFormat format, Verb verb, const Options&... options) {
    GlobalOptions global{
        .url = server.url(), .format = format, .output_file = (directory_.path() / "out").string(), .is_quiet = true};
    Session session = open_session(global);
    exit_code_ = verb(session, options...);
    return directory_.read("out");
  }

  TemporaryDirectory directory_;
  int exit_code_ = -1;
};

bool asks(const std::string& request, const std::string& line) {
  return request.starts_with(line);
}

TEST_F(VerbsTest, SubmitStreamsTheFileWithItsNameAndPrintsTheId) {
  FakeServer server([](const std::string&) { return http_answer(kInProgress, "202 Accepted"); });
  auto file = directory_.write("my book.txt", "In the beginning");
  SubmitOptions options;
  options.file = file.string();
  options.system = "Be brief.";
  EXPECT_EQ(run(server, OutputFormat::terminal, submit, options), "ctx_1\n");
  std::string request = server.requests().at(0);
  EXPECT_TRUE(asks(request, "POST /v1/contexts?frame=chat&system=Be%20brief.&display_name=my%20book.txt HTTP/1.1"))
      << request;
  EXPECT_NE(request.find("Content-Type: text/plain; charset=utf-8\r\n"), std::string::npos);
  EXPECT_NE(request.find("Content-Length: 16\r\n"), std::string::npos);
  EXPECT_TRUE(request.ends_with("\r\n\r\nIn the beginning"));
}

TEST_F(VerbsTest, SubmitWaitsThroughALostConnectionUntilTheContextIsCompleted) {
  int follows = 0;
  FakeServer server([&follows](const std::string& request) {
    if (!asks(request, "GET /v1/contexts/ctx_1/events")) return http_answer(kInProgress, "202 Accepted");
    return ++follows == 1 ? event_answer({kInProgress}) : event_answer({kInProgress, kCompleted});
  });
  SubmitOptions options;
  options.file = directory_.write("a.txt", "x").string();
  options.must_wait = true;
  EXPECT_EQ(run(server, OutputFormat::json, submit, options), std::string(kCompleted) + "\n");
  EXPECT_EQ(follows, 2);
}

TEST_F(VerbsTest, SubmitFailsWithTheContextsOwnError) {
  FakeServer server([](const std::string& request) {
    return asks(request, "POST") ? http_answer(kInProgress) : event_answer({kFailed});
  });
  SubmitOptions options;
  options.file = directory_.write("a.txt", "x").string();
  options.must_wait = true;
  try {
    run(server, OutputFormat::terminal, submit, options);
    FAIL() << "nothing was thrown";
  } catch (const protocol::Error& failure) {
    EXPECT_EQ(failure.message(), "ctx_1 failed: 9,000 tokens");
  }
}

TEST_F(VerbsTest, SubmitNamesAFileThatCannotBeRead) {
  FakeServer server([](const std::string&) { return http_answer(kInProgress); });
  EXPECT_THROW(run(server, OutputFormat::terminal, submit, SubmitOptions{{.file = "/no/such/file"}}), protocol::Error);
  EXPECT_THROW(run(server, OutputFormat::terminal, submit, SubmitOptions{{.file = "/"}}), protocol::Error);
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(VerbsTest, AskStreamsTheAnswerAsItsChunksSay) {
  FakeServer server([](const std::string&) {
    return event_answer({R"({"choices":[{"delta":{"role":"assistant","content":""}}]})",
                         R"({"choices":[{"delta":{"content":"Mel"}}],"usage":null})",
                         R"({"choices":[{"delta":{"content":"chior"}}]})",
                         R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}})", "[DONE]"});
  });
  AskOptions options{.context = "ctx_1", .question = "Who \"?", .max_tokens = 9, .temperature = 0.0, .stop = {"\n"}};
  EXPECT_EQ(run(server, OutputFormat::terminal, ask, options), "Melchior\n");
  std::string request = server.requests().at(0);
  EXPECT_TRUE(asks(request, "POST /v1/chat/completions HTTP/1.1"));
  EXPECT_NE(request.find(R"("context_id":"ctx_1","messages":[{"role":"user","content":"Who \"?"}],"max_tokens":9,)"
                         R"("temperature":0E0,"stop":["\n"],"stream":true)"),
            std::string::npos)
      << request;
}

TEST_F(VerbsTest, AskRawContinuesTheText) {
  FakeServer server([](const std::string&) { return event_answer({R"({"choices":[{"text":" 42"}]})", "[DONE]"}); });
  AskOptions options{.context = "ctx_1", .question = "It is", .is_raw = true};
  EXPECT_EQ(run(server, OutputFormat::terminal, ask, options), " 42\n");
  EXPECT_TRUE(asks(server.requests().at(0), "POST /v1/completions HTTP/1.1"));
  EXPECT_NE(server.requests().at(0).find(R"("prompt":"It is")"), std::string::npos);
}

TEST_F(VerbsTest, AskSaysWhenTheAnswerBreaksOff) {
  std::string end;
  FakeServer server([&end](const std::string&) {
    std::vector<std::string> events{R"({"choices":[{"delta":{"content":"Mel"}}]})"};
    if (!end.empty()) events.push_back(end);
    return event_answer(events);
  });
  AskOptions options{.context = "ctx_1", .question = "Who?"};
  EXPECT_THROW(run(server, OutputFormat::terminal, ask, options), protocol::Error);
  end = R"({"error":{"message":"no worker group in 30 s"}})";
  try {
    run(server, OutputFormat::terminal, ask, options);
    FAIL() << "nothing was thrown";
  } catch (const protocol::Error& failure) {
    EXPECT_EQ(failure.message(), "the answer broke off: no worker group in 30 s");
  }
}

constexpr const char* kProvenance =
    R"([{"token_range":[4096,4144],"mass":0.75,"text":"a lighthouse"},{"token_range":[16,32],"mass":0.5,"text":"x"}])";

TEST_F(VerbsTest, AskPrintsThePassagesThatWereAttendedTo) {
  FakeServer server([](const std::string&) {
    return event_answer(
        {R"({"choices":[{"delta":{"content":"Mel"}}]})",
         R"({"choices":[{"delta":{},"finish_reason":"stop"}],"provenance":)" + std::string(kProvenance) + "}",
         "[DONE]"});
  });
  AskOptions options{
      .context = "ctx_1", .question = "Who?", .is_one_pass = true, .rereads = true, .wants_provenance = true};
  options.attention.method = "quest";
  options.attention.budget_tokens = 4096;
  EXPECT_EQ(run(server, OutputFormat::terminal, ask, options),
            "Mel\n\n0.750  tokens 4,096 to 4,144\na lighthouse\n\n0.500  tokens 16 to 32\nx\n");
  const std::string request = server.requests().at(0);
  EXPECT_NE(request.find(R"("attention":{"method":"quest","budget_tokens":4096,"second_pass":false,"reread":true})"),
            std::string::npos)
      << request;
  EXPECT_NE(request.find(R"("return_provenance":true)"), std::string::npos) << request;
  run(server, OutputFormat::terminal, ask, AskOptions{.context = "ctx_1", .question = "Who?", .attention = {true}});
  EXPECT_NE(server.requests().at(1).find(R"("attention":{"mode":"exact"})"), std::string::npos);
}

TEST_F(VerbsTest, SearchPrintsWhatWasFound) {
  FakeServer server([](const std::string&) {
    return http_answer(R"({"data":[{"score":0.75,"attributes":{"token_range":[4096,4144]},)"
                       R"("content":[{"type":"text","text":"a lighthouse"}]}]})");
  });
  SearchOptions options{.context = "ctx_1", .query = "lighthouse", .max_results = 3};
  EXPECT_EQ(run(server, OutputFormat::terminal, search, options), "0.750  tokens 4,096 to 4,144\na lighthouse\n");
  const std::string request = server.requests().at(0);
  EXPECT_TRUE(asks(request, "POST /v1/contexts/ctx_1/search ")) << request;
  EXPECT_TRUE(request.ends_with(R"({"query":"lighthouse","max_num_results":3})")) << request;
}

TEST_F(VerbsTest, EstimateSaysWhatADocumentTakesAndFailsWhereItDoesNotFit) {
  const std::string head =
      R"({"tokens":90000,"attention":{"mode":"retrieval","exact_tokens":8192,"local_tokens":2048},)"
      R"("bytes":{"disk":2097152,"ram":1048576,"landmarks":1048576},"available":{"disk":4194304,"ram":1048576},)";
  std::string end = R"("seconds":130.5,"obstacle":null})";
  FakeServer server([&](const std::string&) { return http_answer(head + end); });
  EstimateOptions options;
  options.file = directory_.write("a.txt", "In the beginning").string();
  options.attention = "retrieval";
  options.landmarks = "sketch,mean";
  EXPECT_EQ(run(server, OutputFormat::terminal, estimate, options),
            "tokens     90,000\n"
            "attention  retrieval; computed exactly to 8,192 tokens, then by a window of 2,048\n"
            "disk       2.0 MiB of 4.0 MiB free; landmarks 1.0 MiB\n"
            "memory     1.0 MiB of 1.0 MiB\n"
            "time       about 2 min\n"
            "fits       yes\n");
  EXPECT_EQ(exit_code_, 0);
  const std::string request = server.requests().at(0);
  EXPECT_TRUE(asks(request, "POST /v1/contexts/estimate?frame=chat&attention=retrieval&landmarks=sketch%2Cmean "))
      << request;
  EXPECT_TRUE(request.ends_with("\r\n\r\nIn the beginning")) << request;
  end = R"("seconds":null,"obstacle":{"code":"storage_full","message":"no room"}})";
  const std::string text = run(server, OutputFormat::terminal, estimate, options);
  EXPECT_NE(text.find("fits       no: no room\n"), std::string::npos) << text;
  EXPECT_EQ(exit_code_, 1);
}

TEST_F(VerbsTest, AppendAndForkSendTheFilesText) {
  FakeServer server([](const std::string&) { return http_answer(kInProgress); });
  AppendOptions options{.context = "ctx_1", .file = directory_.write("a.txt", "and \"so\" on").string()};
  run(server, OutputFormat::terminal, append, options);
  const std::string appended = server.requests().at(0);
  EXPECT_TRUE(asks(appended, "POST /v1/contexts/ctx_1/append ")) << appended;
  EXPECT_TRUE(appended.ends_with(R"({"text":"and \"so\" on"})")) << appended;
  ForkOptions alone;
  alone.context = "ctx_1";
  run(server, OutputFormat::terminal, fork, alone);
  const std::string forked = server.requests().at(1);
  EXPECT_TRUE(asks(forked, "POST /v1/contexts/ctx_1/fork ")) << forked;
  EXPECT_TRUE(forked.ends_with("\r\n\r\n{}")) << forked;
}

TEST_F(VerbsTest, PsListsEveryPage) {
  FakeServer server([](const std::string& request) {
    bool is_second = asks(request, "GET /v1/contexts?limit=100&after=ctx_1 ");
    return http_answer(is_second ? R"({"data":[{"id":"ctx_2","status":"queued"}],"has_more":false})"
                                 : R"({"data":[)" + std::string(kCompleted) + R"(],"has_more":true})");
  });
  std::string text = run(server, OutputFormat::terminal, list_contexts);
  EXPECT_TRUE(text.starts_with("NAME  ID     STATUS     TOKENS  SIZE     PROGRESS  AGE\n")) << text;
  EXPECT_NE(text.find("book  ctx_1  completed  6,000   2.0 KiB  100 %"), std::string::npos) << text;
  EXPECT_NE(text.find("-     ctx_2  queued     -       -        -         -\n"), std::string::npos) << text;
}

TEST_F(VerbsTest, FindsAContextByItsName) {
  FakeServer server([](const std::string& request) {
    if (asks(request, "GET /v1/contexts?")) return http_answer(R"({"data":[)" + std::string(kCompleted) + "]}");
    return http_answer(R"({"id":"ctx_1","deleted":true})");
  });
  EXPECT_EQ(run(server, OutputFormat::json, remove_contexts, ContextsOptions{{"book"}}),
            "{\"id\":\"ctx_1\",\"deleted\":true}\n");
  EXPECT_TRUE(asks(server.requests().at(1), "DELETE /v1/contexts/ctx_1 "));
  EXPECT_THROW(run(server, OutputFormat::terminal, show_contexts, ContextsOptions{{"novel"}}), protocol::Error);
}

TEST_F(VerbsTest, ShowPrintsEveryFieldByItsPath) {
  FakeServer server([](const std::string&) { return http_answer(kCompleted); });
  std::string text = run(server, OutputFormat::terminal, show_contexts, ContextsOptions{{"ctx_1"}});
  EXPECT_NE(text.find("usage.bytes.disk             2048\n"), std::string::npos) << text;
  EXPECT_EQ(exit_code_, 0);
}

TEST_F(VerbsTest, CancelAsksForIt) {
  FakeServer server([](const std::string&) { return http_answer(kInProgress); });
  run(server, OutputFormat::terminal, cancel_contexts, ContextsOptions{{"ctx_1", "ctx_2"}});
  EXPECT_TRUE(asks(server.requests().at(0), "POST /v1/contexts/ctx_1/cancel "));
  EXPECT_TRUE(asks(server.requests().at(1), "POST /v1/contexts/ctx_2/cancel "));
}

TEST_F(VerbsTest, SubmitGivesATimeToLiveAndPinTakesItBack) {
  FakeServer server([](const std::string&) { return http_answer(kInProgress); });
  SubmitOptions options;
  options.file = directory_.write("a.txt", "x").string();
  options.ttl_seconds = 3600;
  run(server, OutputFormat::terminal, submit, options);
  EXPECT_TRUE(asks(server.requests().at(0), "POST /v1/contexts?frame=chat&display_name=a.txt&ttl=3600 "));
  run(server, OutputFormat::terminal, pin_contexts, ContextsOptions{{"ctx_1"}});
  EXPECT_TRUE(asks(server.requests().at(1), "POST /v1/contexts/ctx_1/pin "));
}

// The first pass finds damage, so there is a second.
TEST_F(VerbsTest, VerifyWaitsUntilWhatIsDamagedIsMendedAndReadAgain) {
  int passes = 0, polls = 0;
  FakeServer server([&](const std::string& request) {
    const bool begins = request.starts_with("POST");
    passes += begins ? 1 : 0;
    polls += begins ? 0 : 1;
    const std::string status = begins ? "in_progress" : polls == 1 ? "mending" : "completed";
    return http_answer(fmt::format(
        R"({{"id":"ctx_1","status":"completed","verification":{{"status":"{}","blocks_verified":{},"blocks_damaged":{}}}}})",
        status, passes == 1 ? 9 : 10, passes == 1 ? 1 : 0));
  });
  const std::string text = run(server, OutputFormat::terminal, verify_contexts, ContextsOptions{{"ctx_1"}});
  EXPECT_EQ(text, "ctx_1 9 blocks verified, 1 damaged; computed again: 10 verified, 0 damaged\n");
  EXPECT_EQ(exit_code_, 0);
  EXPECT_EQ(passes, 2);
}

TEST_F(VerbsTest, VerifyFailsWhereAVolumeCannotBeRead) {
  FakeServer server([](const std::string&) {
    return http_answer(
        R"({"id":"ctx_1","status":"completed","verification":{"status":"failed","error":{"message":"m"}}})");
  });
  Session session = open_session({.url = server.url(), .is_quiet = true});
  EXPECT_THROW(verify_contexts(session, ContextsOptions{{"ctx_1"}}), protocol::Error);
}

TEST_F(VerbsTest, ExportWritesTheBytesAsTheyAre) {
  const std::string bytes("a\0b\xFF\r\n", 6);
  FakeServer server([&](const std::string&) { return http_answer(bytes); });
  EXPECT_EQ(run(server, OutputFormat::terminal, export_context, ExportOptions{"ctx_1"}), bytes);
  EXPECT_TRUE(asks(server.requests().at(0), "GET /v1/contexts/ctx_1/export "));
}

TEST_F(VerbsTest, ExportLeavesNoFileThatIsNotWhole) {
  FakeServer server(
      [](const std::string&) { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"; });
  GlobalOptions global{.url = server.url(), .output_file = (directory_.path() / "out").string(), .is_quiet = true};
  Session session = open_session(global);
  EXPECT_THROW(export_context(session, {"ctx_1"}), protocol::Error);
  EXPECT_FALSE(std::filesystem::exists(directory_.path() / "out"));
}

TEST_F(VerbsTest, ImportStreamsTheFileAndPrintsTheId) {
  FakeServer server([](const std::string&) { return http_answer(kCompleted, "201 Created"); });
  const std::string file = directory_.write("book.rotulus", "bytes of a context").string();
  EXPECT_EQ(run(server, OutputFormat::terminal, import_context, ImportOptions{file, "my book"}), "ctx_1\n");
  const std::string request = server.requests().at(0);
  EXPECT_TRUE(asks(request, "POST /v1/contexts/import?display_name=my%20book HTTP/1.1")) << request;
  EXPECT_NE(request.find("Content-Type: application/octet-stream\r\n"), std::string::npos);
  EXPECT_TRUE(request.ends_with("\r\n\r\nbytes of a context"));
}

// A server that finds what is hidden by one method, never by another, and refuses the third.
TEST_F(VerbsTest, BenchComparesMethodsOnOneContextAndDeletesIt) {
  std::string document;
  FakeServer server([&](const std::string& request) {
    if (request.starts_with("GET /v1/cluster")) {
      return http_answer(R"({"model":{"layers":2,"kv_bytes_per_token":32}})");
    }
    if (request.starts_with("POST /v1/contexts?")) {
      document = request;
      return http_answer(kInProgress, "202 Accepted");
    }
    if (request.starts_with("GET /v1/contexts/ctx_1/events")) return event_answer({kCompleted});
    if (request.starts_with("DELETE")) return http_answer(R"({"deleted":true})");
    if (request.find(R"("method":"exact")") != std::string::npos) {
      return http_answer(R"({"error":{"message":"longer than the window"}})", "400 Bad Request");
    }
    const std::size_t subject = request.find("number of the ") + 14;
    const std::string sentence =
        "The number of the " + request.substr(subject, request.find('?', subject) - subject) + " is ";
    const std::string key = document.substr(document.find(sentence) + sentence.size(), 5);
    const bool finds = request.find(R"("method":"quest")") != std::string::npos;
    return http_answer(fmt::format(R"({{"choices":[{{"text":" {}. The"}}],"attention":{{"blocks_read":{}}}}})",
                                   finds ? key : "1" + key, finds ? 10 : 20));
  });
  BenchOptions options;
  options.file = directory_.write("book.txt", "one\ntwo\nthree\nfour\n").string();
  options.methods = {"exact", "quest", "moba"};
  options.needles = 3;
  options.plot_file = (directory_.path() / "plot.svg").string();
  const std::string table = run(server, OutputFormat::terminal, bench, options);
  EXPECT_EQ(table.substr(0, table.find('\n')), "METHOD  FOUND  AS EXACT  READ      SECONDS");
  EXPECT_NE(table.find("\nexact   -      -         -         -\n"), std::string::npos) << table;
  EXPECT_NE(table.find("\nquest   3/3    -         20.0 KiB  0."), std::string::npos) << table;
  EXPECT_NE(table.find("\nmoba    0/3    -         40.0 KiB  0."), std::string::npos) << table;
  EXPECT_TRUE(server.requests().back().starts_with("DELETE /v1/contexts/ctx_1 "));
  for (const char* line : {"one\n", "two\n", "three\n", "four\n"}) {
    EXPECT_NE(document.find(line), std::string::npos) << document;
  }
  const std::string plot = directory_.read("plot.svg");
  EXPECT_TRUE(plot.starts_with("<svg ") && plot.ends_with("</svg>\n")) << plot;
  EXPECT_NE(plot.find(">quest 0."), std::string::npos) << plot;
  EXPECT_EQ(plot.find("exact"), std::string::npos);
  const std::string first = document;
  const std::string json = run(server, OutputFormat::json, bench, options);
  EXPECT_EQ(document, first) << "the same seed hides the same";
  EXPECT_NE(json.find(R"({"method":"quest","asked":3,"found":3,"agreement":null,"bytes_read":2.048E4,)"),
            std::string::npos)
      << json;
}

TEST_F(VerbsTest, VersionIsAnAnswerWithoutAServerToo) {
  std::string url;
  FakeServer server([](const std::string&) { return http_answer(R"({"name":"rotulus","version":"9.9"})"); });
  EXPECT_NE(run(server, OutputFormat::terminal, print_version).find("9.9"), std::string::npos);
  GlobalOptions nowhere{.url = "http://127.0.0.1:9", .output_file = (directory_.path() / "out").string()};
  Session session = open_session(nowhere);
  EXPECT_EQ(print_version(session), 0);
  EXPECT_NE(directory_.read("out").find("no server at http://127.0.0.1:9"), std::string::npos);
}

}  // namespace
}  // namespace rotulus::client
