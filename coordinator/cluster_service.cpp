#include "coordinator/cluster_service.h"

#include <memory>
#include <utility>

namespace rotulus::coordinator {

ClusterView ClusterService::view() const {
  ClusterView view;
  view.is_ready = membership_.is_ready();
  view.state = membership_.state();
  view.epoch = membership_.epoch();
  view.store = catalogue_.store();
  if (membership_.has_model()) {
    view.model = membership_.model();
    view.parameters = membership_.parameters();
  }
  view.ranks = membership_.ranks();
  view.refused.assign(membership_.refused().begin(), membership_.refused().end());
  return view;
}

void ClusterService::count(protocol::TokenizeDocument piece, CountDone done) {
  const auto counted = std::make_shared<std::uint64_t>(0);
  texts_.tokenize(std::move(piece),
                  [counted, done = std::move(done)](const std::optional<protocol::Error>& error,
                                                    const std::vector<protocol::TokenId>& ids, bool is_last) {
                    *counted += ids.size();
                    if (error || is_last) done(error, *counted);
                  });
}

const std::string& ClusterService::model_name() const {
  static const std::string none = "none";
  if (!alias_.empty()) return alias_;
  return membership_.has_model() ? membership_.model().name : none;
}

}  // namespace rotulus::coordinator
