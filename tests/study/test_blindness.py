"""The pairs of chapter 10, a passage and the same with one sentence reversed: each line keeps to the rules of its kind."""

import difflib
import importlib.resources
import json
import re
from collections import Counter

import pytest

from semanticbm.collection import load_collection

KINDS = ("negation", "order")
NOT = " not "


@pytest.fixture(scope="module")
def rows():
    """The stored pairs, as dictionaries."""
    text = (importlib.resources.files("semanticbm") / "data" / "classroom" / "reversals.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def collection():
    return load_collection("classroom")


def words(text):
    return re.findall(r"[\w'-]+", text.lower())


def changed_words(before, after):
    """How many words were put in, taken out or exchanged."""
    steps = difflib.SequenceMatcher(None, words(before), words(after), autojunk=False).get_opcodes()
    return sum(max(b - a, d - c) for name, a, b, c, d in steps if name != "equal")


def test_there_are_enough_pairs_over_many_topics(rows, collection):
    counts = Counter(row["kind"] for row in rows)
    assert set(counts) == set(KINDS) and min(counts.values()) >= 40
    for kind in KINDS:
        assert len({collection.topics[row["document"]] for row in rows if row["kind"] == kind}) >= 15
    assert len({(row["kind"], row["document"], row["sentence"]) for row in rows}) == len(rows)


def test_each_sentence_stands_once_in_a_passage_that_answers(rows, collection):
    for row in rows:
        assert collection.judgements[row["query"]].get(row["document"], 0) >= 2, row
        assert collection.documents[row["document"]].count(row["sentence"]) == 1, row
        assert row["changed"] != row["sentence"], row


def test_exchanged_roles_keep_exactly_the_words(rows):
    for row in rows:
        if row["kind"] == "order":
            assert Counter(words(row["changed"])) == Counter(words(row["sentence"])), row
            assert words(row["changed"]) != words(row["sentence"]), row


def test_a_negation_changes_at_most_three_words(rows):
    for row in rows:
        if row["kind"] == "negation":
            assert 1 <= changed_words(row["sentence"], row["changed"]) <= 3, row


def test_the_first_not_of_a_passage_is_the_one_that_was_put_in(rows, collection):
    negations = [row for row in rows if row["kind"] == "negation"]
    for row in negations:
        changed = collection.documents[row["document"]].replace(row["sentence"], row["changed"])
        if NOT in changed:
            assert 0 <= changed.index(NOT) - changed.index(row["changed"]) < len(row["changed"]), row
    only_not = [row for row in negations if row["changed"].replace(NOT, " ", 1) == row["sentence"]]
    assert len(only_not) >= 25
