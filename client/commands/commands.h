// START HERE. The verbs that speak to a server, one function each.
//
// Each returns the program's exit code: 0, or 1 where the server did what was asked and the outcome is a failure (a
// context that ends as failed). What goes wrong on the way is thrown as protocol::Error.
#pragma once

#include "client/api/context_summary.h"
#include "client/api/http_client.h"
#include "client/options.h"
#include "client/output.h"

namespace rotulus::client {

// What all verbs work with.
struct Session {
  GlobalOptions options;
  HttpClient http;
  ResultFile results;

  bool wants_json() const { return options.format == OutputFormat::json; }
};
Session open_session(const GlobalOptions& options);

int submit(Session& session, const SubmitOptions& options);
// Returns 1 where the document would not fit.
int estimate(Session& session, const EstimateOptions& options);
int ask(Session& session, const AskOptions& options);
int append(Session& session, const AppendOptions& options);
int fork(Session& session, const ForkOptions& options);
int search(Session& session, const SearchOptions& options);
int list_contexts(Session& session);
int show_contexts(Session& session, const ContextsOptions& options);
int cancel_contexts(Session& session, const ContextsOptions& options);
int pin_contexts(Session& session, const ContextsOptions& options);
// Returns 1 where something could not be read, or is still damaged after it was mended. No contexts: all of them.
int verify_contexts(Session& session, const ContextsOptions& options);
// To --output or standard output; a file that is not whole is removed.
int export_context(Session& session, const ExportOptions& options);
int import_context(Session& session, const ImportOptions& options);
int remove_contexts(Session& session, const ContextsOptions& options);
int print_version(Session& session);

// Compares methods on one context of a file's text; the context is deleted afterwards.
int bench(Session& session, const BenchOptions& options);

// Follows a context to its end, showing progress: the API's last word on it. A server that is being restarted is
// waited for; its contexts are durable.
std::string wait_until_final(Session& session, const std::string& id);

// A question as it was given, or standard input for "-".
std::string read_question(const std::string& question);

// All contexts, newest first.
std::vector<ContextSummary> load_contexts(Session& session);

// The id of the context that `id_or_name` means: an id as it is; else the newest context of that name. Throws
// Error{not_found} where there is none.
std::string find_context(Session& session, const std::string& id_or_name);

}  // namespace rotulus::client
