"""Long documents with hidden sentences. Everything follows from a seed; nothing is downloaded."""
import dataclasses
import functools
import random
import re
import subprocess
import typing
import uuid

SUBJECTS = ["lighthouse", "orchard", "museum", "harbour", "observatory", "bakery", "library", "windmill", "monastery",
            "brewery", "aqueduct", "foundry", "granary", "shipyard", "vineyard", "quarry"]
GRASS = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."

MOST_CHARACTERS_PER_TOKEN = 5  # of any text made here, in any vocabulary: what is longer is shortened until it fits


@dataclasses.dataclass(frozen=True)
class Question:
    prompt: str
    answers: list[str]
    max_tokens: int
    score: typing.Callable[[str, list[str]], float]  # of a reply, 0 to 1


@dataclasses.dataclass(frozen=True)
class Document:
    text: str
    questions: dict[str, Question]


# ---- scores


def first_number_is(reply, answers):
    """Digit by digit, and nothing else before it counts: a small model copies a wrong digit or another key."""
    found = re.search(r"\d+", reply.replace(",", ""))
    return float(found is not None and found.group() == answers[0])


def share_named(reply, answers):
    """RULER's string match: the share of the answers that stand in the reply, in either case."""
    return sum(answer.lower() in reply.lower() for answer in answers) / len(answers)


# ---- filler


@functools.cache
def bible_lines():
    """The King James Bible, a verse a line, without references."""
    printed = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True).stdout
    return [re.sub(r"^\S+ ", "", line) for line in printed.splitlines()]


@functools.cache
def bible_words():
    """Words of the Bible that are written small, each once, in order: none is a name."""
    return sorted(set(re.findall(r"(?<![\w'])[a-z]{4,10}(?![\w'])", " ".join(bible_lines()))))


def lines_of(filler, characters, dice):
    """Lines of about so many characters in all: grass repeated, or the Bible from a verse that the dice choose."""
    if filler == "grass":
        return [GRASS] * (characters // (len(GRASS) + 1))
    verses = bible_lines()
    first = 0 if characters >= sum(map(len, verses)) else dice.randrange(len(verses))
    lines, length = [], 0
    for verse in verses[first:] + verses[:first]:
        if length >= characters:
            break
        lines.append(verse)
        length += len(verse) + 1
    return lines


# ---- what is hidden


def number(dice, digits=7):
    return str(dice.randrange(10 ** (digits - 1), 10 ** digits))


def random_uuid(dice):
    return str(uuid.UUID(int=dice.getrandbits(128), version=4))


def depths(count, dice):
    """One in each of `count` equal parts of a document, at a place drawn in it; 0 is its beginning."""
    return [(part + dice.uniform(0.1, 0.9)) / count for part in range(count)]


def hide(lines, sentences, at):
    """The text of `lines` with each sentence as a line of its own at its depth; depths ascend, so the order is kept."""
    hidden = list(lines)
    for sentence, depth in reversed(list(zip(sentences, at, strict=True))):
        hidden.insert(int(depth * len(lines)), sentence)
    return "\n".join(hidden) + "\n"


# ---- length


def longest(build, tokens, count):
    """build(characters) of about the most characters that count(document) finds to be at most `tokens`."""
    characters = MOST_CHARACTERS_PER_TOKEN * tokens
    while True:
        document = build(characters)
        counted = count(document)
        if counted <= tokens:
            return document
        characters = min(characters - 1, int(0.995 * characters * tokens / counted))
