// Rooms below the HTTP face, small and working: contexts in a map, answers made of words, a vocabulary of bytes. All
// on the event loop, as the real ones.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/cluster.h"
#include "coordinator/contexts.h"
#include "coordinator/queries.h"

#include <boost/asio/io_context.hpp>

namespace rotulus::coordinator::fakes {

class FakeContexts final : public Contexts {
 public:
  void create(NewContext context, std::function<void(std::optional<protocol::Error>, ContextView)> done) override;
  std::optional<ContextView> find(ContextId id) const override;
  std::vector<ContextView> list(std::optional<ContextId> after, std::size_t limit) const override;
  ContextEstimate estimate(std::uint64_t tokens, const KeptForRetrieval& asked) const override;
  ContextView cancel(ContextId id) override;
  void pin(ContextId id, std::function<void(std::optional<protocol::Error>, ContextView)> done) override;
  ContextView verify(ContextId id) override;
  void append(ContextId id, std::string text, ViewDone done) override;
  void fork(ContextId id, std::string text, ViewDone done) override;
  // The file of a context: "file of <name>, " and as many bytes as its document, in pieces. What is taken in is a
  // context of that name, unless it says "damaged".
  std::unique_ptr<ContextExport> begin_export(ContextId id) override;
  std::unique_ptr<ContextImport> begin_import(ImportRequest request) override;
  void erase(ContextId id, std::function<void(std::optional<protocol::Error>)> done) override;
  std::shared_ptr<void> subscribe(ContextId id, std::function<void(const ContextEvent&)> on_event) override;

  void update(ContextView view);  // stores it and tells the subscribers

  std::optional<protocol::Error> next_create_error;
  std::map<ContextId, SpooledDocument> documents;
  std::optional<std::size_t> export_fails_behind;  // so many pieces
  int transfers = 0;                               // under way

 private:
  struct Subscriber {
    ContextId id;
    std::function<void(const ContextEvent&)> on_event;
  };
  std::map<ContextId, ContextView> views_;
  std::set<std::shared_ptr<Subscriber>> subscribers_;
  std::uint64_t next_id_ = 1;
  std::uint64_t sequence_ = 0;
};

// What an answer does is asked for in the prompt's text:
//   "fail CODE"        on_failed before anything           "fail later"  after three tokens
//   "wait"             only on_waiting, for ever           "flood"       tokens without end, as fast as the loop goes
//   "split"            a token that is half a character, and a held-back end
//   anything else      the ten words of kWords, or max_tokens of them; of the context, two passages were read
class FakeQueries final : public Queries {
 public:
  static const std::vector<std::string> kWords;

  FakeQueries(boost::asio::io_context& loop, const FakeContexts& contexts) : loop_(loop), contexts_(contexts) {}
  std::unique_ptr<Query> start(QueryRequest request, QueryEvents events) override;

  std::function<void()> before_start = [] {};
  std::optional<QueryRequest> last;
  int running = 0;
  int cancelled = 0;

 private:
  boost::asio::io_context& loop_;
  const FakeContexts& contexts_;
};

// Token ids are bytes + 3.
class FakeCluster final : public Cluster {
 public:
  FakeCluster();
  ClusterView view() const override { return state; }
  const std::string& model_name() const override { return name; }
  void encode(protocol::EncodeText request, IdsDone done) override;
  void decode(std::vector<protocol::TokenId> ids, PiecesDone done) override;
  std::uint64_t begin_count() override { return ++counts_begun; }
  void count(protocol::TokenizeDocument piece, CountDone done) override;
  void render(std::vector<protocol::ChatMessage> messages, TextDone done) override;

  ClusterView state;
  std::string name = "toy-model";
  std::uint64_t counts_begun = 0;
  std::uint64_t counts_ended = 0;
};

}  // namespace rotulus::coordinator::fakes
