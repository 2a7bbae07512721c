"""How good is a ranking, and how sure are we?

**Ranking measures** come from ir-measures (trec_eval underneath). nDCG@10 adds up the grades of the first ten documents,
each divided by the logarithm of its rank, and divides by the best possible sum: 1 is perfect.

**Ties.** Equal scores are ordered as trec_eval does, by document id in descending order, everywhere in this book: in runs,
fusions and measures (`ranking`). Each measure sees one and the same order; scores are compared in full precision.

**Correlations** tell how well one score predicts another. They are computed inside a query, then averaged or their
median taken, because only the order inside a query matters for ranking. Pooling all pairs would also reward a model that
merely knows which queries get high scores.

**Intervals** are bootstrap intervals over queries: draw as many queries as there are, with replacement, average, repeat;
the middle 95 % of these averages is the interval. Queries are the unit, since documents of one query are not
independent: a paper with 100 queries and 10,000 pairs has a sample of 100.

When it misleads: an interval over queries says nothing about another collection or another training seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import ir_measures
import numpy as np
from scipy import stats

from semanticbm.errors import UserError

Run = Mapping[str, Mapping[str, float]]
Judgements = Mapping[str, Mapping[str, int]]


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Document ids, best first; equal scores by descending id, the order of trec_eval (chapter 1)."""
    return sorted(scores, key=lambda document: (scores[document], document), reverse=True)


def measure(run: Run, judgements: Judgements, name: str = "nDCG@10") -> dict[str, float]:
    """A ranking measure of each judged query: {query id: value} (chapter 1).

    `run`: {query id: {document id: score}}. `name` in ir-measures' notation, for example "nDCG@10", "R@100", "RR".
    A judged query that is missing from the run scores 0. Only queries with a positive grade count. The tools behind the
    measures get places instead of scores, since they break ties in different ways and round to 32 bits.
    """
    judged = {query: grades for query, grades in judgements.items() if any(grade > 0 for grade in grades.values())}
    if not judged:
        raise UserError("no query has a relevant document: there is nothing to measure.")
    places = {
        query: {document: float(-place) for place, document in enumerate(ranking(scores))}
        for query, scores in run.items()
    }
    found = ir_measures.iter_calc([ir_measures.parse_measure(name)], judged, places)
    values = dict.fromkeys(judged, 0.0)
    values.update({row.query_id: row.value for row in found})
    return values


def ndcg(run: Run, judgements: Judgements) -> dict[str, float]:
    """nDCG@10 of each judged query: {query id: value between 0 and 1} (chapter 1)."""
    return measure(run, judgements, "nDCG@10")


def bootstrap(
    values: Sequence[float], statistic: Callable = np.mean, n: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """A statistic with its 95 % percentile bootstrap interval over queries: (value, low, high) (chapter 1).

    `values`: one number per query; NaNs (queries where the number is not defined) are left out. `statistic` takes an
    array [draw, query] and `axis=1`, as np.mean and np.median do.
    """
    sample = np.asarray(list(values), dtype=float)
    sample = sample[~np.isnan(sample)]
    if len(sample) == 0:
        return float("nan"), float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(len(sample), size=(n, len(sample)))
    estimates = statistic(sample[draws], axis=1)
    low, high = np.quantile(estimates, [0.025, 0.975])
    return float(statistic(sample[None], axis=1)[0]), float(low), float(high)


def bootstrap_mean(values: Sequence[float], n: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean over queries with its 95 % bootstrap interval: (mean, low, high) (chapter 1)."""
    return bootstrap(values, np.mean, n, seed)


def bootstrap_median(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Median over queries with its 95 % bootstrap interval: (median, low, high) (chapter 8)."""
    return bootstrap(values, np.median, seed=seed)


def paired_bootstrap(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[float, float, float]:
    """Mean of first - second over the queries of both, with its 95 % interval: (difference, low, high) (chapter 1).

    The same queries are drawn for both sides, so the spread between easy and hard queries cancels.
    """
    shared = sorted(set(first) & set(second))
    return bootstrap_mean([first[query] - second[query] for query in shared])


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson correlation (chapter 6); NaN if one side does not vary or there are fewer than three points."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman rank correlation (chapter 6); NaN if one side does not vary or there are fewer than three points."""
    return pearson(stats.rankdata(x), stats.rankdata(y))


def partial_correlation(x: Sequence[float], y: Sequence[float], controls: np.ndarray) -> float:
    """Pearson correlation of x and y after a linear fit on the controls [sample, control] is taken off both (chapter 6)."""
    sides = np.column_stack([x, y]).astype(float)
    design = np.column_stack([np.ones(len(sides)), np.asarray(controls, dtype=float)])
    return pearson(*(side - design @ np.linalg.lstsq(design, side, rcond=None)[0] for side in sides.T))
