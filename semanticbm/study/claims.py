"""From measurements to verdicts: the rules were written down before the run, in `claims.toml`.

A *finding* is what an experiment measured for one claim: a number, its 95 % interval, the number of queries, and the same
number for a control. The verdict needs no judgement: the whole interval must lie on the right side of the threshold and,
where the claim says so, on the right side of the control too.

When it misleads: "not reproduced" can mean "false here", "too few queries" or "not this model". Read the interval.
"""

from __future__ import annotations

import importlib.resources
import math
import tomllib
from dataclasses import dataclass
from functools import cache

VERDICTS = ("reproduced", "not reproduced", "not applicable")


@dataclass(frozen=True)
class Finding:
    """What was measured: `measured` with interval [`low`, `high`] over `n` queries; `control` the control's value.

    `note`: one sentence of context for the report, for example why nothing could be measured.
    """

    measured: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    control: float | None = None
    note: str = ""

    @property
    def missing(self) -> bool:
        """True if nothing could be measured."""
        return any(value is None or math.isnan(value) for value in (self.measured, self.low, self.high))


@cache
def rules() -> list[dict]:
    """The claims in order, as written in claims.toml."""
    return tomllib.loads((importlib.resources.files("semanticbm.study") / "claims.toml").read_text(encoding="utf-8"))[
        "claim"
    ]


def verdict(rule: dict, finding: Finding) -> str:
    """Apply a claim's rule to a finding: one of `VERDICTS`."""
    if finding.missing:
        return "not applicable"
    holds = []
    if "above" in rule:
        holds.append(finding.low > rule["above"])
        if rule.get("beats_control"):
            holds.append(finding.control is not None and finding.low > finding.control)
    if "below" in rule:
        holds.append(finding.high < rule["below"])
        if rule.get("beats_control"):
            holds.append(finding.control is not None and finding.high < finding.control)
    return "reproduced" if holds and all(holds) else "not reproduced"


def judge(rule: dict, finding: Finding) -> dict:
    """One row of the report: the claim, what was measured, and the verdict; JSON-ready."""
    interval = None if finding.missing else [finding.low, finding.high]
    return {
        "id": rule["id"],
        "statement": rule["statement"],
        "source": rule["source"],
        "paper": rule["paper"],
        "statistic": rule["statistic"],
        "measured": None if finding.missing else finding.measured,
        "ci95": interval,
        "n": finding.n,
        "control": finding.control,
        "control_statistic": rule["control"],
        "rule": describe(rule),
        "note": finding.note,
        "verdict": verdict(rule, finding),
    }


def describe(rule: dict) -> str:
    """The rule in words."""
    parts = [f"interval above {rule['above']}"] if "above" in rule else []
    parts += [f"interval below {rule['below']}"] if "below" in rule else []
    return " and ".join(parts + (["beyond the control"] if rule.get("beats_control") else []))
