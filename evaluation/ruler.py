"""RULER's 13 tasks (Hsieh et al. 2024) as generators of our own, asked with every method on the same contexts.

    evaluation/ruler.py --url http://127.0.0.1:8080 --tokens 4096 --samples 50 --methods exact rotulus quest

What each task asks is RULER's; words, seeds and texts are our own, so scores compare methods here, and not with
published ones. Filler is repeated grass, or the King James Bible in place of essays, and words come from it. No data
set is downloaded: the two question tasks, in RULER made of SQuAD and HotpotQA, are passages of the Bible with invented
persons and towns, of which one fact (qa_1), or two in a row (qa_2), must be found among others of their kind.

A score is the share of the wanted strings in the reply, times 100. Loss is taken sample by sample against `exact`, on
the tasks in which `exact` scores at least 10 at that length: what a model cannot do at all no method can lose.
"""
import random
import string

from asking import ask, begin, make_parser
from documents import (Document, Question, bible_words, depths, hide, lines_of, longest, number, random_uuid,
                       share_named)
from report import digits, grid, grouped, interval, mean, table

LEAST_OF_EXACT = 10


def prompt(question, answer):
    """The answer is begun, so that a model that only continues text knows what is wanted."""
    return f"\n\nQuestion: {question}\nAnswer: {answer}"


def one_question(text, prompt, answers, max_tokens):
    return Document(text, {"0": Question(prompt, answers, max_tokens, share_named)})


def listed(names):
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# ---- needles


def words(dice, count):
    return ["-".join(pair) for pair in zip(dice.sample(bible_words(), count), dice.sample(bible_words(), count))]


def uuids(dice, count):
    return [random_uuid(dice) for _ in range(count)]


def numbers(dice, count):
    return [number(dice) for _ in range(count)]


def niah(haystack, keys_are=words, values_are=numbers, keys=1, values=1, asked=1):
    """Needles `The magic number of KEY is VALUE.`; those of the first `asked` keys are wanted, the others distract.

    The haystack is grass, the Bible, or made of such needles itself.
    """
    def build(dice, characters):
        noun = "magic uuid" if values_are is uuids else "magic number"
        if haystack == "needles":
            length = len(f"The {noun} of {keys_are(dice, 1)[0]} is {values_are(dice, 1)[0]}.") + 1
            names = keys_are(dice, max(keys, characters // length))
            lines = []
        else:
            names = keys_are(dice, keys)
            lines = lines_of(haystack, characters, dice)
        found = {name: values_are(dice, values) for name in names}
        needles = [f"The {noun} of {name} is {value}." for name in names for value in found[name]]
        dice.shuffle(needles)
        text = hide(lines, needles, depths(len(needles), dice))
        answers = [value for name in names[:asked] for value in found[name]]
        several = len(answers) > 1
        subject, verb = f"{noun}{'s' * several} of {listed(names[:asked])}", "are" if several else "is"
        return one_question(f"Some {noun}s are hidden in this text. Keep them in mind.\n\n{text}",
                            prompt(f"What {verb} the {subject}?", f"The {subject} {verb}"), answers,
                            (32 if values_are is uuids else 10) * len(answers) + 16)
    return build


# ---- tracing and counting


def chain(dice, length):
    """Assignments that hand one value on, the names that get it, and the value."""
    names = ["".join(dice.choices(string.ascii_uppercase, k=5)) for _ in range(length)]
    value = number(dice, 5)
    return [f"VAR {name} = {given}" for name, given in
            zip(names, [value, *(f"VAR {name}" for name in names)])], names, value


def variable_tracking(dice, characters):
    """One chain of five names, with a short one solved before it to show what is asked."""
    def posed(lines, length):
        assignments, names, value = chain(dice, length)
        return (hide(lines, assignments, depths(length, dice)),
                prompt(f"Which variables have the value {value}?", f"The variables with the value {value} are"), names)

    shown, shown_question, shown_names = posed(lines_of("grass", 300, dice), 5)
    text, question, names = posed(lines_of("grass", max(300, characters - 600), dice), 5)
    return one_question(f"Follow the assignments of variables that are hidden in a text.\n\n{shown}{shown_question} "
                        f"{' '.join(shown_names)}\n\n{text}", question, names, 40)


def common_words(dice, characters):
    """Ten words that a list names often, all others seldom; a short list with its answer comes before it."""
    def numbered(entries):
        return " ".join(f"{place}. {word}" for place, word in enumerate(entries, 1))

    def entries(common, others, often, seldom):
        return dice.sample(common * often + others * seldom, len(common) * often + len(others) * seldom)

    question = prompt("Which ten words does the list name most often?", "The ten words named most often are:")
    count = 60 + max(0, characters - 6000) // 40
    drawn = dice.sample(bible_words(), min(count, len(bible_words())))
    shown, common, others = drawn[:30], drawn[30:40], drawn[40:]
    example = f"{numbered(entries(shown[:10], shown[10:], 4, 1))}{question} {numbered(shown[:10])}"
    return one_question("Some words of a numbered list come more often than others. Keep those in mind.\n\n"
                        f"{example}\n\n{numbered(entries(common, others, 30, 3))}", question, common, 80)


def frequent_words(dice, characters):
    """Invented words, the k-th of them k² times rarer than the first, which is dots; the next three are wanted."""
    drawn = ["".join(dice.choices(string.ascii_lowercase, k=6)) for _ in range(max(characters // 200, 20))]
    shares = [rank ** -2.0 for rank in range(1, len(drawn) + 1)]
    total = characters / len("abcdef ") / sum(shares)
    entries = [word for word, share in zip(["......", *drawn[1:]], shares)
               for _ in range(max(1, round(total * share)))]
    dice.shuffle(entries)
    return one_question("Count how often each word of this coded text comes. The dots are no word.\n\n"
                        + " ".join(entries),
                        prompt("Which three words come most often?", "The three words that come most often are"),
                        drawn[1:4], 32)


# ---- questions


def invented(dice, count):
    """Names that no text holds, all different: three syllables, with a capital."""
    made = {}
    while len(made) < count:
        name = "".join(dice.choice("bdfgklmnprstvz") + dice.choice("aeiou") for _ in range(3)) + dice.choice("lmnrs")
        made[name.capitalize()] = None
    return list(made)


def qa(hops):
    """Passages of the Bible, in each a fact: where a person was born and, with two hops, who taught another."""
    def build(dice, characters):
        count = max(4, characters // 800)
        pupils, teachers, towns = (invented(dice, count) for _ in range(3))
        facts = [f"{teacher} was born in the town of {town}." for teacher, town in zip(teachers, towns)]
        subject = teachers[0]
        if hops == 2:
            facts += [f"The teacher of {pupil} was {teacher}." for pupil, teacher in zip(pupils, teachers)]
            subject = f"the teacher of {pupils[0]}"
        dice.shuffle(facts)
        verses = lines_of("bible", characters - sum(map(len, facts)), dice)
        text = "Answer the question from these passages.\n\n" + hide(verses, facts, depths(len(facts), dice))
        asked = prompt(f"In which town was {subject} born?",
                       f"{subject[0].upper()}{subject[1:]} was born in the town of")
        return one_question(text, asked, [towns[0]], 16)
    return build


TASKS = {
    "niah_single_1": niah("grass"),
    "niah_single_2": niah("bible"),
    "niah_single_3": niah("bible", values_are=uuids),
    "niah_multikey_1": niah("bible", keys=4),
    "niah_multikey_2": niah("needles"),
    "niah_multikey_3": niah("needles", keys_are=uuids, values_are=uuids),
    "niah_multivalue": niah("bible", values=4),
    "niah_multiquery": niah("bible", keys=4, asked=4),
    "variable_tracking": variable_tracking,
    "common_words": common_words,
    "frequent_words": frequent_words,
    "qa_1": qa(1),
    "qa_2": qa(2),
}


def tokens_of(service, document):
    """With the question and its answer, as RULER counts."""
    question = document.questions["0"]
    return service.count(document.text + question.prompt) + question.max_tokens


def run(args, service, records):
    for tokens in args.tokens:
        for sample in range(args.samples):  # before tasks: what is interrupted has asked all of them
            for task in args.tasks:
                def build(characters):
                    return TASKS[task](random.Random(f"{args.seed}-{task}-{sample}"), characters)

                where = {"task": task, "seed": args.seed, "tokens": tokens, "document": sample}
                ask(service, records, where, ["0"], args,
                    lambda: longest(build, tokens, lambda document: tokens_of(service, document)))


def losses(lines, method, tasks):
    """For each of `tasks` that both were asked, the points that each sample loses against `exact`."""
    scores = {(line["method"], line["task"], line["seed"], line["document"]): 100 * line["score"] for line in lines}
    paired = {}
    for (name, *sample), score in scores.items():
        if name == method and sample[0] in tasks and ("exact", *sample) in scores:
            paired.setdefault(sample[0], []).append(scores["exact", *sample] - score)
    return paired


def show(args, lines):
    for tokens, of in grouped(lines, "tokens").items():
        print(f"\n{tokens} tokens")
        scores = {key: 100 * mean(line["score"] for line in group)
                  for key, group in grouped(of, "task", "method").items()}
        methods = [method for method in args.methods if any(method == name for _, name in scores)]
        tasks = [task for task in TASKS if any(task == name for name, _ in scores)]
        samples = {task: len({(line["seed"], line["document"]) for line in group})
                   for task, group in grouped(of, "task").items()}
        table(["task", "samples", *methods],
              [[task, samples[task], *(digits(scores.get((task, method)), 1) for method in methods)] for task in tasks])
        kept = [task for task in tasks if scores.get((task, "exact"), 0) >= LEAST_OF_EXACT]
        if left_out := [task for task in tasks if task not in kept]:
            print(f"left out, for `exact` is below {LEAST_OF_EXACT} or was not asked: {', '.join(left_out)}")
        for method in methods:
            if method != "exact" and (paired := losses(of, method, kept)):
                loss, low, high = interval(paired.values())
                print(f"{method}: mean paired loss {loss:.1f} points ({low:.1f} to {high:.1f}), "
                      f"{len(paired)} tasks, {sum(map(len, paired.values()))} samples")
        if args.plot:
            args.plot.with_stem(f"{args.plot.stem}-{tokens}").write_text(
                grid(f"RULER's tasks at {tokens} tokens, scores of 100", tasks, methods, scores))


def main():
    parser = make_parser(__doc__, "ruler.jsonl", [4096], ["exact", "rotulus", "quest", "streaming_llm"])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--samples", type=int, default=3, help="contexts for each task")
    args, service, records = begin(parser, ["task", "seed"])
    run(args, service, records)
    show(args, records.lines)


if __name__ == "__main__":
    main()
