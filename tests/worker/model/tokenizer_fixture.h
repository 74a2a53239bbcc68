// The tokenizer of the model that tests read.
#pragma once

#include "tests/support/model_file.h"
#include "worker/model/gguf_file.h"
#include "worker/model/tokenizer.h"

namespace rotulus::worker {

inline const Tokenizer& model_tokenizer() {
  static const Tokenizer tokenizer(GgufFile::open(testing::model_file()));
  return tokenizer;
}

}  // namespace rotulus::worker
