#include "client/config_file.h"

#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "protocol/error.h"

namespace rotulus::client {
namespace {

using protocol::Error;
using protocol::ErrorCode;

// Settings are the options with a long name; these few say how to run, not what with.
bool is_setting(const CLI::Option& option) {
  const auto& names = option.get_lnames();
  return !names.empty() && names[0] != "help" && names[0] != "version" && names[0] != "config" &&
         names[0] != "print-config";
}

std::vector<CLI::Option*> settings_of(CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return is_setting(*option); });
}

CLI::App* find_verb(CLI::App& app, const std::string& name) {
  for (CLI::App* verb : app.get_subcommands([](CLI::App*) { return true; }))
    if (verb->get_name() == name) return verb;
  return nullptr;
}

std::string to_text(const toml::node& value, const std::string& key) {
  if (auto text = value.value_exact<std::string>()) return *text;
  if (auto number = value.value_exact<std::int64_t>()) return std::to_string(*number);
  if (auto number = value.value_exact<double>()) return fmt::format("{}", *number);
  if (auto truth = value.value_exact<bool>()) return *truth ? "true" : "false";
  throw Error(ErrorCode::invalid_argument, fmt::format("{}: not a string, number or truth value", key), key);
}

std::vector<std::string> to_texts(const toml::node& value, const std::string& key) {
  std::vector<std::string> texts;
  if (const toml::array* values = value.as_array())
    for (const toml::node& element : *values) texts.push_back(to_text(element, key));
  else
    texts.push_back(to_text(value, key));
  return texts;
}

[[noreturn]] void refuse_key(CLI::App& app, const std::string& key, const std::string& path) {
  std::vector<std::string> names;
  for (const CLI::Option* option : settings_of(app)) names.push_back(option->get_lnames()[0]);
  for (const CLI::App* verb : app.get_subcommands([](CLI::App*) { return true; })) names.push_back(verb->get_name());
  std::string nearest = nearest_name(key, names);
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{}: no such setting{}", path, nearest.empty() ? "" : "; did you mean " + nearest + "?"),
              path);
}

void set_option(CLI::Option& option, const toml::node& value, const std::string& path) {
  if (option.count() > 0) return;
  option.add_result(to_texts(value, path));
  try {
    option.run_callback();
  } catch (const CLI::Error& failure) {
    throw Error(ErrorCode::invalid_argument, fmt::format("{}: {}", path, failure.what()), path);
  }
}

void apply_table(CLI::App& app, const toml::table& table, const std::string& prefix) {
  for (const auto& [toml_key, value] : table) {
    std::string key(toml_key.str());
    std::string path = prefix + key;
    CLI::App* verb = find_verb(app, key);
    CLI::Option* option = app.get_option_no_throw("--" + key);
    if (verb && value.is_table())
      apply_table(*verb, *value.as_table(), path + ".");
    else if (option && is_setting(*option))
      set_option(*option, value, path);
    else
      refuse_key(app, key, path);
  }
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char byte : text)
    if (byte == '"' || byte == '\\')
      out += {'\\', byte};
    else if (static_cast<unsigned char>(byte) < 0x20)
      out += fmt::format("\\u{:04X}", byte);
    else
      out.push_back(byte);
  return out + "\"";
}

std::string to_toml(const CLI::Option& option, const std::string& value) {
  if (option.get_expected_max() == 0) return value.empty() ? "false" : value;
  bool is_number = !value.empty() && value.find_first_not_of("0123456789") == std::string::npos;
  return is_number ? value : quoted(value);
}

std::string describe_option(const CLI::Option& option) {
  const std::string& name = option.get_lnames()[0];
  std::vector<std::string> values = option.count() > 0 ? option.results() : std::vector{option.get_default_str()};
  const char* environment = option.get_envname().empty() ? nullptr : std::getenv(option.get_envname().c_str());
  std::string_view source = option.count() == 0                       ? "default"
                            : environment && values[0] == environment ? "environment"
                                                                      : "given";
  std::vector<std::string> texts;
  for (const std::string& value : values)
    texts.push_back(name == "api-key" && !value.empty() ? quoted("…") : to_toml(option, value));
  std::string text = texts.size() == 1 ? texts[0] : fmt::format("[{}]", fmt::join(texts, ", "));
  return fmt::format("{} = {}  # {}\n", name, text, source);
}

}  // namespace

void apply_config_file(CLI::App& app, const std::filesystem::path& file) {
  toml::table table;
  try {
    table = toml::parse_file(file.string());
  } catch (const toml::parse_error& failure) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("{}: line {}: {}", file.string(), failure.source().begin.line, failure.description()));
  }
  try {
    apply_table(app, table, "");
  } catch (const Error& failure) {
    throw Error(failure.code(), fmt::format("{}: {}", file.string(), failure.message()), failure.param());
  }
}

std::string describe_config(const CLI::App& app) {
  std::string text;
  auto describe = [&text](const CLI::App& part) {
    for (const CLI::Option* option : part.get_options())
      if (is_setting(*option) && !option->get_group().empty()) text += describe_option(*option);
  };
  describe(app);
  for (const CLI::App* verb : app.get_subcommands()) {
    text += fmt::format("\n[{}]\n", verb->get_name());
    describe(*verb);
  }
  return text;
}

std::string nearest_name(const std::string& wrong, const std::vector<std::string>& names) {
  std::string nearest;
  std::size_t nearest_distance = std::max<std::size_t>(2, wrong.size() / 3) + 1;
  for (const std::string& name : names) {
    // Levenshtein, one row at a time: row[j] is the distance of the first i letters of `wrong` to the first j of
    // `name`.
    std::vector<std::size_t> row(name.size() + 1);
    std::iota(row.begin(), row.end(), 0);
    for (std::size_t i = 0; i < wrong.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i + 1);
      for (std::size_t j = 0; j < name.size(); ++j) {
        std::size_t replaced = diagonal + (wrong[i] != name[j]);
        diagonal = row[j + 1];
        row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
      }
    }
    if (row.back() < nearest_distance) {
      nearest_distance = row.back();
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace rotulus::client
