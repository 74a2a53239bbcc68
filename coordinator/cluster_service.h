// The API's view of the worker group and its text services: membership and text service behind one face.
#pragma once

#include <string>

#include "coordinator/catalogue.h"
#include "coordinator/cluster.h"
#include "coordinator/membership.h"
#include "coordinator/text_service.h"

namespace rotulus::coordinator {

class ClusterService final : public Cluster {
 public:
  // `alias`: the model's name in the API; empty: the file's.
  ClusterService(const Membership& membership, TextService& texts, const Catalogue& catalogue, std::string alias)
      : membership_(membership), texts_(texts), catalogue_(catalogue), alias_(std::move(alias)) {}

  ClusterView view() const override;
  const std::string& model_name() const override;
  void encode(protocol::EncodeText request, IdsDone done) override {
    texts_.encode(std::move(request), std::move(done));
  }
  void decode(std::vector<protocol::TokenId> ids, PiecesDone done) override {
    texts_.decode(std::move(ids), std::move(done));
  }
  std::uint64_t begin_count() override { return texts_.begin_document(); }
  void count(protocol::TokenizeDocument piece, CountDone done) override;
  void render(std::vector<protocol::ChatMessage> messages, TextDone done) override {
    texts_.render(std::move(messages), std::move(done));
  }

 private:
  const Membership& membership_;
  TextService& texts_;
  const Catalogue& catalogue_;
  const std::string alias_;
};

}  // namespace rotulus::coordinator
