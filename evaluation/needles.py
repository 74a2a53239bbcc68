"""Sentences hidden in a long document, and asked for: what share of the keys comes back, for each way to attend.

    evaluation/needles.py --url http://127.0.0.1:8080 --tokens 16000 64000 --documents 2 --needles 8 --out needles.jsonl

Each document is submitted once, asked by every variant, and deleted. One JSON line is written for each question; a run
that is started again goes on where it stopped. The table at the end is printed from the file; *shown* are the keys
that stand in one of the first three passages of the answer's provenance.

Variants: two_pass (the default of the service), one_pass, wide (budget 8,192, one pass), small (budget 512, two passes).
Give --tokens below the model's window for the reference: there every variant but `exact` is left out.
"""
import argparse
import collections
import json
import pathlib
import re
import time

from documents import draw_needles, hide, lines_of
from service import Service

CHARACTERS_PER_TOKEN = {"bible": 3.75, "grass": 3.95}
NOUN = {"bible": "number", "grass": "pass key"}
VARIANTS = {
    "two_pass": {"mode": "retrieval"},
    "one_pass": {"mode": "retrieval", "second_pass": False},
    "small": {"mode": "retrieval", "budget_tokens": 512},
    "wide": {"mode": "retrieval", "budget_tokens": 8192, "second_pass": False},
    "exact": {"mode": "exact"},
}


def question(noun, needle, wording):
    if wording == "literal":
        return f"\n\nQuestion: What is the {noun} of the {needle.subject}?\nAnswer: The {noun} of the {needle.subject} is"
    return f"\n\nQuestion: Which digits belong to the {needle.subject}?\nAnswer: The digits are"


def first_number(text):
    found = re.search(r"\d+", text.replace(",", ""))
    return found.group() if found else ""


def rank_of(key, passages):
    """The place, from 1, of the first passage of the answer's provenance that holds the key; None if none does."""
    return next((place for place, passage in enumerate(passages, 1) if key in passage["text"]), None)


def run(args, service, done):
    with open(args.out, "a") as out:
        for tokens in args.tokens:
            for document in range(args.documents):
                run_document(args, service, done, out, tokens, document)


def run_document(args, service, done, out, tokens, document):
    noun = NOUN[args.filler]
    needles = draw_needles(args.needles, f"{args.seed}-{document}")
    lines = lines_of(args.filler, int(tokens * CHARACTERS_PER_TOKEN[args.filler]), f"{args.seed}-{document}")
    names = [name for name in args.variants if (name == "exact") == (tokens < args.window)]
    todo = [(name, needle) for name in names for needle in needles
            if (args.filler, tokens, document, name, args.wording, needle.subject) not in done]
    if not todo:
        return
    context = service.submit(hide(lines, needles, noun), frame="raw")
    seconds, counted = service.wait(context)
    print(f"{args.filler} {counted} tokens, document {document}: read in {seconds:.0f} s, "
          f"{counted / max(seconds, 1e-9):.0f} tokens/s", flush=True)
    for name, needle in todo:
        began = time.monotonic()
        answer = service.complete(context, question(noun, needle, args.wording), max_tokens=8, attention=VARIANTS[name])
        line = {"filler": args.filler, "tokens": tokens, "counted": counted, "document": document, "variant": name,
                "wording": args.wording, "subject": needle.subject, "depth": round(needle.depth, 3),
                "key": needle.key, "answer": answer["text"], "found": first_number(answer["text"]) == needle.key,
                "seconds": round(time.monotonic() - began, 2), "attention": answer["attention"],
                "rank": rank_of(needle.key, answer["provenance"])}
        out.write(json.dumps(line) + "\n")
        out.flush()
    service.delete(context)


def table(lines):
    cells = collections.defaultdict(list)
    for line in lines:
        cells[line["filler"], line["wording"], line["tokens"], line["variant"]].append(line)
    print(f"{'filler':8}{'wording':12}{'tokens':>10}  {'variant':10}{'found':>9}{'share':>8}{'shown':>9}"
          f"{'s a question':>14}")
    for (filler, wording, tokens, variant), found in sorted(cells.items()):
        hits = sum(line["found"] for line in found)
        shown = sum(line["rank"] is not None and line["rank"] <= 3 for line in found)
        seconds = sorted(line["seconds"] for line in found)[len(found) // 2]
        print(f"{filler:8}{wording:12}{tokens:>10}  {variant:10}{hits:>5}/{len(found):<3}{hits / len(found):>8.2f}"
              f"{shown:>5}/{len(found):<3}{seconds:>14.2f}")


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def make_parser(description, out):
    """What every evaluation over such documents is told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--tokens", type=int, nargs="+", default=[6000, 16000])
    parser.add_argument("--documents", type=int, default=2)
    parser.add_argument("--needles", type=int, default=4, help="sentences in a document, at most 16")
    parser.add_argument("--filler", choices=sorted(NOUN), default="bible")
    parser.add_argument("--window", type=int, default=8192, help="tokens of the model's window")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(out))
    return parser


def main():
    parser = make_parser(__doc__, "needles.jsonl")
    parser.add_argument("--wording", choices=["literal", "paraphrase"], default="literal")
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=["two_pass", "one_pass", "exact"])
    args = parser.parse_args()
    print(f"seed {args.seed}")
    done = {(line["filler"], line["tokens"], line["document"], line["variant"], line["wording"], line["subject"])
            for line in read_lines(args.out)}
    run(args, Service(args.url), done)
    table(read_lines(args.out))


if __name__ == "__main__":
    main()
