#include "worker/model/tokenizer/encoder.h"

#include "worker/model/tokenizer/byte_pair_encoder.h"
#include "worker/model/tokenizer/sentence_piece_encoder.h"

namespace rotulus::worker::tokenizer {

std::unique_ptr<Encoder> make_encoder(const Vocabulary& vocabulary) {
  if (vocabulary.kind == VocabularyKind::sentence_piece) return std::make_unique<SentencePieceEncoder>(vocabulary);
  return std::make_unique<BytePairEncoder>(vocabulary);
}

}  // namespace rotulus::worker::tokenizer
