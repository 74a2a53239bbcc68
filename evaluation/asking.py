"""What all evaluations share: a document is submitted once, asked by every method, and deleted.

Each answer is a JSON line, written as it comes. A run that is started again goes on behind the last one.
"""
import argparse
import json
import pathlib
import time

from service import Service

# As the service names them, without those that name no method of their own (docs/retrieval.md).
METHODS = ["exact", "rotulus", "two_pass", "one_pass", "page_means", "quest", "twilight", "moba", "infllm",
           "longheads", "tokenselect", "retroinfer", "squeezed", "tidal", "hylra", "infiniretri", "streaming_llm"]
LANDMARKS = ["sketch", "mean", "centroids"]
LANDMARKS_OF_AUDITS = [*LANDMARKS, "bounds"]  # which limit what was missed
IDENTITY = ("tokens", "document", "question", "method")


class Records:
    """Lines of a file. `names` are the fields that, with those of IDENTITY, tell one question from all others."""

    def __init__(self, path, names):
        self.path, self.names = path, (*names, *IDENTITY)
        self.lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self.known = {self.key(line) for line in self.lines}

    def key(self, line):
        return tuple(line[name] for name in self.names)

    def __contains__(self, line):
        return self.key(line) in self.known

    def add(self, line):
        with open(self.path, "a") as out:
            out.write(json.dumps(line) + "\n")
        self.lines.append(line)
        self.known.add(self.key(line))


def attention_of(method, audit=False):
    """A method of the service, and fields that change it: `quest` or `quest,budget_tokens=4096,positions=compacted`."""
    name, *changes = method.split(",")
    attention = {"method": name, "audit": audit}
    if name != "exact":
        attention["mode"] = "retrieval"
    for field, _, value in (change.partition("=") for change in changes):
        try:
            attention[field] = json.loads(value)
        except json.JSONDecodeError:  # a word
            attention[field] = value
    return attention


def rank_of(answers, passages):
    """The place, from 1, of the first passage of an answer's provenance that holds one of `answers`, or None."""
    return next((place for place, passage in enumerate(passages, 1)
                 if any(answer in passage["text"] for answer in answers)), None)


def ask(service, records, where, names, args, build):
    """Asks the questions `names` of the document that build() makes, as far as the records do not hold the answers.

    `exact` is left out where the document is longer than the window. `where` says what tells this document from others.
    """
    methods = [name for name in args.methods if name != "exact" or where["tokens"] < args.window]
    todo = [line for name in names for method in methods
            if (line := {**where, "question": name, "method": method}) not in records]
    if not todo:
        return
    document = build()
    landmarks = LANDMARKS_OF_AUDITS if args.audit else LANDMARKS
    context = service.submit(document.text, frame="raw", attention="retrieval", landmarks=landmarks)
    try:
        seconds, counted = service.wait(context)
        print(f"{' '.join(str(value) for value in where.values())}: {counted} tokens, {seconds:.0f} s", flush=True)
        for line in todo:
            question = document.questions[line["question"]]
            began = time.monotonic()
            answer = service.complete(context, question.prompt, question.max_tokens,
                                      attention_of(line["method"], args.audit))
            records.add({**line, "counted": counted, "wanted": question.answers, "answer": answer["text"],
                         "score": question.score(answer["text"], question.answers),
                         "seconds": round(time.monotonic() - began, 3), "attention": answer["attention"],
                         "first": answer["first"], "rank": rank_of(question.answers, answer["provenance"])})
    finally:
        service.delete(context)


def make_parser(description, out, tokens, methods):
    """What every evaluation is told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--tokens", type=int, nargs="+", default=tokens, help="length of a document with its question")
    parser.add_argument("--methods", nargs="+", default=methods, metavar="NAME[,FIELD=VALUE…]",
                        help=f"any of {', '.join(METHODS)}; behind it, fields of `attention` that change it")
    parser.add_argument("--window", type=int, default=8192, help="tokens of the model's window")
    parser.add_argument("--audit", action="store_true", help="compare what was missed with the truth and its bound")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(out))
    parser.add_argument("--plot", type=pathlib.Path, help="an SVG file to draw")
    return parser


def begin(parser, names):
    """Arguments, the service, and what the file holds; the seed is printed."""
    args = parser.parse_args()
    print(f"seed {args.seed}")
    return args, Service(args.url), Records(args.out, names)
