"""Records the token ids of the 1,000 texts for every vocabulary that packages ship (vocabularies.py).

    scripts/oracles.sh vocabularies      writes tests/oracle/recorded/vocabularies.json

SentencePiece's by `sentencepiece`, byte-level BPE by Hugging Face `tokenizers`. Of each text a short digest is kept. The
patterns of families whose vocabulary no package ships cut the texts for Qwen2's.
"""
import json
import sys

import sentencepiece
import tokenizers

import vocabularies
from hugging_face import hugging_face_tokenizer, ids_digest, read_vocabulary, sentence_piece_tokenizer
from record_tokens import whole_recorded_texts

DIGEST_CHARACTERS = 8
BORROWED = ["dbrx", "gpt-4o"]  # pre-tokenizers tried on Qwen2's vocabulary


def digests(encode, texts):
    return " ".join(ids_digest(encode(text))[:DIGEST_CHARACTERS] for text in texts)


def main():
    vocabularies.fetch_missing()
    texts = whole_recorded_texts()
    recorded = []
    for source in [*vocabularies.VOCABULARIES, vocabularies.GEMMA]:
        vocabulary = read_vocabulary(source.file)
        is_pieces = vocabulary["model"] == "llama"
        encode = sentence_piece_tokenizer(vocabulary) if is_pieces else hugging_face_tokenizer(vocabulary)
        recorded.append({"file": str(source.file.relative_to(vocabularies.FOLDER.parent)), "pre": "",
                         "by": "sentencepiece" if is_pieces else "tokenizers", "digests": digests(encode, texts)})
        print(source.name, file=sys.stderr)
    qwen2 = next(source.file for source in vocabularies.VOCABULARIES if source.name == "qwen2")
    for pre in BORROWED:
        encode = hugging_face_tokenizer(read_vocabulary(qwen2), pre=pre)
        recorded.append({"file": "vocabularies/qwen2.gguf", "pre": pre, "by": "tokenizers",
                         "digests": digests(encode, texts)})
    print(json.dumps({
        "about": "The first digits of the SHA-256 over the ids, as u32, of each text of tokens.json.",
        "command": "scripts/oracles.sh vocabularies",
        "versions": {"sentencepiece": sentencepiece.__version__, "tokenizers": tokenizers.__version__},
        "vocabularies": recorded}, indent=1))


if __name__ == "__main__":
    main()
