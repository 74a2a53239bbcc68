"""Ways to select what is read, side by side on one store: keys found, agreement with exact attention, seconds, blocks.

    evaluation/methods.py --url http://127.0.0.1:8080 --tokens 6000 16000 --documents 2 --needles 4 --out methods.jsonl

Each document is submitted once and asked by every method with its own settings, or with --budget for all that select.
One JSON line is written for each question; a run that is started again goes on where it stopped. The table and the plot
(--plot, SVG) are made from the file. `exact` is asked where the document fits the model's window; *agrees* is the share
of answers that are its answer, word for word. *missed* is the service's estimate of the softmax mass that the question's
last row did not read, and with --audit the truth beside it, for which the service reads everything once.
"""
import collections
import json
import pathlib
import statistics
import time

from documents import draw_needles, hide, lines_of
from needles import CHARACTERS_PER_TOKEN, NOUN, first_number, make_parser, question, read_lines
from service import Service

METHODS = ["exact", "rotulus", "one_pass", "page_means", "quest", "twilight", "moba", "infllm", "longheads",
           "tokenselect", "tidal", "hylra", "streaming_llm"]


def attention_of(name, args):
    attention = {"method": name, "audit": args.audit}
    if name != "exact":
        attention["mode"] = "retrieval"
        if args.budget and name != "streaming_llm":
            attention["budget_tokens"] = args.budget
    return attention


def run_document(args, service, done, out, tokens, document):
    noun = NOUN[args.filler]
    seed = f"{args.seed}-{document}"
    needles = draw_needles(args.needles, seed)
    names = [name for name in args.methods if name != "exact" or tokens < args.window]
    todo = [(name, needle) for needle in needles for name in names
            if (tokens, document, name, needle.subject) not in done]
    if not todo:
        return
    lines = lines_of(args.filler, int(tokens * CHARACTERS_PER_TOKEN[args.filler]), seed)
    context = service.submit(hide(lines, needles, noun), frame="raw", attention="retrieval")
    _, counted = service.wait(context)
    for name, needle in todo:
        began = time.monotonic()
        answer = service.complete(context, question(noun, needle, "literal"), 8, attention_of(name, args))
        out.write(json.dumps({
            "tokens": tokens, "counted": counted, "document": document, "method": name, "subject": needle.subject,
            "key": needle.key, "answer": answer["text"], "found": first_number(answer["text"]) == needle.key,
            "seconds": round(time.monotonic() - began, 3), "attention": answer["attention"]}) + "\n")
        out.flush()
    service.delete(context)


def mean(values):
    values = [value for value in values if value is not None]
    return statistics.fmean(values) if values else None


def summaries(lines):
    """For each (tokens, method): what the table and the plot show."""
    asked = collections.defaultdict(list)
    exact = {}
    for line in lines:
        asked[line["tokens"], line["method"]].append(line)
        if line["method"] == "exact":
            exact[line["tokens"], line["document"], line["subject"]] = line["answer"]
    order = {name: place for place, name in enumerate(METHODS)}
    for (tokens, method), of in sorted(asked.items(), key=lambda item: (item[0][0], order.get(item[0][1], 99))):
        def share(field):
            return mean((line["attention"].get("missed_mass") or {}).get(field) for line in of)
        references = [(line, exact.get((tokens, line["document"], line["subject"]))) for line in of]
        yield {"tokens": tokens, "method": method, "asked": len(of), "found": sum(line["found"] for line in of),
               "agrees": mean(line["answer"] == want for line, want in references if want is not None),
               "seconds": statistics.median(line["seconds"] for line in of),
               "blocks": mean(line["attention"]["blocks_read"] for line in of),
               "missed": share("mean"), "true": share("true_mean")}


def table(rows):
    print(f"{'tokens':>8}  {'method':14}{'found':>9}{'agrees':>8}{'blocks':>9}{'missed':>9}{'truth':>8}{'s':>8}")
    for row in rows:
        def cell(name):
            return "-" if row[name] is None else f"{row[name]:.3f}"
        print(f"{row['tokens']:>8}  {row['method']:14}{row['found']:>5}/{row['asked']:<3}{cell('agrees'):>8}"
              f"{row['blocks']:>9.0f}{cell('missed'):>9}{cell('true'):>8}{row['seconds']:>8.2f}")


def plot(rows):
    """Keys found over blocks read, one panel for each length."""
    lengths = sorted({row["tokens"] for row in rows})
    width, height, edge = 460, 340, 50
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * len(lengths)}" height="{height + 20}" '
             'font-family="sans-serif" font-size="11">']
    for panel, tokens in enumerate(lengths):
        shown = [row for row in rows if row["tokens"] == tokens]
        most = max(row["blocks"] for row in shown)
        left, right, bottom = panel * width + edge, (panel + 1) * width - 95, height - edge
        parts.append(f'<path d="M{left} 25V{bottom}H{right}" fill="none" stroke="#888"/>'
                     f'<text x="{left}" y="15">{tokens} tokens: keys found over blocks read (of {most:.0f})</text>')
        taken = []
        for row in sorted(shown, key=lambda row: (row["found"] / row["asked"], row["blocks"])):
            x = left + (right - left) * row["blocks"] / most
            y = bottom - (bottom - 30) * row["found"] / row["asked"]
            label = y + 4
            while any(abs(label - other) < 11 and abs(x - at) < 90 for at, other in taken):
                label -= 11
            taken.append((x, label))
            parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="#27c"/>'
                         f'<text x="{x + 7:.0f}" y="{label:.0f}">{row["method"]} {row["found"]}/{row["asked"]}</text>')
    return "\n".join(parts + ["</svg>\n"])


def main():
    parser = make_parser(__doc__, "methods.jsonl")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--budget", type=int, help="tokens to retrieve, for every method that selects")
    parser.add_argument("--audit", action="store_true", help="compare what was missed with the truth")
    parser.add_argument("--plot", type=pathlib.Path)
    args = parser.parse_args()
    print(f"seed {args.seed}")
    done = {(line["tokens"], line["document"], line["method"], line["subject"]) for line in read_lines(args.out)}
    service = Service(args.url)
    with open(args.out, "a") as out:
        for tokens in args.tokens:
            for document in range(args.documents):
                run_document(args, service, done, out, tokens, document)
    rows = list(summaries(read_lines(args.out)))
    table(rows)
    if args.plot:
        args.plot.write_text(plot(rows))


if __name__ == "__main__":
    main()
