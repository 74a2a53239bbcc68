"""Pass keys, number strings and values of keys to be retrieved, made as InfiniteBench (Zhang et al. 2024) makes them.

    evaluation/infinitebench.py --url http://127.0.0.1:8080 --tokens 6000 16000 64000 --tasks passkey kv --documents 4

passkey     one pass key of five digits in repeated filler
number      one sequence of ten digits, some of them twice in a row, in the same filler
kv          a JSON object of random UUIDs; the value of one key is asked

With --asked N a document holds N pass keys or sequences, each with a name that its question repeats, or N of the
object's keys are asked. Wording of instructions and seeds are our own, so scores stand beside those of `exact` inside
the window, not beside published ones. A score is 1 if the reply begins with every digit of the key, or holds the value.
Prompts that ask for digits end in a space, after which a model of single digits can say nothing but digits.
"""
import json
import random

from asking import ask, begin, make_parser
from documents import (SUBJECTS, Document, Question, depths, first_number_is, hide, lines_of, longest, number,
                       random_uuid, share_named)
from report import curves, digits, grouped, interval, table

INSTRUCTION = "Something important is hidden in a lot of text that does not matter. Find it and keep it in mind.\n\n"


def sentences(noun, make_key, asked, dice, characters):
    """A document of grass with `asked` keys. One alone has no name, as in InfiniteBench."""
    of = [f"{noun} of the {subject}" for subject in dice.sample(SUBJECTS, asked)] if asked > 1 else [noun]
    keys = {name: make_key(dice) for name in of}
    text = INSTRUCTION + hide(lines_of("grass", characters, dice),
                              [f"The {name} is {key}. Remember it. {key} is the {name}." for name, key in keys.items()],
                              depths(asked, dice))
    return Document(text, {str(at): Question(f"\n\nWhat is the {name}? The {name} is ", [key], 16, first_number_is)
                           for at, (name, key) in enumerate(keys.items())})


def passkey(asked, dice, characters):
    return sentences("pass key", lambda dice: number(dice, 5), asked, dice, characters)


def number_string(asked, dice, characters):
    def doubled(dice):
        return "".join(digit * 2 for digit in number(dice, 5))

    return sentences("sequence of digits", doubled, asked, dice, characters)


def kv(asked, dice, characters):
    pairs = {random_uuid(dice): random_uuid(dice) for _ in range(max(asked, characters // 80))}
    text = "Take the value of a key from this JSON object.\n\n" + json.dumps(pairs)
    return Document(text, {str(at): Question(f'\n\nKey: "{key}"\nThe value of the key "{key}" is "', [pairs[key]], 48,
                                             share_named)
                           for at, key in enumerate(dice.sample(sorted(pairs), asked))})


TASKS = {"passkey": passkey, "number": number_string, "kv": kv}
QUESTION_TOKENS = 128  # at most, with the answer


def run(args, service, records):
    for tokens in args.tokens:
        for task in args.tasks:
            for document in range(args.documents):
                def build(characters):
                    return TASKS[task](args.asked, random.Random(f"{args.seed}-{task}-{document}"), characters)

                where = {"task": task, "asked": args.asked, "seed": args.seed, "tokens": tokens, "document": document}
                ask(service, records, where, [str(at) for at in range(args.asked)], args,
                    lambda: longest(build, tokens - QUESTION_TOKENS, lambda made: service.count(made.text)))


def show(args, lines):
    rows, series = [], {}
    for (task, asked, method), over_lengths in grouped(lines, "task", "asked", "method").items():
        for tokens, of in grouped(over_lengths, "tokens").items():
            share, low, high = interval([[line["score"] for line in of]])
            rows.append([task, method, asked, tokens, f"{sum(line['score'] for line in of):.0f}/{len(of)}",
                         digits(share), f"{digits(low)}-{digits(high)}"])
            series.setdefault(f"{method}, {task}", []).append((tokens, share, low, high))
    table(["task", "method", "asked", "tokens", "found", "share", "95 %"], rows)
    if args.plot:
        args.plot.write_text(curves("found over tokens of the document", series))


def main():
    parser = make_parser(__doc__, "infinitebench.jsonl", [6000, 16000], ["exact", "rotulus", "one_pass"])
    parser.add_argument("--tasks", nargs="+", choices=sorted(TASKS), default=list(TASKS))
    parser.add_argument("--documents", type=int, default=2)
    parser.add_argument("--asked", type=int, default=1, help="questions on a document, at most 16")
    args, service, records = begin(parser, ["task", "asked", "seed"])
    run(args, service, records)
    show(args, records.lines)


if __name__ == "__main__":
    main()
