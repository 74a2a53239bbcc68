// Methods: published ways to select what a query reads, each a named choice of the stages in attention.h.
//
// A method is a file, methods/<name>.toml, built into the programs. Its keys are the fields of AttentionSpec under
// their own names, so that it reads like the `attention` of a request; what it does not name is our default. Its
// comment names the paper and says in which stage it differs from it. To add one: write the file, name it in
// CMakeLists.txt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "protocol/attention.h"

namespace rotulus::protocol {

struct Method {
  std::string name;
  AttentionSpec spec;
};

// By name. Parsed once, at the first call; a file that does not hold is a bug, found by the tests.
const std::vector<Method>& methods();
const Method* find_method(std::string_view name);  // nullptr: there is none
// What a request that says nothing gets: the method `rotulus`. (AttentionSpec{} is what a worker understands by
// nothing: the same but for reading text again, which is the coordinator's.)
const AttentionSpec& default_attention();

// Strict: throws Error{invalid_argument} naming method, field, value and what it may be.
AttentionSpec parse_method(std::string_view name, std::string_view toml);

// The words of requests, methods and reports. Ordered as their enumerators.
inline constexpr std::string_view kModeWords[] = {"auto", "exact", "retrieval"};
inline constexpr std::string_view kLandmarkWords[] = {"sketch", "mean", "bounds", "sketched_bounds", "centroid"};
inline constexpr std::string_view kLandmarkKindWords[] = {"sketch", "mean", "bounds", "centroids"};  // by bit
inline constexpr std::string_view kVoteWords[] = {"maximum", "sum"};
inline constexpr std::string_view kScopeWords[] = {"kv_head", "layer"};
inline constexpr std::string_view kUnitWords[] = {"page", "block"};
inline constexpr std::string_view kPositionWords[] = {"block_constant", "true_near", "compacted", "clamped"};

}  // namespace rotulus::protocol
