// The growing half of ContextService: contexts made of others. Appending makes a *version*: a context of its own, with
// the whole longer document, which finds all but its end in the store and takes its predecessor's id when it is
// complete. Until then, and for what runs on it even then, the predecessor stays as it is.

#include <algorithm>
#include <utility>

#include "coordinator/context_entry.h"
#include "coordinator/context_service.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;

namespace {

constexpr std::size_t kCopyBytes = 1u << 20;

SpooledDocument copy_longer(const SpooledDocument& document, const std::filesystem::path& directory,
                            const std::string& text) {
  SpoolWriter writer(directory, document.kind);
  for (std::uint64_t offset = 0; offset < document.bytes; offset += kCopyBytes) {
    writer.append(read_spooled(document, offset, kCopyBytes));
  }
  writer.append(text);
  return writer.finish();
}

}  // namespace

ContextId ContextService::public_id(const ContextRecord& record) {
  return record.description.version_of ? record.description.version_of : record.id;
}

ContextId ContextService::version(ContextId id) const {
  const auto found = versions_.find(id);
  return found == versions_.end() || !found->second.current ? id : found->second.current;
}

// What goes by this id: not a version that is not complete, nor one that another has followed.
ContextService::Entry* ContextService::named(ContextId id) const {
  Entry* found = entry(version(id));
  return found && public_id(found->given) == id ? found : nullptr;
}

ContextService::Entry* ContextService::next_version(const Entry& entry) const {
  const auto found = versions_.find(public_id(entry.given));
  return found == versions_.end() ? nullptr : this->entry(found->second.next);
}

ContextView ContextService::shown(const Entry& entry) const {
  ContextView shown = view(entry);
  if (!shown.last_error) shown.last_error = entry.append_error;
  if (const Entry* next = next_version(entry)) {
    ContextView coming = view(*next);
    shown.status = ContextStatus::in_progress;
    shown.phase = std::move(coming.phase);
    shown.progress = coming.progress;
    shown.last_error = coming.last_error;
  }
  return shown;
}

void ContextService::append(ContextId id, std::string text, ViewDone done) {
  derive(id, std::move(text), true, std::move(done));
}

void ContextService::fork(ContextId id, std::string text, ViewDone done) {
  derive(id, std::move(text), false, std::move(done));
}

std::optional<Error> ContextService::find_underivable(ContextId id, const std::string& text) const {
  const Entry* found = named(id);
  if (!found) return Error(ErrorCode::not_found, fmt::format("no context {}", protocol::to_string(id)), "context_id");
  const ContextView now = shown(*found);
  const auto conflict = [&](std::string_view why) {
    return Error(ErrorCode::conflict, fmt::format("{} {}", protocol::to_string(id), why), "context_id");
  };
  if (now.status != ContextStatus::completed)
    return conflict(fmt::format("is {}, not completed", to_string(now.status)));
  if (!found->record.source) return conflict("has no document any more, only its tokens; submit the longer document");
  if (!text.empty() && found->record.source->kind == SpoolKind::token_ids) {
    return conflict("was made of token ids, behind which no text can be put");
  }
  return std::nullopt;
}

void ContextService::derive(ContextId id, std::string text, bool replaces, ViewDone done) {
  if (const auto error = find_underivable(id, text))
    return loop_.post([done = std::move(done), error] { done(error, {}); });
  const Entry& origin = *named(id);
  auto document = std::make_shared<SpooledDocument>();
  loop_.in_background([document, before = spooled(origin.record), directory = config_.spool_directory,
                       text] { *document = copy_longer(before, directory, text); },
                      [=, this, held = hold(origin.given.id)](const std::optional<Error>& error) {
                        if (error) return done(error, {});
                        if (const auto gone = find_underivable(id, text)) {
                          std::error_code ignored;
                          std::filesystem::remove(document->path, ignored);
                          return done(gone, {});
                        }
                        Entry& found = *named(id);
                        NewContext next{.description = found.given.description, .document = *document, .ttl = {}};
                        if (!replaces) {
                          next.description.created_at_unix_ms = next.description.expires_at_unix_ms = 0;
                          next.description.version_of = {};
                          return create(std::move(next), done);
                        }
                        next.description.version_of = id;
                        found.append_error.reset();
                        create(std::move(next),
                               [this, id, done](const std::optional<Error>& refused, const ContextView&) {
                                 const Entry* appended = named(id);
                                 if (refused || !appended)
                                   return done(refused ? refused : find_underivable(id, ""), {});
                                 done(std::nullopt, shown(*appended));
                               });
                      });
}

// It goes by its predecessor's id from now on.
void ContextService::take_over(Entry& entry) {
  const ContextId id = public_id(entry.given);
  Versions& versions = versions_[id];
  if (versions.next != entry.given.id) return;
  Entry* before = named(id);
  versions = {.current = entry.given.id, .next = {}};
  log_.info("context_appended", {{"context", protocol::to_string(id)},
                                 {"version", protocol::to_string(entry.given.id)},
                                 {"tokens", entry.given.description.token_count},
                                 {"shared_tokens", entry.given.shared_tokens}});
  if (!before) return;
  entry.subscribers = std::exchange(before->subscribers, {});
  entry.next_subscriber = before->next_subscriber;
  entry.event_sequence = before->event_sequence;
  before->is_superseded = true;
  retire(*before);
}

// A version that another has followed goes when nothing runs on it any more.
void ContextService::retire(Entry& entry) {
  if (entry.is_superseded && entry.holds == 0) erase_version(entry.given.id, [](const auto&) {});
}

// A version that cannot be completed leaves its predecessor as it was.
void ContextService::give_up(Entry& entry, const std::optional<Error>& why) {
  const ContextId id = public_id(entry.given);
  versions_[id].next = {};
  erase_version(entry.given.id, [](const auto&) {});
  Entry* current = named(id);
  if (!current) return;
  current->append_error = why;
  notify(*current);
}

bool ContextService::is_next_version(const Entry& entry) const {
  const auto found = versions_.find(entry.given.description.version_of);
  return found != versions_.end() && found->second.next == entry.given.id;
}

// Which of those that were read go by which id: the last that was completed; one behind it may still be.
void ContextService::settle_versions() {
  std::map<ContextId, std::vector<Entry*>> all;  // ascending by their own ids
  for (const auto& [id, found] : entries_) {
    if (found->record.description.version_of) all[found->record.description.version_of].push_back(found.get());
  }
  std::vector<ContextId> unneeded;
  for (auto& [id, versions] : all) {
    if (Entry* first = entry(id)) versions.insert(versions.begin(), first);
    const auto is_completed = [](const Entry* version) { return version->record.status == ContextStatus::completed; };
    const auto last = std::find_if(versions.rbegin(), versions.rend(), is_completed);
    Entry* current = last == versions.rend() ? versions.front() : *last;
    versions_[id].current = current->record.id;
    for (Entry* version : versions) {
      if (version == current) continue;
      const bool may_follow = version == versions.back() && version->record.status != ContextStatus::failed;
      if (may_follow) versions_[id].next = version->record.id;
      if (!may_follow) unneeded.push_back(version->record.id);
    }
  }
  for (const ContextId id : unneeded) erase_version(id, [](const auto&) {});
}

}  // namespace rotulus::coordinator
