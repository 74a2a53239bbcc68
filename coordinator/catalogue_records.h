// Keys and values of the catalogue (catalogue.h says which there are). Pure.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/catalogue.h"

namespace rotulus::coordinator::records {

// 2: a status may end in a count of shared tokens; a context may have a listing.
inline constexpr std::uint64_t kFormat = 2;

inline constexpr std::string_view kFormatKey = "m/format";
inline constexpr std::string_view kStoreKey = "m/store";
inline constexpr std::string_view kSequenceKey = "m/sequence";
inline constexpr std::string_view kNextObjectKey = "m/next_object";
inline constexpr std::string_view kNextContextKey = "m/next_context";
inline constexpr std::string_view kNextEpochKey = "m/next_epoch";
inline constexpr std::string_view kContextsPrefix = "c/";

std::string context_prefix(ContextId context);      // of all keys of a context
std::string context_prefix_end(ContextId context);  // the first key behind them
std::string description_key(ContextId context);
std::string status_key(ContextId context);
std::string chunk_key(ContextId context, std::uint32_t chunk_index);
std::string listing_key(ContextId context);
std::string token_ids_key(ContextId context, std::uint32_t piece);
std::string token_ids_prefix(ContextId context);
std::string token_ids_prefix_end(ContextId context);
std::string computed_key(ContextId context);

std::string number_value(std::uint64_t number);
std::string description_value(const ContextRecord& record);
std::string status_value(const ContextRecord& record);
std::string chunk_value(const protocol::ObjectRecord& record);
std::string listing_value(const Listing& listing);
std::string token_ids_value(std::span<const protocol::TokenId> ids);

// Each throws Error{storage_corrupt} for what was not written by the above.
std::uint64_t parse_number(std::string_view value);
std::vector<protocol::TokenId> parse_token_ids(std::string_view value);
// Fills in what one key of kContextsPrefix says of its context; token ids are left where they are.
void read_entry(std::string_view key, std::string_view value, std::map<ContextId, ContextRecord>& contexts);
// Whose token ids lie under the key; nullopt: it is the key of something else.
std::optional<ContextId> context_of_token_ids(std::string_view key);

}  // namespace rotulus::coordinator::records
