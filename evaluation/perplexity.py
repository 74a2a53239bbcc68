"""How well what comes next is predicted, by where in a document it stands, for each way to attend.

    evaluation/perplexity.py --url http://127.0.0.1:8080 --tokens 1000 4000 7000 12000 24000 --documents 2 --plot p.svg

At each length of a document (the Bible, from a verse that the seed chooses) its tokens are a context, and the 256 that
come next are scored behind it: a completion that is echoed with its log-probabilities and generates nothing. Contexts
of one document begin alike, so each chunk of it is computed once.

What is selected is chosen for 128 rows together, and a second pass pins for all rows what any of them looked at: so a
token has a say in what the rows that predict it read, with `rotulus` more than with `one_pass`, with `streaming_llm`
none at all. Differences of hundredths are not prediction.
"""
import math
import random
import time

from asking import attention_of, begin, make_parser
from documents import lines_of
from report import COLOURS, digits, grouped, picture, table

SCORED = 256
CHARACTERS = 5  # of a token, at most, on average
TOKENIZED_BYTES = 400_000  # of one call to /tokenize
METHODS = ["exact", "two_pass", "one_pass", "page_means", "quest", "streaming_llm"]


def document_ids(service, tokens, dice):
    """The ids of so many tokens of running text."""
    text = "\n".join(lines_of("bible", CHARACTERS * tokens, dice))
    ids = []
    while text and len(ids) < tokens:
        cut = text.rfind("\n", 0, TOKENIZED_BYTES) if len(text) > TOKENIZED_BYTES else len(text)
        ids += service.request("POST", "/tokenize", {"content": text[:cut], "add_special": not ids})["tokens"]
        text = text[cut:]
    if len(ids) < tokens:
        raise SystemExit(f"the text has {len(ids)} tokens, {tokens} are needed")
    return ids[:tokens]


def run_document(args, service, records, document):
    def fits(tokens, method):
        return method != "exact" or tokens + SCORED + 2 <= args.window

    todo = [line for tokens in sorted(args.tokens) for method in args.methods if fits(tokens, method)
            and (line := {"seed": args.seed, "tokens": tokens, "document": document, "question": f"next {SCORED}",
                          "method": method}) not in records]
    if not todo:
        return
    ids = document_ids(service, max(args.tokens) + SCORED + 1, random.Random(f"{args.seed}-{document}"))
    contexts = []
    try:
        for tokens, lines in grouped(todo, "tokens").items():
            contexts.append(service.submit_ids(ids[:tokens], frame="raw", attention="retrieval"))
            service.wait(contexts[-1])
            for line in lines:
                began = time.monotonic()
                logprobs, attention = service.score(contexts[-1], ids[tokens:tokens + SCORED + 1],
                                                    attention_of(line["method"], args.audit))
                records.add({**line, "nats": -sum(logprobs) / len(logprobs),
                             "seconds": round(time.monotonic() - began, 3), "attention": attention})
    finally:
        for context in contexts:
            service.delete(context)


def curves(series, lengths):
    """Perplexity by logarithm over lengths at equal distances. `series`: {label: {tokens: nats}}."""
    width, height, edge = 560, 340, 50
    nats = [value for of in series.values() for value in of.values()]
    least, most = min(nats), max(max(nats), min(nats) + 0.01)
    step = (width - 130 - edge) / max(len(lengths) - 1, 1)

    def place(tokens, value):
        return (edge + 10 + step * lengths.index(tokens),
                height - edge - (height - edge - 30) * (value - least) / (most - least))

    parts = [f'<text x="{edge}" y="15">perplexity of the next {SCORED} tokens over tokens before them</text>',
             f'<path d="M{edge} 25V{height - edge}H{width - 110}" fill="none" stroke="#888"/>']
    parts += [f'<text x="5" y="{place(lengths[0], value)[1] + 4:.0f}">{math.exp(value):.2f}</text>'
              for value in (least, most)]
    parts += [f'<text x="{place(tokens, least)[0]:.0f}" y="{height - edge + 16}" text-anchor="middle">{tokens:,}</text>'
              for tokens in lengths]
    for row, ((label, of), colour) in enumerate(zip(series.items(), COLOURS * len(series))):
        line = "L".join(f"{x:.0f} {y:.0f}" for x, y in (place(*point) for point in sorted(of.items())))
        parts += [f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>',
                  f'<text x="{width - 105}" y="{40 + 15 * row}" fill="{colour}">{label}</text>']
    return picture(width, height, parts)


def show(args, lines):
    lengths = sorted({line["tokens"] for line in lines})
    series = {method: {tokens: sum(line["nats"] for line in of) / len(of)
                       for tokens, of in grouped(of_method, "tokens").items()}
              for method, of_method in grouped(lines, "method").items()}
    table(["perplexity", *lengths], [[method, *(digits(math.exp(of[tokens]) if tokens in of else None)
                                                for tokens in lengths)] for method, of in series.items()])
    if args.plot:
        args.plot.write_text(curves(series, lengths))


def main():
    parser = make_parser(__doc__, "perplexity.jsonl", [1000, 4000, 7000, 12000, 24000], METHODS)
    parser.add_argument("--documents", type=int, default=2)
    args, service, records = begin(parser, ["seed"])
    for document in range(args.documents):
        run_document(args, service, records, document)
    show(args, records.lines)


if __name__ == "__main__":
    main()
