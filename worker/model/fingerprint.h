// Hashes that tell whether two files hold the same model or the same tokenizer. Hex SHA-256.
//
// What is hashed is what was read, with every length before its bytes; so the order of a file, its alignment and keys
// that change nothing (names, licences) leave a fingerprint as it is.
#pragma once

#include <string>

#include "worker/model/gguf_file.h"
#include "worker/model/hyperparameters.h"

namespace rotulus::worker {

std::string fingerprint_model(const Hyperparameters& hyperparameters, const GgufFile& file);  // and all weights
std::string fingerprint_tokenizer(const GgufFile& file);  // the keys "tokenizer.…", the chat template among them

}  // namespace rotulus::worker
