"""Chapter 5: heads that look from a query word to its copies, their curves, and how well k1 and b describe them."""

from __future__ import annotations

import numpy as np

from semanticbm.errors import UserError
from semanticbm.head_as_bm25 import AttentionMasses, attention_masses, heads_as_bm25, predicted_mass
from semanticbm.heads import FoundHeads, Head, all_heads, other_heads
from semanticbm.matching import (
    Curves,
    confirm_heads,
    find_matching_heads,
    length_curves,
    same_token_auc,
    similarity_curves,
    tf_curves,
)
from semanticbm.study.claims import Finding, nothing_found
from semanticbm.study.experiments.samples import mean_or_none, tfc1_pairs, without_answer
from semanticbm.study.study import Study

NO_HEADS = "no matching heads were found"
FIT_DRAWS = 200  # bootstrap draws of the fit


def matching_heads(study: Study) -> dict:
    """Choose matching heads on the first half of the queries; their same-token AUC on the second half."""
    first, second = study.halves
    found = find_matching_heads(study.model, study.collection, first, seed=study.seed, progress=True)
    result = {"heads": found.heads, "rule": found.rule, "table": found.table.to_dict("records")}
    if not found.heads:
        return result | {"findings": {"auc": nothing_found("no head fulfils the rule for matching heads")}}
    auc = same_token_auc(study.model, study.collection, second, seed=study.seed, progress=True)
    confirmed = _confirmed(study, found)
    chosen = [auc.values[:, layer, head] for layer, head in found.heads]
    others = [auc.values[:, layer, head] for layer, head in other_heads(found.heads, study.model.head_shape)]
    return (
        result
        | confirmed
        | {"findings": {"auc": study.finding(np.nanmean(chosen, axis=0), mean_or_none(others), confirmed["note"])}}
    )


def _confirmed(study: Study, found: FoundHeads) -> dict:
    """Which of the heads that were chosen by attention also move the score, on the same half of the queries."""
    try:
        pairs = tfc1_pairs(study, study.halves[0], 1)
        checked = confirm_heads(study.model, found, pairs, study.seed)
    except UserError as reason:
        return {"confirmed": None, "note": f"whether they move the score was not measured: {reason}"}
    note = f"{len(checked.heads)} of {len(found.heads)} also move the score when their output is patched"
    return {"confirmed": checked.heads, "table": checked.table.to_dict("records"), "note": note}


# --------------------------------------------------------------------------------------------------------------------
# Curves


def curves(study: Study) -> dict:
    """Matching score against occurrences, length and similarity, on the second half of the queries."""
    heads = study.heads("matching")
    if not heads:
        return without_answer(NO_HEADS, "saturation", "length", "semantic")
    sample = {"queries": study.halves[1], "seed": study.seed, "progress": True}
    tf = tf_curves(study.model, study.collection, **sample)
    length = length_curves(study.model, study.collection, **sample)
    result = {
        "tf": _curve(tf, heads),
        "length": _curve(length, heads),
        "findings": {"saturation": _saturation(study, tf, heads), "length": _length(study, length, heads)},
    }
    if not study.collection.synonyms:
        result["findings"]["semantic"] = Finding(None, note="the collection has no synonym list")
        return result
    similar = similarity_curves(study.model, study.collection, documents_per_query=study.size(5, 2), **sample)
    result["similarity"] = _curve(similar, heads)
    result["findings"]["semantic"] = _semantic(study, similar, heads)
    return result


def _curve(curve: Curves, heads: list[Head]) -> dict:
    return {
        "x": list(curve.x),
        "matching": curve.of_heads(heads).mean(axis=0),
        "other": _of_others(curve, heads).mean(axis=0),
        "by_head": {f"{layer}.{head}": curve.matching[:, layer, head].mean(axis=0) for layer, head in heads},
        "score": curve.scores.mean(axis=0),
        "n": len(curve.query_ids),
        "skipped": dict(curve.skipped),
    }


def _of_others(curve: Curves, heads: list[Head]) -> np.ndarray:
    """Mean over all other heads: float [query, point]; NaN where the model has no others."""
    chosen = np.zeros(curve.matching.shape[1:3], dtype=bool)
    chosen[tuple(np.transpose(heads))] = True
    return np.full(curve.scores.shape, np.nan) if chosen.all() else curve.of_other_heads(heads)


def _slowdown(values: np.ndarray) -> np.ndarray:
    """First increment minus last increment: [query, point] -> [query]."""
    steps = np.diff(values, axis=1)
    return steps[:, 0] - steps[:, -1]


def _saturation(study: Study, tf: Curves, heads: list[Head]) -> Finding:
    return study.finding(_slowdown(tf.of_heads(heads)), mean_or_none(_slowdown(_of_others(tf, heads))))


def _growth(values: np.ndarray) -> np.ndarray:
    """Last point minus first point: [query, point] -> [query]."""
    return values[:, -1] - values[:, 0]


def _length(study: Study, length: Curves, heads: list[Head]) -> Finding:
    note = f"the model's score changes by {_growth(length.scores).mean():+.2f} over the same documents"
    return study.finding(_growth(length.of_heads(heads)), mean_or_none(_growth(_of_others(length, heads))), note)


def _semantic(study: Study, similar: Curves, heads: list[Head]) -> Finding:
    synonym, random, same = (similar.x.index(name) for name in ("synonym", "random", "same"))
    chosen, others = similar.of_heads(heads), _of_others(similar, heads)
    return study.finding(
        chosen[:, synonym] - chosen[:, random],
        mean_or_none(others[:, synonym] - others[:, random]),
        f"the same word instead of a synonym gives {(chosen[:, same] - chosen[:, random]).mean():+.3f}",
    )


# --------------------------------------------------------------------------------------------------------------------
# Effective k1 and b


def effective(study: Study) -> dict:
    """Effective k1 and b of the matching heads, and how well the two numbers describe each head, on the second half."""
    heads = study.heads("matching")
    if not heads:
        return without_answer(NO_HEADS, "r_squared")
    every, pairs = all_heads(study.model.head_shape), best_judged_pairs(study, study.size(8, 5), study.halves[1])
    masses, length = attention_masses(study.model, every, pairs)
    counts = query_draws(masses, study.seed)
    fits = fits_by_draw(masses, counts)
    chosen = np.array([head in set(heads) for head in every])
    of_heads = fits[chosen].mean(axis=0)
    low, high = np.quantile(of_heads[1:], [0.025, 0.975])
    control = mean_or_none(fits[~chosen, 0])
    return {
        "avgdl": length,
        "table": [vars(row) for row in heads_as_bm25(study.model, heads, pairs, seed=study.seed)],
        "r_squared": fits[:, 0].reshape(study.model.head_shape),
        "findings": {
            "r_squared": Finding(float(of_heads[0]), float(low), float(high), int((counts[0] > 0).sum()), control)
        },
    }


def best_judged_pairs(study: Study, per_query: int, queries: list[str]) -> list[tuple[str, str]]:
    """(query, document) texts: the judged documents of each query with the highest grades."""
    grades = study.collection.judgements
    return [
        (study.collection.queries[query], study.collection.documents[document])
        for query in queries
        for document in sorted(grades[query], key=lambda document: (-grades[query][document], document))[:per_query]
    ]


def query_draws(masses: AttentionMasses, seed: int, n_draws: int = FIT_DRAWS) -> np.ndarray:
    """How often each query is drawn: int [1 + draw, query number]; the first row takes each query once."""
    present = np.bincount(masses.query) > 0
    picks = np.random.default_rng(seed).choice(np.flatnonzero(present), (n_draws, int(present.sum())))
    drawn = [np.bincount(pick, minlength=len(present)) for pick in picks]
    return np.vstack([present.astype(int), *drawn])


def fits_by_draw(masses: AttentionMasses, counts: np.ndarray) -> np.ndarray:
    """R squared of the two-number model of each head for each draw of the queries: float [head, draw].

    beta and the sink's logit are means over the drawn queries of each query's mean; the fit is over all their rows. NaN for a
    head that gives some row no attention at all.
    """
    beta, sink = (_mean_over_draws(values, masses.query, counts) for values in (masses.beta(), masses.sink_logit()))
    fits = np.empty(beta.shape)
    for head, actual in enumerate(masses.match):
        predicted = predicted_mass(masses.tf, masses.length, beta[head][:, None], sink[head][:, None])  # [draw, row]
        for draw, count in enumerate(counts):
            fits[head, draw] = weighted_r_squared(actual, predicted[draw], count[masses.query])
    return fits


def _mean_over_draws(values: np.ndarray, query: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over the drawn queries of their means: [head, row] -> [head, draw]."""
    n_queries = counts.shape[1]
    rows = np.maximum(np.bincount(query, minlength=n_queries), 1)
    by_query = np.stack([np.bincount(query, row, n_queries) / rows for row in values])
    return by_query @ counts.T / counts.sum(axis=1)


def weighted_r_squared(actual: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """Share of the weighted variance that is predicted; NaN if nothing varies."""
    mean = (weight * actual).sum() / weight.sum()
    spread = (weight * (actual - mean) ** 2).sum()
    return float(1 - (weight * (actual - predicted) ** 2).sum() / spread) if spread > 0 else float("nan")
