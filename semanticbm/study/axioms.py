"""Does a score keep the axioms of retrieval? (chapter 5)

`axiom_report` scores both documents of each diagnostic pair and counts how often the rule of its axiom holds: a larger
score for TFC1, TDC, STMC1, a smaller step than the one before for TFC2, no gain for LNC1, no loss for LNC2.

When it misleads: an axiom says how a score should move, not by how much. A model can keep all of them and rank badly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from semanticbm.cross_encoder import Pair
from semanticbm.diagnostics import DiagnosticPair, Diagnostics
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean


def axiom_report(score_pairs: Callable[[list[Pair]], np.ndarray], diagnostics: Diagnostics) -> dict[str, float | str]:
    """How often a score keeps an axiom, with a 95 % interval over queries (chapter 5).

    score_pairs: (query, document) pairs -> float array [pair]; `CrossEncoder.score_pairs` is one. Returns axiom,
    n_queries, n_pairs, `holds` (share of pairs, averaged by query), `low`, `high`, and `change`, the mean difference of
    the scores.
    """
    if not diagnostics.pairs:
        raise UserError(f"no {diagnostics.axiom} pair could be built: {dict(diagnostics.skipped)}.")
    changes = score_changes(score_pairs, diagnostics)
    kept: dict[str, list[float]] = {}
    for steps in series(diagnostics):
        kept.setdefault(steps[0].query_id, []).extend(_kept(diagnostics.axiom, [changes[pair] for pair in steps]))
    holds, low, high = bootstrap_mean([np.mean(values) for values in kept.values() if values])
    return {
        "axiom": diagnostics.axiom,
        "n_queries": len(kept),
        "n_pairs": len(diagnostics.pairs),
        "holds": holds,
        "low": low,
        "high": high,
        "change": float(np.mean(list(changes.values()))),
    }


def score_changes(
    score_pairs: Callable[[list[Pair]], np.ndarray], diagnostics: Diagnostics
) -> dict[DiagnosticPair, float]:
    """S(perturbed) - S(baseline) of each pair (chapter 5)."""
    sides = [side for pair in diagnostics.pairs for side in (pair.baseline_pair, pair.perturbed_pair)]
    texts = list(dict.fromkeys(sides))
    scores = dict(zip(texts, np.asarray(score_pairs(texts), dtype=float), strict=True))
    return {pair: scores[pair.perturbed_pair] - scores[pair.baseline_pair] for pair in diagnostics.pairs}


def _kept(axiom: str, changes: list[float]) -> list[bool]:
    """For each pair of one (query, document) whether the axiom holds; for TFC2 each step against the one before."""
    if axiom == "TFC2":
        return [later < earlier for earlier, later in zip(changes, changes[1:], strict=False)]
    rules = {"LNC1": lambda change: change <= 0, "LNC2": lambda change: change >= 0}
    return [rules.get(axiom, lambda change: change > 0)(change) for change in changes]


def series(diagnostics: Diagnostics) -> list[list[DiagnosticPair]]:
    """The pairs of each (query, document), ordered by `step`: for TFC2 the whole curve, else single pairs."""
    grouped: dict[tuple[str, str], list[DiagnosticPair]] = {}
    for pair in diagnostics.pairs:
        grouped.setdefault((pair.query_id, pair.document_id), []).append(pair)
    return [sorted(steps, key=lambda pair: pair.step) for steps in grouped.values()]
