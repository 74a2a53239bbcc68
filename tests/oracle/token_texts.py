"""The 1,000 texts on which our token ids are compared with those of other tokenizers.

A text is a list of parts; a part is a string, or [count, string] for a run. The same seed gives the same texts, but for
those cut out of this repository's own files, which are what the files say on the day.
"""
import pathlib
import random
import subprocess
import unicodedata

SEED = 20260101
ROOT = pathlib.Path(__file__).resolve().parents[2]

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "I'll say it's what they've said: we'd go, you're late, I'm not.", "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.", "Zażółć gęślą jaźń",
    "Příliš žluťoučký kůň úpěl ďábelské ódy", "Árvíztűrő tükörfúrógép", "Pijamalı hasta yağız şoföre",
    "Törkylempijävongahdus", "Kæmi ný öxi hér, ykist þjófum nú bæði víl og ádrepa", "Nuôi trẻ khỏe mạnh, ấm áp",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה", "نص حكيم له سر قاطع وذو شأن عظيم", "בְּרֵאשִׁית בָּרָא אֱלֹהִים",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण", "আমার সোনার বাংলা", "யாதும் ஊரே யாவரும் கேளிர்",
    "ಕನ್ನಡ ಭಾಷೆ", "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า", "ພາສາລາວ", "မြန်မာဘာသာ", "ភាសាខ្មែរ", "ქართული ენა",
    "Հայերեն լեզու", "አማርኛ ቋንቋ", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ", "道可道，非常道。名可名，非常名。", "いろはにほへと ちりぬるを",
    "カタカナと漢字とひらがな", "키스의 고유조건은 입술끼리 만나야 하고", "བོད་ཡིག", "Ⅷ ½ ² ③ ٣ ३ 五 𝟘𝟙𝟚", "ﬁne ﬂow Ǆ ǅ ǆ ſ K Å",
    "x² + y³ = √z ≠ ∞ ∑∏∫", "𐌰𐌽𐍃𐍄𐌴𐌹𐌲𐍃 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕬𝖇𝖈",
    "a\u0301e\u0300i\u0302o\u0303u\u0308 Z\u0351\u036b\u0343\u036a\u0302a\u0352lgo\u0321\u0353",
]
EMOJI = [
    "😀", "🙂", "👍", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🏴‍☠️", "🇫🇷", "🇯🇵🇩🇪", "1️⃣", "#️⃣", "🧑🏿‍🚀", "❤️", "❤", "☃︎",
    "🤷🏻‍♀️", "🫠", "🪿", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "©", "™", "‼️",
]
WHITE_SPACE = [
    " ", "  ", "\t", "\n", "\r", "\r\n", "\v", "\f", "\u0085", "\u00a0", "\u1680", "\u2000", "\u2003", "\u2009",
    "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000",
]
NOT_WHITE_SPACE = ["\u200b", "\u180e", "\u2060", "\ufeff", "\u200d", "\u00ad"]  # though they look so
WORDS = [
    "a", "in", "word", "Word", "1", "42", "1984", "'s", "'ll", "'S", "...", "!", "(", "--", "é", "字", "x_y",
    "don't", "π", "٣",
]
SPECIAL_LOOKING = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "</s>", "<|im_start|>user\n", "<|im_",
    "end|>",
]
RUN_CHARACTERS = [
    "a", "Z", "0", " ", "\n", "\t", ".", "=", "-", "é", "字", "😀", "\u0301", "\u200d", "\x00", "\x04", "\u00a0",
    "ア", "'", "\r\n", "ab", " a", "a ", "Za",
]

# Where the tokenizers disagree; worker/model/tokenizer/README.md says why.
DISPUTED = ["!\x04!", "a(\x06)b", "\U00042019\U00042019", "x  \U00010d41", "x  \U0001d2c1"]


def bible() -> str:
    return subprocess.run(["bible", "-f", "gen1:1-rev22:21"], capture_output=True, text=True, check=True).stdout


def pieces(source: str, count: int, shortest: int, longest: int, random_: random.Random):
    for _ in range(count):
        begin = random_.randrange(len(source) - longest)
        yield [source[begin:begin + random_.randint(shortest, longest)]]


def code() -> str:
    files = sorted(path for folder in ("kernels", "protocol", "worker", "tests", "scripts")
                   for path in (ROOT / folder).rglob("*") if path.suffix in (".cpp", ".h", ".py", ".sh", ".txt"))
    return "\n".join(path.read_text() for path in files)


def joined(choices, count: int, random_: random.Random, separators=("",)):
    return ["".join(random_.choice(choices) + random_.choice(separators) for _ in range(count))]


def any_characters(count: int, random_: random.Random, planes: int):
    text = ""
    while len(text) < count:
        character = chr(random_.randrange(0x10000 * planes))
        if unicodedata.category(character) not in ("Cs", "Cn", "Co"):
            text += character + random_.choice(["", "", "", " ", "a", "1"])
    return [text]


def runs(random_: random.Random):
    for character in RUN_CHARACTERS:
        for length in (2, 3, 7, 17, 63, 64, 65, random_.randrange(100, 5000)):
            yield [random_.choice(["", "x", " "]), [length, character], random_.choice(["", "x", " y", "\n"])]
    yield [[100_000, "Z"]]
    yield [[100_000, " "], "x"]


def texts():
    """Yields (name, parts) a thousand times."""
    random_ = random.Random(SEED)

    def some(choices, fewest, most, separators=("",)):
        return joined(choices, random_.randint(fewest, most), random_, separators)

    groups = {
        "bible": pieces(bible(), 175, 20, 300, random_),
        "code": pieces(code(), 170, 20, 300, random_),
        "sentence": ([sentence] for sentence in SENTENCES),
        "mixed": (some(SENTENCES + WORDS + EMOJI, 2, 4, (" ", "", "\n", ", ")) for _ in range(80)),
        "emoji": (some(EMOJI, 1, 8, ("", "", " ", "a")) for _ in range(60)),
        "control": (some([chr(c) for c in [*range(32), *range(127, 160)]] + WORDS, 1, 12) for _ in range(70)),
        "space": (some(WHITE_SPACE + NOT_WHITE_SPACE + [" ", "\n"] * 5 + WORDS, 2, 16) for _ in range(110)),
        "special": (some(SPECIAL_LOOKING + WORDS, 1, 5, ("", " ", "\n")) for _ in range(30)),
        "plane0": (any_characters(random_.randint(5, 25), random_, 1) for _ in range(50)),
        "planes": (any_characters(random_.randint(5, 25), random_, 3) for _ in range(19)),
        "run": runs(random_),
        "disputed": ([text] for text in DISPUTED),
    }
    count = 0
    for group, members in groups.items():
        for index, parts in enumerate(members):
            yield f"{group}-{index}", parts
            count += 1
    assert count == 1000, count


def whole(parts) -> str:
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)


if __name__ == "__main__":
    for name, parts in texts():
        print(name, repr(whole(parts))[:100])
