"""Ways to select what is read, side by side on one store: keys found, agreement with exact attention, seconds, blocks.

    evaluation/methods.py --url http://127.0.0.1:8080 --tokens 6000 16000 --documents 2 --needles 4 --out methods.jsonl

The documents and questions are those of needles.py, and so are the lines of the file; table and plot are others.
Where the document fits the window, *agrees* is the share of answers that are that of `exact`, word for word, and *KL*
how far its first token's distribution is from that of `exact`, in nats, at least. *missed* is the service's estimate of
the softmax mass that the question's last row did not read, and with --audit the truth and its bound beside it, for
which the service reads everything once and keeps bounds of the keys, by which `quest` then selects; *recall* is then
the share of the pages that scoring all of them would have chosen and a first stage (`scan_share`) left to be chosen.
"""
import statistics

import needles
from asking import METHODS, begin
from report import digits, divergence, grouped, mean, scatter, table


def summaries(args, lines):
    """For each (tokens, method), in the order of the command line: what the table and the plot show."""
    def question_of(line):
        return tuple(line[name] for name in (*needles.NAMES, "tokens", "document", "question"))

    exact = {question_of(line): line for line in lines if line["method"] == "exact"}
    groups = grouped(lines, "tokens", "method")
    for tokens, method in sorted(groups, key=lambda key: (key[0], args.methods.index(key[1]))):
        asked = groups[tokens, method]
        paired = [(exact[question_of(line)], line) for line in asked if question_of(line) in exact]

        def missed(field):
            return mean((line["attention"].get("missed_mass") or {}).get(field) for line in asked)

        yield {"tokens": tokens, "method": method,
               "asked": len(asked), "found": round(sum(line["score"] for line in asked)),
               "agrees": mean(wanted["answer"] == line["answer"] for wanted, line in paired),
               "kl": mean(divergence(wanted["first"], line["first"]) for wanted, line in paired),
               "seconds": statistics.median(line["seconds"] for line in asked),
               "blocks": mean(line["attention"]["blocks_read"] for line in asked),
               "missed": missed("mean"), "true": missed("true_mean"), "bound": missed("bound_mean"),
               "recall": missed("scan_recall")}


def show(args, lines):
    rows = list(summaries(args, [line for line in lines if line["method"] in args.methods]))
    table(["method", "tokens", "found", "agrees", "KL", "blocks", "missed", "truth", "bound", "recall", "s"],
          [[row["method"], row["tokens"], f"{row['found']}/{row['asked']}", digits(row["agrees"]), digits(row["kl"], 3),
            f"{row['blocks']:.0f}", *(digits(row[name], 3) for name in ("missed", "true", "bound", "recall")),
            digits(row["seconds"])]
           for row in rows])
    if args.plot:
        args.plot.write_text(scatter({
            f"{tokens} tokens: keys found over blocks read":
                [(row["blocks"], row["found"] / row["asked"], f"{row['method']} {row['found']}/{row['asked']}")
                 for row in of]
            for tokens, of in grouped(rows, "tokens").items()}))


def main():
    args, service, records = begin(needles.parser_of(__doc__, "methods.jsonl", METHODS), needles.NAMES)
    needles.run(args, service, records)
    show(args, records.lines)


if __name__ == "__main__":
    main()
