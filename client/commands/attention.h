// How answers attend, in requests; and what they attended to, as it is shown.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

#include "client/options.h"

namespace rotulus::client {

// The request's `attention`; empty where all is left to the server.
boost::json::object attention_of(const AttentionOptions& options);

// "2,688 of 90,000 tokens read by retrieval, 96 pages pinned by a second pass", or ", 1,664 read again".
std::string describe_report(const boost::json::object& report);

// "0.750  tokens 4,096 to 4,144", then the text.
std::string describe_passage(double score, const boost::json::value* token_range, const std::string& text);
// Of a number that is absent or none: 0.
double score_of(const boost::json::object& object, std::string_view name);

}  // namespace rotulus::client
