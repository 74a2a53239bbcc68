// A document on its way to the server, read piece by piece as the connection takes it.
#pragma once

#include <string>

#include "client/commands/commands.h"

namespace rotulus::client {

// "frame=…&…": what a query string says of it.
std::string document_fields(const DocumentOptions& options);

// All of a file, or of standard input for "-".
std::string read_document(const std::string& file);

// The answer to POST `target` with a file, or standard input for "-", as its body. Throws Error{not_found} for a file
// that cannot be read.
std::string send_file(Session& session, const std::string& target, const std::string& file,
                      const std::string& content_type);
// Likewise with the document.
std::string send_document(Session& session, const std::string& target, const DocumentOptions& options);

}  // namespace rotulus::client
