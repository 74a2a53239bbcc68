"""Hugging Face `tokenizers` and `sentencepiece` from the vocabulary inside a GGUF."""
import hashlib
import struct

import gguf
import tokenizers
from tokenizers import AddedToken, Regex, models, pre_tokenizers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = range(1, 5)

# The patterns of the published tokenizer configurations; DIGITS stands for their pre-tokenizer of that name.
DIGITS = None
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
WORDS_BY_CASE = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+SUFFIX|"
                 r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*SUFFIX|"
                 r"DIGITS| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LETTERS_OF_CASE = (
    r"\s?["
    r"A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}"
    r"\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}"
    r"\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}"
    r"\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}"
    r"\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}"
    r"\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}"
    r"\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}"
    r"\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}"
    r"\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}"
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}"
    r"\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}"
    r"\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}"
    r"\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}"
    r"]+")
HAN_AND_HANGUL = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+"
PATTERNS = {
    "smollm": [DIGITS, GPT2],
    "starcoder": [DIGITS, GPT2],
    "gpt-2": [GPT2],
    "llama-bpe": [LLAMA3],
    "dbrx": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "gpt-4o": [WORDS_BY_CASE.replace("SUFFIX", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("DIGITS", r"\p{N}{1,3}")],
    "tekken": [WORDS_BY_CASE.replace("SUFFIX", "").replace("DIGITS", r"\p{N}")],
    "deepseek-llm": ["[\r\n]", LETTERS_OF_CASE, r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", r"\s+$", HAN_AND_HANGUL, r"\p{N}+"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_AND_HANGUL, DIGITS],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
                    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
                    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
}
WHOLE_TOKENS_FIRST = {"llama-bpe", "tekken"}


def read_vocabulary(path):
    fields = gguf.GGUFReader(path).fields
    return {name[len("tokenizer.ggml."):]: field.contents() for name, field in fields.items()
            if name.startswith("tokenizer.ggml.")}


def hugging_face_tokenizer(vocabulary, parse_special=False, pre=None):
    """A function from text to ids, by byte-level BPE with the patterns named by `pre` or by the vocabulary."""
    pre = pre or vocabulary["pre"]
    tokens, types = vocabulary["tokens"], vocabulary["token_type"]
    merges = [tuple(merge.split(" ")) for merge in vocabulary["merges"]]
    # The first of equal tokens is the one that is found.
    ids = {token: index for index, token in reversed(list(enumerate(tokens)))}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=pre in WHOLE_TOKENS_FIRST))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True) if pattern is DIGITS else
         pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PATTERNS[pre]]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token, kind in zip(tokens, types)
                          if kind == USER_DEFINED and not is_mark(token)])
    if parse_special:
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)
                                      for token, kind in zip(tokens, types) if kind == CONTROL])
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def is_mark(token):
    """We do not look for these in text: worker/model/tokenizer/vocabulary.h."""
    return token[0] + token[-1] in ("<>", "[]")


def sentence_piece_tokenizer(vocabulary):
    """A function from text to ids, by the library `sentencepiece` over the same pieces and scores."""
    import sentencepiece
    unknown = vocabulary.get("unknown_token_id", 0)
    parts = []
    for index, (token, score, kind) in enumerate(
            zip(vocabulary["tokens"], vocabulary["scores"], vocabulary["token_type"])):
        kind = UNKNOWN if index == unknown else CONTROL if kind == UNKNOWN else kind
        if kind == USER_DEFINED:
            token = token.replace(" ", "\u2581")
        parts.append(message(1, message(1, token.encode()) + b"\x15" + struct.pack("<f", score) + number(3, kind)))
    byte_pairs, byte_fallback, unknown_id = number(3, 2), number(35, 1), number(40, unknown)
    parts.append(message(2, byte_pairs + byte_fallback + unknown_id))
    space_first = int(vocabulary.get("add_space_prefix", True))
    parts.append(message(3, message(1, b"identity") + number(3, space_first) + number(4, 0) + number(5, 1)))
    return sentencepiece.SentencePieceProcessor(model_proto=b"".join(parts)).encode


def message(field, content):
    return variable(field << 3 | 2) + variable(len(content)) + content


def number(field, value):
    return variable(field << 3) + variable(value)


def variable(value):
    """A protobuf integer: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def ids_digest(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()
