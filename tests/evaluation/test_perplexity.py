"""Perplexity with a service that knows how likely everything is: what is scored behind what, and what is said of it."""
import argparse
import math
import xml.etree.ElementTree as xml

import asking
import perplexity


class Scoring:
    """A token is a line of text; each is as likely as one of two, behind a context of more than 100 one of four."""

    def __init__(self):
        self.contexts, self.scored = {}, []

    def request(self, method, path, body):
        assert (method, path) == ("POST", "/tokenize")
        return {"tokens": [line for line in body["content"].split("\n") if line]}

    def submit_ids(self, ids, **fields):
        self.contexts[f"ctx_{len(ids)}"] = ids
        return f"ctx_{len(ids)}"

    def wait(self, context):
        return 0.0, len(self.contexts[context])

    def score(self, context, ids, attention):
        before = self.contexts[context]
        self.scored.append((len(before), attention["method"]))
        assert ids[0] not in before[-1:] and len(ids) == perplexity.SCORED + 1
        return [-math.log(4 if len(before) > 100 else 2)] * (len(ids) - 1), {}

    def delete(self, context):
        del self.contexts[context]


def run(service, path, window=8192):
    args = argparse.Namespace(seed=1, tokens=[200, 50], methods=["exact", "quest"], window=window, audit=False, plot=None)
    records = asking.Records(path, ["seed"])
    perplexity.run_document(args, service, records, 0)
    return args, records


def lines_of(filler, characters, dice):
    return [f"verse {number}" for number in range(characters // 2)]


def test_what_comes_next_is_scored_at_every_length_and_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(perplexity, "lines_of", lines_of)
    service = Scoring()
    args, records = run(service, tmp_path / "out.jsonl")
    assert service.scored == [(50, "exact"), (50, "quest"), (200, "exact"), (200, "quest")]
    assert not service.contexts
    args.plot = tmp_path / "plot.svg"
    perplexity.show(args, records.lines)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["perplexity", "50", "200"], ["exact", "2.00", "4.00"], ["quest", "2.00", "4.00"]]
    assert xml.parse(args.plot).getroot().tag.endswith("svg")
    again = Scoring()
    run(again, tmp_path / "out.jsonl")
    assert again.scored == []


def test_exact_is_scored_where_all_of_it_fits_the_window(tmp_path, monkeypatch):
    monkeypatch.setattr(perplexity, "lines_of", lines_of)
    service = Scoring()
    run(service, tmp_path / "out.jsonl", window=200 + perplexity.SCORED)
    assert service.scored == [(50, "exact"), (50, "quest"), (200, "quest")]
