// Command lines as users type them; the environment and the configuration file are the test's own.
#include "client/command_line.h"

#include <gtest/gtest.h>

#include "client/config_file.h"
#include "protocol/error.h"
#include "tests/client/temporary_directory.h"

namespace rotulus::client {
namespace {

class CommandLineTest : public testing::Test {
 protected:
  TemporaryDirectory home_;
  ScopedEnvironment home_variable_{"HOME", home_.path().c_str()};
  ScopedEnvironment config_variable_{"ROTULUS_CONFIG", nullptr};
  ScopedEnvironment url_variable_{"ROTULUS_URL", nullptr};
  ScopedEnvironment port_variable_{"ROTULUS_PORT", nullptr};
  ScopedEnvironment model_variable_{"ROTULUS_MODEL", nullptr};

  template <typename Verb>
  Verb parse(const std::vector<std::string>& arguments) {
    line_ = parse_command_line(arguments);
    if (auto* notice = std::get_if<Notice>(&line_.verb)) ADD_FAILURE() << notice->text;
    return std::get<Verb>(line_.verb);
  }
  Notice notice(const std::vector<std::string>& arguments) {
    line_ = parse_command_line(arguments);
    return std::get<Notice>(line_.verb);
  }
  std::string failure_of(const std::vector<std::string>& arguments) {
    try {
      parse_command_line(arguments);
    } catch (const protocol::Error& failure) {
      return failure.message();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }

  CommandLine line_;
};

TEST_F(CommandLineTest, TakesTheFlagsOfServe) {
  auto serve = parse<ServeOptions>({"serve",  "-m",
                                    "a.gguf", "-n",
                                    "3",      "-t",
                                    "2",      "--store",
                                    "/s",     "--port",
                                    "81",     "--kv-type",
                                    "f32",    "--isa",
                                    "scalar", "--arithmetic",
                                    "int8",   "--tier-ram-size",
                                    "64M",    "--landmark-ram-size",
                                    "8M",     "--api-key",
                                    "k",      "-a",
                                    "name",   "--step-tokens",
                                    "64",     "-c",
                                    "4096",   "--rebuild-catalogue"});
  EXPECT_EQ(serve.model, "a.gguf");
  EXPECT_EQ(serve.ranks, 3u);
  EXPECT_EQ(serve.threads, 2u);
  EXPECT_EQ(serve.store, "/s");
  EXPECT_EQ(serve.port, 81);
  EXPECT_EQ(serve.kv_type, "f32");
  EXPECT_EQ(serve.isa, "scalar");
  EXPECT_EQ(serve.arithmetic, "int8");
  EXPECT_EQ(serve.tier_ram_size, "64M");
  EXPECT_EQ(serve.landmark_ram_size, "8M");
  EXPECT_EQ(serve.alias, "name");
  EXPECT_EQ(serve.step_tokens, 64u);
  EXPECT_EQ(serve.context_length, 4096u);
  EXPECT_TRUE(serve.must_rebuild_catalogue);
  EXPECT_EQ(line_.global.api_key, "k");
}

TEST_F(CommandLineTest, TakesAQuestionAfterRepeatedStops) {
  auto ask =
      parse<AskOptions>({"ask", "--stop", "a", "--stop", "b", "book", "who?", "--temperature", "0", "--seed", "7"});
  EXPECT_EQ(ask.context, "book");
  EXPECT_EQ(ask.question, "who?");
  EXPECT_EQ(ask.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(ask.temperature, 0.0);
  EXPECT_EQ(ask.seed, 7u);
  EXPECT_FALSE(ask.top_p);
}

TEST_F(CommandLineTest, TakesHowAnswersAttend) {
  auto ask = parse<AskOptions>(
      {"ask", "book", "who?", "--budget-tokens", "4096", "--no-second-pass", "--provenance", "--reread"});
  EXPECT_EQ(ask.attention.budget_tokens, 4096u);
  EXPECT_TRUE(ask.is_one_pass && ask.rereads && ask.wants_provenance && !ask.attention.is_exact);
  EXPECT_TRUE(parse<AskOptions>({"ask", "book", "who?", "--exact"}).attention.is_exact);
  EXPECT_EQ(parse<AskOptions>({"ask", "book", "who?", "--method", "quest"}).attention.method, "quest");
  auto search = parse<SearchOptions>({"search", "book", "who?", "-n", "3", "--local-tokens", "1024"});
  EXPECT_EQ(search.query, "who?");
  EXPECT_EQ(search.max_results, 3u);
  EXPECT_EQ(search.attention.local_tokens, 1024u);
  EXPECT_EQ(parse<SubmitOptions>({"submit", "f", "--attention", "retrieval"}).attention, "retrieval");
  EXPECT_EQ(parse<SubmitOptions>({"submit", "f", "--landmarks", "bounds"}).landmarks, "bounds");
  auto estimate = parse<EstimateOptions>({"estimate", "f", "--ids", "--attention", "exact"});
  EXPECT_EQ(estimate.attention, "exact");
  EXPECT_TRUE(estimate.holds_token_ids);
}

TEST_F(CommandLineTest, TakesGlobalOptionsBeforeAndAfterTheVerb) {
  parse<PsOptions>({"--format", "json", "ps", "--url", "http://a:1", "-q"});
  EXPECT_EQ(line_.global.format, OutputFormat::json);
  EXPECT_EQ(line_.global.url, "http://a:1");
  EXPECT_TRUE(line_.global.is_quiet);
}

TEST_F(CommandLineTest, CallsWrongUsageWrong) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"submit"},
                                             {"ask", "x"},
                                             {"ps", "--nope"},
                                             {"serve", "-n", "0"},
                                             {"serve", "--kv-type", "f8"},
                                             {"serve", "--port", "70000"},
                                             {"submit", "f", "--frame", "x"},
                                             {"--format", "xml", "ps"},
                                             {"ask", "x", "y", "--exact", "--budget-tokens", "16"},
                                             {"submit", "f", "--attention", "sparse"},
                                             {"search", "x"},
                                             {"search", "x", "y", "-n", "51"},
                                             {"estimate"},
                                             {"rm"}})
    EXPECT_EQ(notice(arguments).exit_code, 2) << testing::PrintToString(arguments);
}

TEST_F(CommandLineTest, HelpNamesEveryOptionWithItsVariableAndAnExample) {
  EXPECT_NE(notice({"--help"}).text.find("rotulus submit book.txt --wait"), std::string::npos);
  Notice serve = notice({"serve", "--help"});
  EXPECT_EQ(serve.exit_code, 0);
  EXPECT_NE(serve.text.find("ROTULUS_TIER_RAM_SIZE"), std::string::npos) << serve.text;
  EXPECT_NE(serve.text.find("rotulus serve -m model.gguf -n 2"), std::string::npos);
}

TEST_F(CommandLineTest, PrefersFlagThenEnvironmentThenFileThenDefault) {
  auto config = home_.write("c.toml", "url = 'http://file:1'\n[serve]\nport = 1111\nranks = 5\nmodel = 'file.gguf'\n");
  std::vector<std::string> serve{"serve", "--config", config.string()};
  EXPECT_EQ(parse<ServeOptions>(serve).port, 1111);
  {
    ScopedEnvironment port("ROTULUS_PORT", "2222");
    EXPECT_EQ(parse<ServeOptions>(serve).port, 2222);
    serve.insert(serve.end(), {"--port", "3333"});
    EXPECT_EQ(parse<ServeOptions>(serve).port, 3333);
  }
  EXPECT_EQ(parse<ServeOptions>(serve).ranks, 5u);
  EXPECT_EQ(parse<ServeOptions>(serve).model, "file.gguf");
  EXPECT_EQ(line_.global.url, "http://file:1");
  EXPECT_EQ(parse<ServeOptions>({"serve"}).port, 8080);
}

TEST_F(CommandLineTest, ReadsTheUsualFileWhereThereIsOne) {
  std::filesystem::create_directories(home_.path() / ".config");
  home_.write(".config/rotulus.toml", "quiet = true\n[ask]\nstop = ['x', 'y']\n");
  EXPECT_EQ(parse<AskOptions>({"ask", "a", "b"}).stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(line_.global.is_quiet);
}

TEST_F(CommandLineTest, RefusesAnUnknownKeyAndNamesTheNearest) {
  auto config = home_.write("c.toml", "[serve]\nkv-typ = 'f16'\n");
  std::string message = failure_of({"ps", "--config", config.string()});
  EXPECT_NE(message.find("serve.kv-typ: no such setting; did you mean kv-type?"), std::string::npos) << message;
  config = home_.write("c.toml", "[sreve]\nport = 1\n");
  EXPECT_NE(failure_of({"ps", "--config", config.string()}).find("did you mean serve?"), std::string::npos);
  config = home_.write("c.toml", "help = true\n");
  EXPECT_NE(failure_of({"ps", "--config", config.string()}).find("no such setting"), std::string::npos);
}

TEST_F(CommandLineTest, RefusesABadFileAndBadValuesByPlace) {
  auto config = home_.write("c.toml", "a = 1\nb = = 2\n");
  EXPECT_NE(failure_of({"ps", "--config", config.string()}).find("line 2"), std::string::npos);
  config = home_.write("c.toml", "[serve]\nport = 'ninety'\n");
  EXPECT_NE(failure_of({"serve", "--config", config.string()}).find("serve.port"), std::string::npos);
  config = home_.write("c.toml", "[serve]\nport = { a = 1 }\n");
  EXPECT_NE(failure_of({"serve", "--config", config.string()}).find("serve.port"), std::string::npos);
  EXPECT_NE(failure_of({"ps", "--config", "/no/such/file"}).find("/no/such/file"), std::string::npos);
}

TEST_F(CommandLineTest, PrintsTheConfigInForceAsAFileThatGivesTheSame) {
  std::string text = notice({"serve", "--print-config", "-n", "7", "--api-key", "secret"}).text;
  EXPECT_NE(text.find("ranks = 7  # given"), std::string::npos) << text;
  EXPECT_NE(text.find("kv-type = \"f16\"  # default"), std::string::npos) << text;
  EXPECT_EQ(text.find("secret"), std::string::npos) << text;
  auto config = home_.write("printed.toml", text);
  EXPECT_EQ(parse<ServeOptions>({"serve", "--config", config.string()}).ranks, 7u);
}

TEST(NearestName, IsTheOneWithTheFewestEdits) {
  EXPECT_EQ(nearest_name("shwo", {"serve", "show", "submit"}), "show");
  EXPECT_EQ(nearest_name("zzzzzz", {"serve", "show"}), "");
}

}  // namespace
}  // namespace rotulus::client
