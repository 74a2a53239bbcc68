#include "coordinator/catalogue.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "coordinator/catalogue_records.h"
#include "protocol/failpoint.h"

namespace rotulus::coordinator {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using Operation = DatabaseOperation;

// Ids are reserved this many at a time, and again when half of them are left: far more than a sync can take.
constexpr std::uint64_t kReservedIds = 1u << 16;

std::uint64_t random_id() {
  std::random_device device;
  std::uint64_t id = 0;
  while (id == 0) id = static_cast<std::uint64_t>(device()) << 32 | device();
  return id;
}

Operation put(std::string_view key, std::string value) {
  return {.kind = Operation::Kind::put, .key = std::string(key), .value = std::move(value)};
}

struct FailpointNames {
  std::string_view before;
  std::string_view after;
};
FailpointNames failpoints_of(Catalogue::Kind kind) {
  switch (kind) {
    case Catalogue::Kind::record:
      return {"catalogue.before_record", "catalogue.after_record"};
    case Catalogue::Kind::create:
      return {"catalogue.before_record", "context.created"};
    case Catalogue::Kind::erase:
      return {"catalogue.before_delete", "catalogue.after_delete"};
  }
  return {};
}

}  // namespace

void CatalogueBatch::put_context(const ContextRecord& record) {
  operations_.push_back(put(records::description_key(record.id), records::description_value(record)));
  operations_.push_back(put(records::status_key(record.id), records::status_value(record)));
}

void CatalogueBatch::put_chunk(ContextId context, std::uint32_t chunk_index, const protocol::ObjectRecord& record) {
  operations_.push_back(put(records::chunk_key(context, chunk_index), records::chunk_value(record)));
}

void CatalogueBatch::erase_chunk(ContextId context, std::uint32_t chunk_index) {
  operations_.push_back({.kind = Operation::Kind::erase, .key = records::chunk_key(context, chunk_index), .value = {}});
}

void CatalogueBatch::put_listing(ContextId context, const Listing& listing) {
  operations_.push_back(put(records::listing_key(context), records::listing_value(listing)));
}

void CatalogueBatch::erase_listing(ContextId context) {
  operations_.push_back({.kind = Operation::Kind::erase, .key = records::listing_key(context), .value = {}});
}

void CatalogueBatch::put_token_ids(ContextId context, std::uint32_t piece, std::span<const protocol::TokenId> ids) {
  CHECK(ids.size() <= kTokenIdsPerPiece, ids.size());
  operations_.push_back(put(records::token_ids_key(context, piece), records::token_ids_value(ids)));
}

void CatalogueBatch::erase_token_ids(ContextId context) {
  operations_.push_back({.kind = Operation::Kind::erase_range,
                         .key = records::token_ids_prefix(context),
                         .value = records::token_ids_prefix_end(context)});
}

void CatalogueBatch::erase_context(ContextId context) {
  operations_.push_back({.kind = Operation::Kind::erase_range,
                         .key = records::context_prefix(context),
                         .value = records::context_prefix_end(context)});
}

// A range of ids: [next, reserved) may be given out now; what is asked for beyond it was refused.
struct IdRange {
  std::string_view key;
  std::uint64_t next = 1;
  std::uint64_t reserved = 1;
  bool is_reserving = false;
};

struct Catalogue::State {
  State(const std::filesystem::path& directory, EventLoop& event_loop, Log& event_log, bool may_replace)
      : loop(event_loop), log(event_log), database(directory, may_replace, event_log) {}

  EventLoop& loop;
  Log& log;
  CatalogueDatabase database;  // after the opening: the writer's alone
  protocol::StoreId store;
  std::uint64_t durable_sequence = 0;
  IdRange objects{.key = records::kNextObjectKey};
  IdRange context_ids{.key = records::kNextContextKey};
  IdRange epochs{.key = records::kNextEpochKey};
  std::vector<ContextRecord> contexts;
  bool was_empty = true;
  std::uint64_t given_sequence = 0;

  std::mutex mutex;
  std::condition_variable has_jobs;
  std::deque<std::function<void()>> jobs;
  bool is_ending = false;
  std::thread writer;

  void enqueue(std::function<void()> job) {
    {
      const std::lock_guard lock(mutex);
      jobs.push_back(std::move(job));
    }
    has_jobs.notify_one();
  }

  void write_until_end() {
    while (true) {
      std::unique_lock lock(mutex);
      has_jobs.wait(lock, [&] { return !jobs.empty() || is_ending; });
      if (jobs.empty()) return;
      const auto job = std::move(jobs.front());
      jobs.pop_front();
      lock.unlock();
      job();
    }
  }

  // On the writer: `body`, then `done` on the loop with what it threw.
  void run_and_report(const std::function<void()>& body, const Done& done) {
    std::optional<Error> error;
    try {
      body();
    } catch (const Error& thrown) {
      error = thrown;
    }
    loop.post([done, error] { done(error); });
  }

  void read_or_make_identity();
  void read_contexts();
  void reserve_now(IdRange& range, std::uint64_t first);
  std::optional<std::uint64_t> next_id(IdRange& range);
};

void Catalogue::State::read_or_make_identity() {
  const auto format = database.get(records::kFormatKey);
  if (!format) {
    store = protocol::StoreId{random_id()};
    const std::vector<Operation> identity = {put(records::kFormatKey, records::number_value(records::kFormat)),
                                             put(records::kStoreKey, records::number_value(store.value)),
                                             put(records::kSequenceKey, records::number_value(0))};
    database.write(identity, true);
    log.info("catalogue_created", {{"store", store}});
  } else if (const std::uint64_t number = records::parse_number(*format); number == 0 || number > records::kFormat) {
    throw Error(ErrorCode::unsupported, fmt::format("the catalogue has format {}, this program reads formats 1 to {}",
                                                    number, records::kFormat));
  } else if (number < records::kFormat) {
    const Operation now = put(records::kFormatKey, records::number_value(records::kFormat));
    database.write({&now, 1}, true);
  }
  const auto read = [&](std::string_view key, std::uint64_t absent) {
    const auto value = database.get(key);
    return value ? records::parse_number(*value) : absent;
  };
  store = protocol::StoreId{read(records::kStoreKey, 0)};
  durable_sequence = given_sequence = read(records::kSequenceKey, 0);
  for (IdRange* range : {&objects, &context_ids, &epochs}) reserve_now(*range, read(range->key, 1));
}

void Catalogue::State::read_contexts() {
  std::map<ContextId, ContextRecord> found;
  // Keys ascend: the token ids of a context come one after the other, behind its parameters.
  ContextId chained;
  PrefixChain chain;
  const auto end_chain = [&] {
    if (!chained) return;
    ContextRecord& record = found[chained];
    if (chain.token_count() == record.description.token_count) record.prefix_keys = chain.keys(record.parameters);
    chain = {};
  };
  database.scan(records::kContextsPrefix, [&](std::string_view key, std::string_view value) {
    records::read_entry(key, value, found);
    const auto context = records::context_of_token_ids(key);
    if (!context) return;
    if (*context != chained) end_chain();
    chained = *context;
    chain.append(records::parse_token_ids(value));
  });
  end_chain();
  was_empty = found.empty();
  for (auto& [id, record] : found) contexts.push_back(std::move(record));
}

void Catalogue::State::reserve_now(IdRange& range, std::uint64_t first) {
  const Operation reservation = put(range.key, records::number_value(first + kReservedIds));
  database.write({&reservation, 1}, true);
  range.next = first;
  range.reserved = first + kReservedIds;
}

std::optional<std::uint64_t> Catalogue::State::next_id(IdRange& range) {
  if (range.reserved - range.next < kReservedIds / 2 && !range.is_reserving) {
    range.is_reserving = true;
    const std::uint64_t end = range.reserved + kReservedIds;
    enqueue([this, &range, end] {
      const Operation reservation = put(range.key, records::number_value(end));
      run_and_report(
          [&] {
            database.write({&reservation, 1}, true);
          },
          [&range, end](const std::optional<Error>& error) {
            range.is_reserving = false;
            if (!error) range.reserved = end;
          });
    });
  }
  if (range.next == range.reserved) return std::nullopt;
  return range.next++;
}

std::unique_ptr<Catalogue> Catalogue::open(const std::filesystem::path& directory, EventLoop& loop, Log& log,
                                           bool may_replace) {
  auto state = std::make_unique<State>(directory, loop, log, may_replace);
  state->read_or_make_identity();
  state->read_contexts();
  return std::unique_ptr<Catalogue>(new Catalogue(std::move(state)));
}

Catalogue::Catalogue(std::unique_ptr<State> state) : state_(std::move(state)) {
  state_->writer = std::thread([state = state_.get()] { state->write_until_end(); });
}

Catalogue::~Catalogue() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->is_ending = true;
  }
  state_->has_jobs.notify_one();
  state_->writer.join();
}

protocol::StoreId Catalogue::store() const {
  return state_->store;
}
std::uint64_t Catalogue::sequence() const {
  return state_->durable_sequence;
}
bool Catalogue::is_empty() const {
  return state_->was_empty;
}
std::vector<ContextRecord> Catalogue::take_contexts() {
  return std::move(state_->contexts);
}

void Catalogue::commit(CatalogueBatch batch, Kind kind, Done done) {
  const std::uint64_t sequence = ++state_->given_sequence;
  batch.operations_.push_back(put(records::kSequenceKey, records::number_value(sequence)));
  state_->enqueue([state = state_.get(), operations = std::move(batch.operations_), kind, sequence, done] {
    const FailpointNames names = failpoints_of(kind);
    const auto body = [&] {
      protocol::failpoint(names.before);
      state->database.write(operations, true);
      protocol::failpoint(names.after);
    };
    state->run_and_report(body, [state, sequence, done](std::optional<Error> error) {
      if (!error) state->durable_sequence = sequence;
      done(std::move(error));
    });
  });
}

void Catalogue::barrier(std::function<void()> done) {
  state_->enqueue([state = state_.get(), done = std::move(done)] { state->loop.post(done); });
}

void Catalogue::note_computed(ContextId context, std::uint64_t computed_before) {
  state_->enqueue([state = state_.get(), context, computed_before] {
    const Operation note = put(records::computed_key(context), records::number_value(computed_before));
    state->run_and_report(
        [&] {
          state->database.write({&note, 1}, false);
        },
        [state, context](const std::optional<Error>& error) {
          if (error) state->log.warn("mark_not_written", {{"error", error->message()}, {"context", context}});
        });
  });
}

void Catalogue::read_token_ids(ContextId context, protocol::TokenRange range, TokenIdsDone done) {
  state_->enqueue([state = state_.get(), context, range, done = std::move(done)] {
    auto ids = std::make_shared<std::vector<protocol::TokenId>>();
    const auto body = [&] {
      for (std::uint64_t piece = range.begin / kTokenIdsPerPiece; piece * kTokenIdsPerPiece < range.end; ++piece) {
        const auto value = state->database.get(records::token_ids_key(context, static_cast<std::uint32_t>(piece)));
        const auto found = records::parse_token_ids(value.value_or(""));
        const std::uint64_t first = piece * kTokenIdsPerPiece;
        const std::uint64_t begin = std::max(range.begin, first) - first;
        const std::uint64_t end = std::min(range.end, first + kTokenIdsPerPiece) - first;
        if (end > found.size()) {
          throw Error(ErrorCode::storage_corrupt, fmt::format("token ids [{}, {}) of {} are not in the catalogue",
                                                              range.begin, range.end, protocol::to_string(context)));
        }
        ids->insert(ids->end(), found.begin() + static_cast<std::ptrdiff_t>(begin),
                    found.begin() + static_cast<std::ptrdiff_t>(end));
      }
    };
    state->run_and_report(body, [ids, done](std::optional<Error> error) { done(std::move(error), std::move(*ids)); });
  });
}

std::optional<protocol::ObjectId> Catalogue::next_object() {
  const auto id = state_->next_id(state_->objects);
  return id ? std::optional(protocol::ObjectId{*id}) : std::nullopt;
}
std::optional<ContextId> Catalogue::next_context() {
  const auto id = state_->next_id(state_->context_ids);
  return id ? std::optional(ContextId{*id}) : std::nullopt;
}
std::optional<protocol::Epoch> Catalogue::next_epoch() {
  const auto id = state_->next_id(state_->epochs);
  return id ? std::optional(protocol::Epoch{*id}) : std::nullopt;
}

void Catalogue::rebuild(Rebuilt rebuilt, Done done) {
  CatalogueBatch batch;
  for (const auto& [record, ids] : rebuilt.contexts) {
    batch.put_context(record);
    for (std::size_t chunk = 0; chunk < record.chunks.size(); ++chunk) {
      if (record.chunks[chunk].object)
        batch.put_chunk(record.id, static_cast<std::uint32_t>(chunk), record.chunks[chunk]);
    }
    if (record.listing) batch.put_listing(record.id, *record.listing);
    for (std::size_t begin = 0; begin < ids.size(); begin += kTokenIdsPerPiece) {
      const auto count = std::min(kTokenIdsPerPiece, ids.size() - begin);
      batch.put_token_ids(record.id, static_cast<std::uint32_t>(begin / kTokenIdsPerPiece),
                          std::span(ids).subspan(begin, count));
    }
    batch.operations_.push_back(put(records::computed_key(record.id), records::number_value(record.computed_before)));
  }
  State& state = *state_;
  const auto raise = [&](IdRange& range, std::uint64_t first) {
    range.next = std::max(range.next, first);
    range.reserved = std::max(range.reserved, first + kReservedIds);
    batch.operations_.push_back(put(range.key, records::number_value(range.reserved)));
  };
  raise(state.objects, rebuilt.first_object);
  raise(state.context_ids, rebuilt.first_context);
  batch.operations_.push_back(put(records::kStoreKey, records::number_value(rebuilt.store.value)));
  state.given_sequence = std::max(state.given_sequence, rebuilt.sequence);
  state.store = rebuilt.store;
  commit(std::move(batch), Kind::record, std::move(done));
}

}  // namespace rotulus::coordinator
