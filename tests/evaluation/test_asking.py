"""Asking with a service that only listens: what is asked, in what order, and what a second run leaves out."""
import argparse
import json
import math
import xml.etree.ElementTree as xml

import asking
import pytest
import report
import ruler
from documents import Document, Question


class Listening:
    """Answers every question with the method's name, and keeps what it was told."""

    def __init__(self, answers_before_failing=1000):
        self.submitted, self.deleted, self.asked = 0, 0, []
        self.left = answers_before_failing

    def submit(self, text, **fields):
        self.submitted += 1
        return "ctx"

    def wait(self, context):
        return 0.0, 10

    def complete(self, context, prompt, max_tokens, attention):
        if self.left == 0:
            raise ConnectionError("gone")
        self.left -= 1
        self.asked.append((prompt, attention["method"]))
        return {"text": attention["method"], "attention": {}, "first": {},
                "provenance": [{"text": "no"}, {"text": "a quest"}]}

    def delete(self, context):
        self.deleted += 1


DOCUMENT = Document("text", {name: Question(name, ["quest"], 8, lambda reply, answers: float(reply in answers))
                             for name in ("first", "second")})


def ask(service, path, methods=("exact", "quest"), tokens=100, window=8192):
    records = asking.Records(path, ["seed"])
    args = argparse.Namespace(methods=list(methods), window=window, audit=False)
    asking.ask(service, records, {"seed": 1, "tokens": tokens, "document": 0}, ["first", "second"], args,
               lambda: DOCUMENT)
    return records.lines


def test_every_method_is_asked_every_question_of_a_document_that_is_submitted_once(tmp_path):
    service = Listening()
    lines = ask(service, tmp_path / "out.jsonl")
    assert service.asked == [("first", "exact"), ("first", "quest"), ("second", "exact"), ("second", "quest")]
    assert (service.submitted, service.deleted) == (1, 1)
    assert [line["score"] for line in lines] == [0, 1, 0, 1]
    assert {line["rank"] for line in lines} == {2}
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == lines


def test_a_run_goes_on_where_it_stopped_and_a_complete_one_asks_nothing(tmp_path):
    broken = Listening(answers_before_failing=3)
    with pytest.raises(ConnectionError):
        ask(broken, tmp_path / "out.jsonl")
    assert broken.deleted == 1
    after = Listening()
    assert len(ask(after, tmp_path / "out.jsonl")) == 4
    assert after.asked == [("second", "quest")]
    idle = Listening()
    ask(idle, tmp_path / "out.jsonl")
    assert (idle.submitted, idle.asked) == (0, [])


def test_exact_is_not_asked_beyond_the_window(tmp_path):
    service = Listening()
    ask(service, tmp_path / "out.jsonl", tokens=9000)
    assert [method for _, method in service.asked] == ["quest", "quest"]


def test_a_method_may_carry_fields_that_change_it():
    assert asking.attention_of("quest,budget_tokens=512,positions=compacted,second_pass=true,top_p=0.9") == {
        "method": "quest", "audit": False, "mode": "retrieval", "budget_tokens": 512, "positions": "compacted",
        "second_pass": True, "top_p": 0.9}
    assert "mode" not in asking.attention_of("exact")


def test_an_interval_holds_the_mean_and_shrinks_with_samples():
    few, many = [[0, 1] * 4], [[0, 1] * 100]
    for groups in (few, many):
        middle, low, high = report.interval(groups)
        assert middle == 0.5 and low < 0.5 < high
    assert report.interval(many)[2] - report.interval(many)[1] < 0.2 < report.interval(few)[2] - report.interval(few)[1]
    assert report.interval([[1, 1], [0, 0]]) == (0.5, 0.5, 0.5)  # groups are not mixed


def test_divergence_is_none_of_equals_and_at_most_that_of_all_tokens():
    p, q = ({token: math.log(share) for token, share in zip("abc", shares)} for shares in ((.7, .2, .1), (.5, .1, .4)))
    whole = sum(math.exp(p[token]) * (p[token] - q[token]) for token in "abc")
    assert report.divergence(p, p) == pytest.approx(0, abs=1e-8)
    assert report.divergence(p, q) == pytest.approx(whole, abs=1e-6)
    likeliest_of_q = {token: q[token] for token in "ca"}
    assert 0 < report.divergence({token: p[token] for token in "ab"}, likeliest_of_q) < whole


def test_losses_are_paired_and_only_of_the_tasks_kept():
    def line(task, document, method, score):
        return {"task": task, "seed": 1, "document": document, "method": method, "score": score}

    lines = [line("a", 0, "exact", 1), line("a", 0, "quest", 0.5), line("a", 1, "exact", 0), line("a", 1, "quest", 1),
             line("a", 2, "quest", 0), line("b", 0, "exact", 1), line("b", 0, "quest", 0)]
    assert ruler.losses(lines, "quest", ["a"]) == {"a": [50, -100]}


def test_plots_are_well_formed_and_name_what_they_show():
    for drawn in (report.scatter({"panel": [(10, 0.5, "label")]}),
                  report.curves("title", {"label": [(6000, 1, 0.5, 1)]}),
                  report.grid("title", ["label"], ["column"], {("label", "column"): 50})):
        assert "label" in [text.text for text in xml.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
