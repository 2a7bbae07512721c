"""From measurements to verdicts: the rules were written down before the run, in `claims.toml`.

A *finding* is what an experiment measured for one condition: a number, its 95 % interval, the number of queries, and the
same number for a control. The verdict needs no judgement:

- `reproduced`: every condition of the claim holds. The whole interval lies on the right side of the threshold and, where
  the condition says so, on the right side of the control too.
- `not reproduced`: a condition was measured and does not hold. A claim that something *exists* is also not reproduced
  where nothing was found; a model that has no such heads is no excuse.
- `not applicable`: a condition lacks its measurement or its control; the reason stands beside it.

Rules have a version. `claims.toml` lists which rules changed, when, why, and whether runs had been seen before.

When it misleads: "not reproduced" can mean "false here", "too few queries" or "not this model". Read the interval.
"""

from __future__ import annotations

import importlib.resources
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

VERDICTS = ("reproduced", "not reproduced", "not applicable")


@dataclass(frozen=True)
class Finding:
    """What was measured: `measured` with interval [`low`, `high`] over `n` queries; `control` the control's value.

    `note`: one sentence of context for the report, for example why nothing could be measured. `none_found`: the
    experiment looked for heads and found none.
    """

    measured: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    control: float | None = None
    note: str = ""
    none_found: bool = False

    @property
    def missing(self) -> bool:
        """True if nothing could be measured."""
        return any(_unknown(value) for value in (self.measured, self.low, self.high))


NOT_RUN = Finding(None, note="this experiment was not run")


def nothing_found(note: str) -> Finding:
    """The finding of a search for heads that found none."""
    return Finding(None, note=note, none_found=True)


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)


# --------------------------------------------------------------------------------------------------------------------
# Rules


@cache
def _file() -> dict:
    text = (importlib.resources.files("semanticbm.study") / "claims.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def rules() -> list[dict]:
    """The claims in order, as written in claims.toml."""
    return _file()["claim"]


def rules_version() -> int:
    """The version of the rules as a whole; a report says which one judged it."""
    return _file()["version"]


def rule_changes(claim: str | None = None) -> list[dict]:
    """The changes of rules, oldest first: version, date, claims, what, after_runs. With `claim`, those of one claim."""
    changes = _file()["change"]
    return [change for change in changes if claim is None or claim in change["claims"]]


def conditions(rule: dict) -> list[dict]:
    """What must hold for a claim: the rule itself and the tables under `also`."""
    return [rule, *rule.get("also", [])]


def claims_of(experiment: str) -> list[str]:
    """The keys of the findings that an experiment owes to the claims."""
    return [condition["key"] for rule in rules() if rule["experiment"] == experiment for condition in conditions(rule)]


# --------------------------------------------------------------------------------------------------------------------
# Verdicts


def condition_verdict(condition: dict, finding: Finding, existence: bool = False) -> str:
    """Whether one condition holds for a finding, in the words of `VERDICTS`."""
    if finding.none_found and existence:
        return "not reproduced"
    if finding.missing or (condition.get("beats_control") and _unknown(finding.control)):
        return "not applicable"
    holds = []
    if "above" in condition:
        holds.append(finding.low > condition["above"])
        if condition.get("beats_control"):
            holds.append(finding.low > finding.control)
    if "below" in condition:
        holds.append(finding.high < condition["below"])
        if condition.get("beats_control"):
            holds.append(finding.high < finding.control)
    return "reproduced" if holds and all(holds) else "not reproduced"


def verdict(rule: dict, findings: Mapping[str, Finding]) -> str:
    """Apply a claim's rule to the findings of its experiment: one of `VERDICTS`."""
    existence = rule.get("existence", False)
    found = {
        condition_verdict(condition, findings.get(condition["key"], NOT_RUN), existence)
        for condition in conditions(rule)
    }
    return next(word for word in ("not reproduced", "not applicable", "reproduced") if word in found)


def judge(rule: dict, findings: Mapping[str, Finding]) -> dict:
    """One row of the report: the claim, what was measured, and the verdict; JSON-ready."""
    finding = findings.get(rule["key"], NOT_RUN)
    return {
        "id": rule["id"],
        "statement": rule["statement"],
        "source": rule["source"],
        "paper": rule["paper"],
        **_measured(rule, finding, rule.get("existence", False)),
        "also": [
            {"key": condition["key"], **_measured(condition, findings.get(condition["key"], NOT_RUN), False)}
            for condition in rule.get("also", [])
        ],
        "rule_changes": [change_in_words(change) for change in rule_changes(rule["id"])],
        "verdict": verdict(rule, findings),
    }


def _measured(condition: dict, finding: Finding, existence: bool) -> dict:
    return {
        "statistic": condition["statistic"],
        "measured": None if finding.missing else finding.measured,
        "ci95": None if finding.missing else [finding.low, finding.high],
        "n": finding.n,
        "control": None if _unknown(finding.control) else finding.control,
        "control_statistic": condition["control"],
        "rule": describe(condition, existence),
        "note": _note(condition, finding),
    }


def _note(condition: dict, finding: Finding) -> str:
    """The finding's note; where only the control is missing, that is the reason."""
    lacks_control = condition.get("beats_control") and _unknown(finding.control) and not finding.missing
    reason = f"no control ({condition['control']})" if lacks_control else ""
    return "; ".join(part for part in (reason, finding.note) if part)


def describe(condition: dict, existence: bool = False) -> str:
    """A condition in words."""
    parts = [f"interval above {condition['above']}"] if "above" in condition else []
    parts += [f"interval below {condition['below']}"] if "below" in condition else []
    parts += ["beyond the control"] if condition.get("beats_control") else []
    return " and ".join(parts) + ("; not reproduced where none is found" if existence else "")


def describe_all(rule: dict) -> str:
    """All conditions of a claim in words."""
    first, *more = conditions(rule)
    return describe(first, rule.get("existence", False)) + "".join(
        f"; and {condition['statistic']}: {describe(condition)}" for condition in more
    )


def change_in_words(change: dict) -> str:
    """One change of rules as a sentence for the report."""
    seen = "after runs had been seen" if change["after_runs"] else "before any run"
    return f"rule changed in version {change['version']} ({change['date']}, {seen}): {change['what']}"
