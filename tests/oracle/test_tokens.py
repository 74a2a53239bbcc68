"""The recorded token ids are still what `tokenizers` says, and of the model that the tests read.

That our own ids equal the recorded ones is tests/worker/model/token_oracle_test.cpp.
"""
import json
import pathlib

import token_texts
from hugging_face import hugging_face_tokenizer, ids_digest, read_vocabulary

RECORD = pathlib.Path(__file__).parent / "recorded" / "tokens.json"


def test_recorded_ids_are_those_of_tokenizers(model_path):
    record = json.loads(RECORD.read_text())
    vocabulary = read_vocabulary(model_path)
    for key, parse_special, count in (("as_text", False, 1000), ("parsed", True, 30)):
        encode = hugging_face_tokenizer(vocabulary, parse_special)
        assert len(record[key]) == count
        for entry in record[key]:
            ids = encode(token_texts.whole(entry["parts"]))
            assert entry.get("sha256", ids_digest(ids)) == ids_digest(ids), entry["name"]
            assert entry.get("tokenizers", ids) == ids, entry["name"]
            assert entry.get("ids", ids) == ids, entry["name"]
