"""The rules are complete, and the verdict follows from them alone."""

import hashlib
import json

import pytest

from semanticbm.study.claims import (
    Finding,
    conditions,
    describe,
    describe_all,
    judge,
    nothing_found,
    rule_changes,
    rules,
    rules_version,
    verdict,
)
from semanticbm.study.experiments import EXPERIMENTS
from semanticbm.study.report import markdown

FIXED_IDS = [
    "tfc1-direct-effect",
    "scoring-heads-late",
    "matching-heads-exist",
    "matching-saturates",
    "matching-length",
    "matching-semantic",
    "contextual-heads",
    "scoring-attends-by-idf",
    "u0-idf-correlation",
    "u0-edit-monotone",
    "semanticbm-pearson",
    "bm25-pearson",
    "semanticbm-beats-bm25",
    "semanticbm-beats-random-heads",
    "cls-needs-no-document",
    "effective-k1-b",
]


def test_all_fixed_claims_are_there_once():
    identifiers = [rule["id"] for rule in rules()]
    assert set(FIXED_IDS) <= set(identifiers) and len(identifiers) == len(set(identifiers))


TEXTS = ("statistic", "control", "key")
KEYS = {"id", "statement", "source", "paper", "experiment", "existence", "also"}
CONDITION_KEYS = {*TEXTS, "above", "below", "beats_control"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["id"])
def test_every_claim_has_source_statistic_control_and_threshold(rule):
    for key in ("id", "statement", "source", "paper", "experiment"):
        assert isinstance(rule[key], str) and rule[key].strip(), key
    assert set(rule) <= KEYS | CONDITION_KEYS
    for condition in conditions(rule):
        assert all(condition[key].strip() for key in TEXTS)
        assert ("above" in condition) != ("below" in condition)
    assert all(set(condition) <= CONDITION_KEYS for condition in rule.get("also", []))


def test_every_experiment_named_by_a_claim_exists():
    assert {rule["experiment"] for rule in rules()} <= set(EXPERIMENTS)
    keys = [(rule["experiment"], condition["key"]) for rule in rules() for condition in conditions(rule)]
    assert len(keys) == len(set(keys)), "two claims judge one finding"


def test_rules_are_versioned():
    """The version is that of the last change; each change names claims that exist, and a date that is in order."""
    changes = rule_changes()
    assert [change["version"] for change in changes] == sorted(change["version"] for change in changes)
    assert rules_version() == changes[-1]["version"] and changes[0]["version"] == 1
    assert [change["date"] for change in changes] == sorted(change["date"] for change in changes)
    known = {rule["id"] for rule in rules()}
    for change in changes:
        assert set(change["claims"]) <= known and change["what"].strip() and isinstance(change["after_runs"], bool)


def test_a_change_after_a_run_stands_beside_the_claim():
    row = judge(next(rule for rule in rules() if rule["id"] == "scoring-attends-by-idf"), {})
    assert any("after runs had been seen" in change and "stop words" in change for change in row["rule_changes"])
    report = {
        "model": "m", "collection": "c", "environment": {}, "seed": 0, "quick": False, "queries": 1, "seconds": 1.0,
        "rules_version": rules_version(), "heads": {}, "claims": [row],
    }  # fmt: skip
    text = markdown(report)
    assert "after runs had been seen" in text and f"rules version {rules_version()}" in text


# The hash of the rules as they are, without the list of changes: whoever changes a rule must also raise the version and say
# in a [[change]] what changed, and then write the new hash here.
RULES_OF_VERSION = {
    2: "5e4ff1a373f35710",
    3: "f96e32511e63950f",
    4: "ffe7ea693d30aa60",
    5: "ffe7ea693d30aa60",
    6: "03170d04f8ecccdc",
}


def test_no_rule_changes_without_a_version():
    judged_by = [
        {key: condition[key] for key in ("key", "above", "below", "beats_control") if key in condition}
        | {"id": rule["id"], "existence": rule.get("existence", False)}
        for rule in rules()
        for condition in conditions(rule)
    ]
    digest = hashlib.sha256(json.dumps(judged_by, sort_keys=True).encode()).hexdigest()[:16]
    assert RULES_OF_VERSION[rules_version()] == digest


ABOVE = {"key": "k", "above": 0.5, "beats_control": True}
EXISTS = ABOVE | {"existence": True}
NO_CONTROL = {"key": "k", "above": 0.5}
BELOW = {"key": "k", "below": -0.5}
TWO = NO_CONTROL | {"also": [{"key": "second", "above": 0.0, "beats_control": True}]}
GOOD, BAD = Finding(0.7, 0.6, 0.8, 10, 0.3), Finding(0.6, 0.4, 0.8, 10, 0.3)


@pytest.mark.parametrize(
    ("rule", "finding", "expected"),
    [
        (ABOVE, GOOD, "reproduced"),
        (ABOVE, BAD, "not reproduced"),
        (ABOVE, Finding(0.7, 0.5, 0.8, 10, 0.3), "not reproduced"),  # the end of the interval on the threshold
        (ABOVE, Finding(0.7, 0.6, 0.8, 10, 0.6), "not reproduced"),  # on the control
        (ABOVE, Finding(0.7, 0.6, 0.8, 10, 0.65), "not reproduced"),
        (ABOVE, Finding(0.7, 0.6, 0.8, 10, None), "not applicable"),
        (ABOVE, Finding(0.7, 0.6, 0.8, 10, float("nan")), "not applicable"),
        (ABOVE, Finding(0.1, 0.0, 0.2, 10, None), "not applicable"),
        (NO_CONTROL, Finding(0.7, 0.6, 0.8, 10, 0.65), "reproduced"),
        (NO_CONTROL, Finding(0.7, 0.6, 0.8, 10, None), "reproduced"),
        (BELOW, Finding(-0.7, -0.8, -0.6), "reproduced"),
        (BELOW, Finding(-0.7, -0.8, -0.4), "not reproduced"),
        (BELOW, Finding(-0.7, -0.8, -0.5), "not reproduced"),
        ({"key": "k", "below": 0.0, "beats_control": True}, Finding(-0.3, -0.4, -0.2, 5, -0.25), "not reproduced"),
        ({"key": "k", "below": 0.0, "beats_control": True}, Finding(-0.3, -0.4, -0.2, 5, -0.1), "reproduced"),
        (ABOVE, Finding(None, note="no synonyms"), "not applicable"),
        (ABOVE, Finding(float("nan"), 0.1, 0.2), "not applicable"),
        (ABOVE, nothing_found("no head"), "not applicable"),
        (EXISTS, nothing_found("no head"), "not reproduced"),
        (EXISTS, Finding(None, note="too few queries"), "not applicable"),
    ],
)
def test_verdicts(rule, finding, expected):
    assert verdict(rule, {"k": finding}) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (GOOD, GOOD, "reproduced"),
        (GOOD, Finding(0.1, -0.1, 0.3, 5, -1.0), "not reproduced"),
        (GOOD, Finding(0.7, 0.6, 0.8, 10, 0.65), "not reproduced"),
        (BAD, GOOD, "not reproduced"),
        (GOOD, Finding(None), "not applicable"),
        (Finding(None), GOOD, "not applicable"),
        (BAD, Finding(None), "not reproduced"),
        (GOOD, None, "not applicable"),
    ],
)
def test_a_claim_of_two_conditions_needs_both(first, second, expected):
    findings = {"k": first} | ({"second": second} if second else {})
    assert verdict(TWO, findings) == expected


def test_report_row_has_the_fixed_keys():
    row = judge(rules()[0], {rules()[0]["key"]: Finding(0.1, 0.05, 0.2, 30, 0.01)})
    assert {"id", "statement", "source", "paper", "measured", "ci95", "n", "control", "verdict"} <= set(row)
    assert row["ci95"] == [0.05, 0.2] and row["verdict"] == "reproduced" and row["control"] == 0.01


def test_a_missing_control_is_the_reason_in_the_note():
    row = judge(rules()[0], {rules()[0]["key"]: Finding(0.1, 0.05, 0.2, 30, None, "strongest head: 1.0")})
    assert row["verdict"] == "not applicable" and row["measured"] == 0.1
    assert row["note"] == f"no control ({rules()[0]['control']}); strongest head: 1.0"
    assert judge(rules()[0], {})["note"] == "this experiment was not run"


def test_rules_in_words():
    assert describe(ABOVE) == "interval above 0.5 and beyond the control"
    assert describe(BELOW) == "interval below -0.5"
    assert describe(EXISTS, True).endswith("; not reproduced where none is found")
    two = TWO | {"also": [TWO["also"][0] | {"statistic": "the other number"}]}
    assert describe_all(two) == ("interval above 0.5; and the other number: interval above 0.0 and beyond the control")
