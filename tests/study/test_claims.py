"""The rules are complete, and the verdict follows from them alone."""

import pytest

from semanticbm.study.claims import Finding, judge, rules, verdict

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


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["id"])
def test_every_claim_has_source_statistic_control_and_threshold(rule):
    for key in ("statement", "source", "paper", "statistic", "control", "experiment", "key"):
        assert isinstance(rule[key], str) and rule[key].strip(), key
    assert ("above" in rule) != ("below" in rule)
    assert set(rule) <= {
        "id",
        "statement",
        "source",
        "paper",
        "statistic",
        "control",
        "experiment",
        "key",
        "above",
        "below",
        "beats_control",
    }


ABOVE = {"above": 0.5, "beats_control": True}


@pytest.mark.parametrize(
    ("rule", "finding", "expected"),
    [
        (ABOVE, Finding(0.7, 0.6, 0.8, 10, 0.3), "reproduced"),
        (ABOVE, Finding(0.6, 0.4, 0.8, 10, 0.3), "not reproduced"),
        (ABOVE, Finding(0.7, 0.6, 0.8, 10, 0.65), "not reproduced"),
        (ABOVE, Finding(0.7, 0.6, 0.8, 10, None), "not reproduced"),
        ({"above": 0.5}, Finding(0.7, 0.6, 0.8, 10, 0.65), "reproduced"),
        ({"below": -0.5}, Finding(-0.7, -0.8, -0.6), "reproduced"),
        ({"below": -0.5}, Finding(-0.7, -0.8, -0.4), "not reproduced"),
        ({"below": 0.0, "beats_control": True}, Finding(-0.3, -0.4, -0.2, 5, -0.25), "not reproduced"),
        (ABOVE, Finding(None, note="no synonyms"), "not applicable"),
        (ABOVE, Finding(float("nan"), 0.1, 0.2), "not applicable"),
    ],
)
def test_verdicts(rule, finding, expected):
    assert verdict(rule, finding) == expected


def test_report_row_has_the_fixed_keys():
    row = judge(rules()[0], Finding(0.1, 0.05, 0.2, 30, 0.01))
    assert {"id", "statement", "source", "paper", "measured", "ci95", "n", "control", "verdict"} <= set(row)
    assert row["ci95"] == [0.05, 0.2]
