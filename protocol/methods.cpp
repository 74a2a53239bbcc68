#include "protocol/methods.h"

#include <fmt/ranges.h>

#include <toml++/toml.h>
#include <algorithm>
#include <span>

#include "protocol/embedded_methods.h"
#include "protocol/error.h"

namespace rotulus::protocol {
namespace {

// One key of a method's file.
struct Entry {
  std::string_view method;
  std::string_view key;
  const toml::node& node;

  [[noreturn]] void refuse(std::string_view expected) const {
    throw Error(ErrorCode::invalid_argument, fmt::format("method {}: `{}` must be {}", method, key, expected),
                std::string(key));
  }
  std::uint32_t count() const {
    const auto value = node.value_exact<std::int64_t>();
    if (!value || *value < 0 || *value > UINT32_MAX) refuse("a count");
    return static_cast<std::uint32_t>(*value);
  }
  bool flag() const {
    if (const auto value = node.value_exact<bool>()) return *value;
    refuse("true or false");
  }
  float share() const {
    const auto value = node.value_exact<double>();
    if (!value) refuse("a number with a point");
    return static_cast<float>(*value);
  }
  std::vector<std::uint32_t> counts() const {
    const toml::array* array = node.as_array();
    if (!array) refuse("an array of counts");
    std::vector<std::uint32_t> counts;
    for (const toml::node& element : *array) counts.push_back(Entry{method, key, element}.count());
    return counts;
  }
  template <typename Word, std::size_t kCount>
  Word word(const std::string_view (&words)[kCount]) const {
    const auto value = node.value_exact<std::string>();
    const auto* found = value ? std::find(std::begin(words), std::end(words), *value) : std::end(words);
    if (found == std::end(words)) refuse(fmt::format("one of {}", fmt::join(words, ", ")));
    return static_cast<Word>(found - std::begin(words));
  }
};

struct Key {
  std::string_view name;
  void (*read)(const Entry& entry, AttentionSpec& spec);
};
constexpr Key kKeys[] = {
    {"mode", [](const Entry& e, AttentionSpec& s) { s.mode = e.word<AttentionMode>(kModeWords); }},
    {"budget_tokens", [](const Entry& e, AttentionSpec& s) { s.budget_tokens = e.count(); }},
    {"local_tokens", [](const Entry& e, AttentionSpec& s) { s.local_tokens = e.count(); }},
    {"second_pass", [](const Entry& e, AttentionSpec& s) { s.second_pass = e.flag(); }},
    {"reread_tokens", [](const Entry& e, AttentionSpec& s) { s.reread_tokens = e.count(); }},
    {"landmark", [](const Entry& e, AttentionSpec& s) { s.landmark = e.word<PageLandmark>(kLandmarkWords); }},
    {"vote", [](const Entry& e, AttentionSpec& s) { s.vote = e.word<PageVote>(kVoteWords); }},
    {"vote_over", [](const Entry& e, AttentionSpec& s) { s.vote_over = e.word<VoteScope>(kScopeWords); }},
    {"unit", [](const Entry& e, AttentionSpec& s) { s.unit = e.word<SelectionUnit>(kUnitWords); }},
    {"top_p", [](const Entry& e, AttentionSpec& s) { s.top_p = e.share(); }},
    {"reselect_every", [](const Entry& e, AttentionSpec& s) { s.reselect_every = e.count(); }},
    {"rescan_every", [](const Entry& e, AttentionSpec& s) { s.rescan_every = e.count(); }},
    {"candidate_pages", [](const Entry& e, AttentionSpec& s) { s.candidate_pages = e.count(); }},
    {"scan_share", [](const Entry& e, AttentionSpec& s) { s.scan_share = e.share(); }},
    {"layer_stride", [](const Entry& e, AttentionSpec& s) { s.layer_stride = e.count(); }},
    {"select_layers", [](const Entry& e, AttentionSpec& s) { s.select_layers = e.counts(); }},
    {"positions", [](const Entry& e, AttentionSpec& s) { s.positions = e.word<PositionPolicy>(kPositionWords); }},
};

std::vector<Method> parse_all() {
  std::vector<Method> methods;
  for (const auto& [name, text] : kEmbeddedMethods) methods.push_back({std::string(name), parse_method(name, text)});
  std::sort(methods.begin(), methods.end(), [](const Method& a, const Method& b) { return a.name < b.name; });
  return methods;
}

}  // namespace

AttentionSpec parse_method(std::string_view name, std::string_view text) {
  AttentionSpec spec;
  try {
    for (const auto& [key, node] : toml::parse(text)) {
      const Entry entry{name, key.str(), node};
      const auto known = [&](const Key& k) { return k.name == entry.key; };
      const Key* found = std::find_if(std::begin(kKeys), std::end(kKeys), known);
      if (found == std::end(kKeys)) entry.refuse("a field of `attention`");
      found->read(entry, spec);
    }
  } catch (const toml::parse_error& error) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("method {}: line {}: {}", name, error.source().begin.line, error.description()));
  }
  check(spec);
  return spec;
}

const std::vector<Method>& methods() {
  static const std::vector<Method> all = parse_all();
  return all;
}

const Method* find_method(std::string_view name) {
  const auto found = std::find_if(methods().begin(), methods().end(), [&](const Method& m) { return m.name == name; });
  return found == methods().end() ? nullptr : &*found;
}

const AttentionSpec& default_attention() {
  return find_method("rotulus")->spec;
}

}  // namespace rotulus::protocol
