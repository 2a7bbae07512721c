"""Chapter 7: heads that act on the score, where [CLS] looks in them, and the heads that feed them."""

from __future__ import annotations

import numpy as np

from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.heads import FoundHeads, Head, HeadValues, intervals
from semanticbm.matching import Effects
from semanticbm.scoring_heads import (
    KINDS,
    QueryAttention,
    attention_by_idf,
    cls_attention,
    cls_idf_correlations,
    direct_effects_by_query,
    find_contextual_heads,
    find_scoring_heads,
    path_effects_by_query,
    relays_among,
)
from semanticbm.study.claims import Finding, nothing_found
from semanticbm.study.experiments.samples import mean_or_none, others_in_same_layers, tfc1_pairs, without_answer
from semanticbm.study.experiments.untrained import parent_of, random_like
from semanticbm.study.relays import relay_report
from semanticbm.study.study import Study

MIN_CONTENT_WORDS = 3
SHARE_DRAWS = 1000  # bootstrap draws of the late share


# --------------------------------------------------------------------------------------------------------------------
# Direct effects


def direct_effects(study: Study) -> dict:
    """Scoring heads chosen on the first half of the queries; direct effects of all heads measured on the second half."""
    first, second = (tfc1_pairs(study, half, study.size(4, 2)) for half in study.halves)
    found = find_scoring_heads(study.model, first, seed=study.seed, progress=True)
    effects = direct_effects_by_query(study.model, second, progress=True)
    mean, low, high = intervals(effects.values, study.seed)
    return {
        "heads": found.heads,
        "rule": found.rule,
        "table": found.table.to_dict("records"),
        "mean": mean,
        "low": low,
        "high": high,
        "n_queries": len(effects.query_ids),
        "n_pairs": effects.n_pairs,
        "skipped": dict(second.skipped),
        "by_layer": effects.values.sum(axis=2).mean(axis=0),
        "findings": {
            "strongest": _strongest(study, found, effects),
            "late_share": late_share(effects.values, study.seed),
        },
    }


def _strongest(study: Study, found: FoundHeads, effects: Effects) -> Finding:
    """The direct effect of the head that was strongest on the other half of the queries."""
    if not found.heads:
        return nothing_found("no head fulfils the rule for scoring heads")
    (layer, head), mean = found.heads[0], effects.values.mean(axis=0)
    others = np.ones(mean.shape, dtype=bool)
    others[layer, head] = False
    four = sum(mean[number] for number in found.heads[:4]) / mean[mean > 0].sum()
    note = (
        f"strongest head: {layer}.{head}; {len(found.heads)} of {mean.size} heads pass the rule, the first four of them "
        f"carry {four:.0%} of all positive direct effects"
    )
    return study.finding(effects.values[:, layer, head], mean_or_none(mean[others]), note)


def late_share(values: np.ndarray, seed: int, n_draws: int = SHARE_DRAWS) -> Finding:
    """Share of the summed absolute mean effect that the last third of the layers has, with a bootstrap over queries.

    values: float [query, layer, head].
    """
    n_queries, n_layers, _ = values.shape
    n_late = n_layers // 3
    if not n_late:
        return Finding(None, note=f"a model of {n_layers} layers has no last third")
    picks = np.random.default_rng(seed).integers(n_queries, size=(n_draws, n_queries))
    draws = [_share_of_last(values[pick], n_late) for pick in picks]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Finding(_share_of_last(values, n_late), float(low), float(high), n_queries, n_late / n_layers)


def _share_of_last(values: np.ndarray, n_late: int) -> float:
    size = np.abs(values.mean(axis=0))
    return float(size[-n_late:].sum() / size.sum())


# --------------------------------------------------------------------------------------------------------------------
# Where [CLS] looks


def scoring_attention(study: Study) -> dict:
    """[CLS] attention of the scoring heads against IDF, on the second half of the queries.

    Twice: among all words with position partialled out, and among content words only. Each against the same heads of the
    model before it was trained to score pairs, and of a random network of its shape.
    """
    heads = study.heads("scoring")
    if not heads:
        return without_answer("no scoring heads were found", "partial_spearman", "content_spearman")
    parent, random = parent_of(study), random_like(study.model, study.seed)
    control = parent or random
    own, before = _look(study, study.model), _look(study, control)
    name = f"the control is {control.name}"
    chance = _mean_of(_all_words(_look(study, random) if parent else before), heads)
    mean, low, high = intervals(_all_words(own).values, study.seed)
    return {
        "partial": {"mean": mean, "low": low, "high": high},
        "plain": cls_idf_correlations(own).mean(),
        "before_training": _all_words(before).mean(),
        "random_network": chance,
        "by_idf": attention_by_idf(own, heads, seed=study.seed).to_dict("records"),
        "query_mass": np.mean([query.mass[..., 0] for query in own], axis=0),
        "findings": {
            "partial_spearman": study.finding(
                _by_query(_all_words(own), heads),
                _mean_of(_all_words(before), heads),
                name + (f"; a random network of this shape has {chance:.3f}" if parent and chance is not None else ""),
            ),
            "content_spearman": _content_finding(study, own, before, heads, name),
        },
    }


def _look(study: Study, model: CrossEncoder) -> list[QueryAttention]:
    return cls_attention(model, study.collection, queries=study.halves[1], seed=study.seed, progress=True)


def _all_words(found: list[QueryAttention]) -> HeadValues:
    return cls_idf_correlations(found, "position")


def _content_words(found: list[QueryAttention]) -> HeadValues:
    return cls_idf_correlations([query.content_only() for query in found], min_words=MIN_CONTENT_WORDS)


def _content_finding(
    study: Study, own: list[QueryAttention], before: list[QueryAttention], heads: list[Head], name: str
) -> Finding:
    try:
        return study.finding(_by_query(_content_words(own), heads), _mean_of(_content_words(before), heads), name)
    except UserError as reason:
        return Finding(None, note=str(reason))


def _by_query(values: HeadValues, heads: list[Head]) -> np.ndarray:
    """Mean over some heads: float [query]."""
    return np.nanmean([values.values[:, layer, head] for layer, head in heads], axis=0)


def _mean_of(values: HeadValues, heads: list[Head]) -> float | None:
    return mean_or_none(_by_query(values, heads))


# --------------------------------------------------------------------------------------------------------------------
# Relays


def contextual_heads(study: Study) -> dict:
    """Heads that feed the scoring heads: chosen on the first half of the queries, measured on the second."""
    scoring, matching = study.heads("scoring"), study.heads("matching")
    if not any(layer for layer, _ in scoring):
        return without_answer("no scoring heads were found above the first layer", "path_effect") | {"heads": []}
    first, second = (tfc1_pairs(study, half[: study.size(40, 3)], 1) for half in study.halves)
    feeding = find_contextual_heads(study.model, first, scoring, exclude=matching, seed=study.seed, progress=True)
    found = relays_among(study.model, feeding, first, progress=True)
    result = {
        "heads": found.heads,
        "rule": found.rule,
        "table": found.table.to_dict("records"),
        "feeding_but_no_relay": [head for head in feeding.heads if head not in found.heads],
    }
    if not found.heads:
        return result | {"findings": {"path_effect": nothing_found("no head without another role fulfils the rule")}}
    effects = path_effects_by_query(study.model, second, scoring, KINDS, progress=True)
    rest = others_in_same_layers(study, found.heads, [*scoring, *matching, *feeding.heads])
    control = mean_or_none([_summed(effects, [head]) for head in rest])
    return result | {
        "mean": effects.values.mean(axis=0),
        "n_queries": len(effects.query_ids),
        "relays": _relays_by_idf(study, found.heads),
        "findings": {
            "path_effect": study.finding(
                _summed(effects, found.heads), None if control is None else control * len(found.heads)
            )
        },
    }


def _summed(effects: Effects, heads: list[Head]) -> np.ndarray:
    """Sum over some heads: float [query]."""
    return np.sum([effects.values[:, layer, head] for layer, head in heads], axis=0)


def _relays_by_idf(study: Study, relays: list[Head]) -> list[dict]:
    """Do the relays write to rarer words? Pairs whose term is drawn at random, of queries that chose no head."""
    randomly = tfc1_pairs(study, study.halves[1], 1, term="random", seed_offset=1)
    try:
        return relay_report(study.model, study.collection, randomly, relays, study.seed).to_dict("records")
    except UserError as reason:
        return [{"heads": "relays", "note": str(reason)}]
