#include "coordinator/passages.h"

#include <memory>
#include <utility>

#include "protocol/limits.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;
using protocol::TokenId;

namespace {

struct Reading {
  Catalogue& catalogue;
  ContextId context;
  std::vector<protocol::TokenRange> ranges;
  RangeIdsDone done;
  std::size_t ranges_read = 0;
  std::vector<TokenId> ids = {};  // of those
};

std::vector<std::string> cut(const std::vector<protocol::TokenRange>& ranges, const std::vector<std::string>& pieces) {
  std::vector<std::string> passages;
  auto piece = pieces.begin();
  for (const protocol::TokenRange& range : ranges) {
    std::string& passage = passages.emplace_back();
    for (std::uint64_t i = 0; i < range.count() && piece != pieces.end(); ++i) passage += *piece++;
  }
  return passages;
}

void read_on(const std::shared_ptr<Reading>& reading) {
  if (reading->ranges_read == reading->ranges.size()) return reading->done(std::nullopt, std::move(reading->ids));
  reading->catalogue.read_token_ids(
      reading->context, reading->ranges[reading->ranges_read++],
      [reading](const std::optional<Error>& error, const std::vector<TokenId>& ids) {
        if (error) return reading->done(error, {});
        reading->ids.insert(reading->ids.end(), ids.begin(), ids.end());
        if (reading->ids.size() > protocol::kTokenIdsPerMessage) {
          return reading->done(Error(ErrorCode::payload_too_large,
                                     fmt::format("passages of more than {} tokens", protocol::kTokenIdsPerMessage)),
                               {});
        }
        read_on(reading);
      });
}

}  // namespace

void read_ranges(Catalogue& catalogue, ContextId context, std::vector<protocol::TokenRange> ranges, RangeIdsDone done) {
  read_on(std::make_shared<Reading>(Reading{catalogue, context, std::move(ranges), std::move(done)}));
}

void read_passages(Catalogue& catalogue, TextService& texts, ContextId context,
                   std::vector<protocol::TokenRange> ranges, PassagesDone done) {
  read_ranges(catalogue, context, ranges,
              [&texts, ranges, done = std::move(done)](const std::optional<Error>& error, std::vector<TokenId> ids) {
                if (error) return done(error, {});
                texts.decode(std::move(ids), [ranges, done](const std::optional<Error>& undecoded, const std::string&,
                                                            const std::vector<std::string>& pieces) {
                  if (undecoded) return done(undecoded, {});
                  done(std::nullopt, cut(ranges, pieces));
                });
              });
}

}  // namespace rotulus::coordinator
