"""Long documents with hidden sentences. Everything follows from a seed; nothing is downloaded."""
import dataclasses
import random
import re
import subprocess

SUBJECTS = ["lighthouse", "orchard", "museum", "harbour", "observatory", "bakery", "library", "windmill", "monastery",
            "brewery", "aqueduct", "foundry", "granary", "shipyard", "vineyard", "quarry"]
GRASS = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."


@dataclasses.dataclass(frozen=True)
class Needle:
    subject: str
    key: str
    depth: float  # 0: at the beginning of the document

    def sentence(self, noun):
        return f"The {noun} of the {self.subject} is {self.key}."


def draw_needles(count, seed):
    """One in each of `count` equal parts of the document, at a place drawn in it."""
    dice = random.Random(seed)
    subjects = dice.sample(SUBJECTS, count)
    return [Needle(subject, str(dice.randrange(10000, 100000)), (part + dice.uniform(0.1, 0.9)) / count)
            for part, subject in enumerate(subjects)]


def bible_lines():
    """The King James Bible, a verse a line, without references."""
    printed = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True).stdout
    return [re.sub(r"^\S+ ", "", line) for line in printed.splitlines()]


def lines_of(filler, characters, seed):
    """Lines of about so many characters in all: of the Bible from a verse that the seed chooses, or of repeated grass."""
    if filler == "grass":
        return [GRASS] * (characters // (len(GRASS) + 1))
    verses = bible_lines()
    total = sum(len(verse) + 1 for verse in verses)
    first = 0 if characters >= total else random.Random(seed).randrange(len(verses))
    lines, length = [], 0
    for verse in verses[first:] + verses[:first]:
        if length >= characters:
            break
        lines.append(verse)
        length += len(verse) + 1
    return lines


def hide(lines, needles, noun):
    """The document's text with each needle as a line of its own at its depth."""
    lines = list(lines)
    for needle in sorted(needles, key=lambda n: n.depth, reverse=True):
        lines.insert(int(needle.depth * len(lines)), needle.sentence(noun))
    return "\n".join(lines) + "\n"
