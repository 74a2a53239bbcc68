"""Sentences hidden in a long document, and asked for: what share of the keys comes back, for each way to attend.

    evaluation/needles.py --url http://127.0.0.1:8080 --tokens 16000 64000 --documents 2 --needles 8 --out needles.jsonl

*shown* are the keys that stand in one of the first three passages of the answer's provenance. For the reference give
--tokens below the model's window as well, with as many sentences: `exact` is asked there. *beyond* pools the lengths
beyond the window. The same documents can be asked in several wordings:

literal     in the sentence's own words, up to "is"
space       literal, and the prompt ends in a space, so that digits are what a model of single digits says next: a small
            one else prefers "is the key that …", inside its window too, and then wording is measured, not memory
paraphrase  in words that the sentence does not have
"""
import random

from asking import ask, begin, make_parser
from documents import SUBJECTS, Document, Question, depths, first_number_is, hide, lines_of, longest, number
from report import curves, digits, grouped, interval, mean, table

NOUN = {"bible": "number", "grass": "pass key"}
QUESTION_TOKENS = 64  # at most, with the answer
NAMES = ["filler", "needles", "seed"]  # what tells a document from others, with its length and number
WORDINGS = ["literal", "space", "paraphrase"]


def make_question(noun, subject, key, wording):
    if wording == "paraphrase":
        prompt = f"\n\nQuestion: Which digits belong to the {subject}?\nAnswer: The digits are"
    else:
        prompt = f"\n\nQuestion: What is the {noun} of the {subject}?\nAnswer: The {noun} of the {subject} is"
    return Question(prompt + " " * (wording == "space"), [key], 8, first_number_is)


def make_document(filler, count, wordings, seed, characters):
    """`count` sentences between lines of a filler; a question of each, for each wording, named `subject, wording`."""
    dice, noun = random.Random(seed), NOUN[filler]
    keys = {subject: number(dice, 5) for subject in dice.sample(SUBJECTS, count)}
    text = hide(lines_of(filler, characters, dice),
                [f"The {noun} of the {subject} is {key}." for subject, key in keys.items()], depths(count, dice))
    return Document(text, {f"{subject}, {wording}": make_question(noun, subject, key, wording)
                           for subject, key in keys.items() for wording in wordings})


def run(args, service, records):
    for tokens in args.tokens:
        for document in range(args.documents):
            def build(characters):
                return make_document(args.filler, args.needles, args.wordings, f"{args.seed}-{document}", characters)

            where = {"filler": args.filler, "needles": args.needles, "seed": args.seed,
                     "tokens": tokens, "document": document}
            ask(service, records, where, list(build(0).questions), args,
                lambda: longest(build, tokens - QUESTION_TOKENS, lambda made: service.count(made.text)))


def shares(lines):
    """Share of the keys with its interval: documents are drawn, for the questions of one are not independent."""
    return interval([[mean(line["score"] for line in of) for of in grouped(lines, "seed", "document").values()]])


def show(args, lines):
    for line in lines:
        line["wording"] = line["question"].split(", ")[1]
    rows, series = [], {}
    for (filler, wording, needles, method), over_lengths in grouped(
            lines, "filler", "wording", "needles", "method").items():
        name = f"{filler}, {needles} a document, {wording}"
        cells = list(grouped(over_lengths, "tokens").items())
        beyond = [line for tokens, of in cells if tokens >= args.window for line in of]
        if len({line["tokens"] for line in beyond}) > 1:
            cells.append(("beyond", beyond))
        for tokens, of in cells:
            share, low, high = shares(of)
            shown = sum(line["rank"] is not None and line["rank"] <= 3 for line in of)
            rows.append([name, method, tokens, f"{sum(line['score'] for line in of):.0f}/{len(of)}", digits(share),
                         f"{digits(low)}-{digits(high)}", f"{shown}/{len(of)}",
                         digits(sorted(line["seconds"] for line in of)[len(of) // 2])])
            if tokens != "beyond":
                series.setdefault(f"{method}, {filler}, {wording}", []).append((tokens, share, low, high))
    table(["document", "method", "tokens", "found", "share", "95 %", "shown", "s a question"], rows)
    if args.plot:
        args.plot.write_text(curves("keys found over tokens of the document", series))


def parser_of(description, out, methods):
    parser = make_parser(description, out, [6000, 16000], methods)
    parser.add_argument("--documents", type=int, default=2)
    parser.add_argument("--needles", type=int, default=4, help="sentences in a document, at most 16")
    parser.add_argument("--filler", choices=sorted(NOUN), default="bible")
    parser.add_argument("--wordings", nargs="+", choices=WORDINGS, default=["literal"])
    return parser


def main():
    args, service, records = begin(parser_of(__doc__, "needles.jsonl", ["exact", "rotulus", "one_pass"]), NAMES)
    run(args, service, records)
    show(args, records.lines)


if __name__ == "__main__":
    main()
