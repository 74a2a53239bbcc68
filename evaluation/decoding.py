"""How an answer changes with how often, and among what, its tokens select what they read.

    evaluation/decoding.py --url http://127.0.0.1:8080 --tokens 48000 --prompts 8 --methods \\
        one_pass,reselect_every=1 one_pass one_pass,reselect_every=1,rescan_every=64,candidate_pages=1024

A document of verses of the Bible is a context. Each prompt is the beginning of one of its verses, and an answer of so
many tokens, whatever they are, goes on with it. The first method is what the others are compared with: *alike* is how
many tokens they agree in before the first that differs, and *KL* how far the distributions of these tokens are apart,
in nats, at least; the first token's, which the prompt alone selects for, is left out. *ms* is the median of an answer's
milliseconds for a token, of both cores that nothing else should use.
"""
import random
import statistics

from asking import attention_of, begin, make_parser
from documents import lines_of, longest
from report import digits, divergence, grouped, mean, table
from service import LISTED

NAMES = ["seed", "answer_tokens"]
METHODS = ["one_pass,reselect_every=1", "one_pass"]


def make_lines(seed, characters):
    return lines_of("bible", characters, random.Random(seed))


def prompts_of(lines, count, dice):
    """The first half of verses of at least 16 words, from all parts of a document."""
    long = [line for line in lines if len(line.split()) >= 16]
    parts = [long[len(long) * part // count:len(long) * (part + 1) // count] for part in range(count)]
    chosen = [dice.choice(part).split() for part in parts]
    return [" ".join(words[:len(words) // 2]) for words in chosen]


def go_on(service, context, prompt, tokens, attention):
    answer = service.client.completions.create(
        model=service.model, prompt=prompt, max_tokens=tokens, temperature=0, logprobs=LISTED,
        extra_body={"context_id": context, "attention": attention, "ignore_eos": True})
    logprobs = answer.choices[0].logprobs
    return {"tokens_of_answer": logprobs.tokens, "tops": logprobs.top_logprobs,
            "ms": answer.timings["predicted_per_token_ms"]}


def run(args, service, records):
    for tokens in args.tokens:
        questions = [f"verse {i}" for i in range(args.prompts)]
        todo = [line for question in questions for method in args.methods
                if (line := {"seed": args.seed, "answer_tokens": args.answer_tokens, "tokens": tokens, "document": 0,
                             "question": question, "method": method}) not in records]
        if not todo:
            continue
        room = tokens - args.answer_tokens - 64
        lines = longest(lambda characters: make_lines(args.seed, characters), room,
                        lambda made: service.count("\n".join(made)))
        prompts = dict(zip(questions, prompts_of(lines, args.prompts, random.Random(args.seed))))
        context = service.submit("\n".join(lines) + "\n\n", frame="raw", attention="retrieval")
        try:
            print(f"{tokens}: {service.wait(context)}", flush=True)
            for line in todo:
                records.add({**line, **go_on(service, context, prompts[line["question"]], args.answer_tokens,
                                             attention_of(line["method"]))})
        finally:
            service.delete(context)


def compared(wanted, line):
    """Tokens in which two answers agree, and the divergences of the distributions that have the same tokens before."""
    alike = next((i for i, (a, b) in enumerate(zip(wanted["tokens_of_answer"], line["tokens_of_answer"])) if a != b),
                 len(wanted["tokens_of_answer"]))
    return alike, [divergence(wanted["tops"][i], line["tops"][i])
                   for i in range(1, min(alike + 1, len(wanted["tops"])))]


def show(args, lines):
    of = {(line["tokens"], line["question"], line["method"]): line for line in lines}
    rows = []
    for (tokens, method), asked in grouped(lines, "tokens", "method").items():
        pairs = [compared(of[tokens, line["question"], args.methods[0]], line) for line in asked]
        rows.append([method, tokens, digits(mean(alike for alike, _ in pairs), 1),
                     digits(mean(value for _, values in pairs for value in values), 4),
                     digits(statistics.median(line["ms"] for line in asked), 1)])
    table(["method", "tokens", "alike", "KL", "ms"], rows)


def main():
    parser = make_parser(__doc__, "decoding.jsonl", [48000], METHODS)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--answer-tokens", type=int, default=64)
    args, service, records = begin(parser, NAMES)
    run(args, service, records)
    show(args, [line for line in records.lines if line["method"] in args.methods])


if __name__ == "__main__":
    main()
