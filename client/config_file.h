// Settings from a TOML file, for the options that neither a flag nor the environment has set.
//
//   url = "http://10.0.0.7:8080"       the long name of a global option
//   [serve]                            a verb, with the long names of its options
//   model = "models/some.gguf"
//
// Errors: Error{malformed_file} for bad TOML (with its line); Error{invalid_argument} for a key that is no option (with
// the nearest name that is one) or a value that the option does not take.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace rotulus::client {

// Call after `app` has parsed the command line. Sections of verbs that were not called are checked by name only.
void apply_config_file(CLI::App& app, const std::filesystem::path& file);

// The settings in force for the called verb, as TOML, each with where it came from.
std::string describe_config(const CLI::App& app);

// Of `names`, the one with the smallest edit distance to `wrong`; "" where none is near.
std::string nearest_name(const std::string& wrong, const std::vector<std::string>& names);

}  // namespace rotulus::client
