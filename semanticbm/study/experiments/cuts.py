"""Chapter 8: parts of the model cut out, and whether it still ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semanticbm.ablation import block_attention, mean_ablation, role_means
from semanticbm.errors import UserError
from semanticbm.evaluation import spearman
from semanticbm.heads import Head, all_heads, other_draws, other_heads
from semanticbm.study.claims import Finding
from semanticbm.study.experiments.samples import (
    NO_GRADES,
    RankedPairs,
    judged_pairs,
    judged_run,
    mean_or_none,
    ranked_pairs,
    without_answer,
)
from semanticbm.study.study import Study

BLOCKS = (("cls", "document"), ("query", "document"), ("document", "query"))
REFERENCE_DOCUMENTS = 8  # of each query of the first half: the pairs behind the means


def blocking(study: Study) -> dict:
    """Forbid [CLS], the query, or the document to look at the other side in all layers; what it does to the ranking."""
    if not study.collection.graded:
        return without_answer(NO_GRADES, "cls_document")
    ranked = judged_pairs(study, study.halves[1][: study.size(30, 8)])
    full = ranked.ndcg(study.scores.of(ranked.texts))
    blocked = {
        f"{rows} cannot see {columns}": ranked.ndcg(
            block_attention(study.model, ranked.texts, rows, columns, progress=True)
        )
        for rows, columns in BLOCKS
    }
    change = {name: [values[query] - full[query] for query in full] for name, values in blocked.items()}
    return {
        "ndcg": {
            name: study.mean(list(values.values())) for name, values in ({"nothing blocked": full} | blocked).items()
        },
        "change": {name: study.mean(values) for name, values in change.items()},
        "ceiling": ranked.ceiling(),
        "n_pairs": len(ranked.pairs),
        "findings": {
            "cls_document": study.finding(
                change["cls cannot see document"], mean_or_none(change["query cannot see document"])
            )
        },
    }


# --------------------------------------------------------------------------------------------------------------------
# Mean ablation


@dataclass(frozen=True)
class Circuit:
    """The found heads in two groups, because the control must differ in one of them only.

    `readers`: the scoring heads and the whole last layer. They bring everything to the score, whatever fed them, so they
    stay in the model when the other heads are judged. `middle`: the found heads below, matching and contextual.
    """

    readers: list[Head]
    middle: list[Head]
    matching: list[Head]


def circuit_of(study: Study) -> Circuit:
    """The study's heads as a circuit."""
    last = [head for head in all_heads(study.model.head_shape) if head[0] == study.model.n_layers - 1]
    readers = sorted({*study.heads("scoring"), *last})
    matching = [head for head in study.heads("matching") if head not in readers]
    middle = sorted({*matching, *study.heads("contextual")} - set(readers))
    return Circuit(readers, middle, sorted(matching))


def ablation(study: Study) -> dict:
    """Are the matching and contextual heads needed, and are they enough? Against as many others, with the readers kept."""
    circuit = circuit_of(study)
    if not circuit.middle:
        return without_answer("no matching or contextual heads were found", "necessity", "sufficiency")
    first, second = study.halves
    reference = ranked_pairs(study, judged_run(study, first, REFERENCE_DOCUMENTS))
    means = role_means(study.model, reference.texts, progress=True)
    ranked = judged_pairs(study, second[: study.size(30, 6)])

    def without(removed: list[Head]) -> np.ndarray:
        return mean_ablation(study.model, ranked.texts, removed, means, progress=True)

    rows = {"full model": [study.scores.of(ranked.texts)]}
    rows |= {name: [without(removed) for removed in draws] for name, draws in cut_heads(study, circuit).items()}
    return {"circuit": vars(circuit)} | _summary(study, ranked, rows)


def cut_heads(study: Study, circuit: Circuit) -> dict[str, list[list[Head]]]:
    """{row: draws}, a draw being the heads that are ablated; several draws where the heads are random."""
    others, others_of_matching = (_draws(study, circuit, heads) for heads in (circuit.middle, circuit.matching))

    def all_but(kept: list[Head]) -> list[Head]:
        return other_heads([*circuit.readers, *kept], study.model.head_shape)

    rows = {
        "all found heads ablated": [sorted({*circuit.middle, *study.heads("scoring")})],
        "found heads below the readers ablated": [circuit.middle],
        "as many other heads ablated": others,
        "readers alone": [all_but([])],
        "readers and found heads alone": [all_but(circuit.middle)],
        "readers and as many other heads alone": [all_but(draw) for draw in others],
    }
    if circuit.matching:
        rows |= {
            "matching heads ablated": [circuit.matching],
            "as many other heads as matching heads ablated": others_of_matching,
            "readers and matching heads alone": [all_but(circuit.matching)],
        }
    return rows


def _draws(study: Study, circuit: Circuit, heads: list[Head]) -> list[list[Head]]:
    """As many other heads, layer by layer, none of them found and none of them a reader; [] if there are too few."""
    banned = [*circuit.readers, *circuit.middle]
    try:
        return other_draws(heads, study.model.head_shape, study.size(3, 1), study.seed, banned)
    except UserError:
        return []


def _summary(study: Study, ranked: RankedPairs, rows: dict[str, list[np.ndarray]]) -> dict:
    """nDCG@10 and agreement with the full model of each row, and the findings; rows without scores are left out."""
    full = rows["full model"][0]
    rows = {name: draws for name, draws in rows.items() if draws}
    ndcg = {name: _mean_over_draws([list(ranked.ndcg(scores).values()) for scores in rows[name]]) for name in rows}
    order = {name: _mean_over_draws([order_agreement(ranked, full, scores) for scores in rows[name]]) for name in rows}
    return {
        "n_pairs": len(ranked.pairs),
        "ceiling": ranked.ceiling(),
        "ndcg": {name: study.mean(values) for name, values in ndcg.items()},
        "agreement": {name: study.mean(values) for name, values in order.items()},
        "findings": {"necessity": _necessity(study, ndcg), "sufficiency": _sufficiency(study, order)},
    }


def _mean_over_draws(draws: list) -> np.ndarray:
    """Mean over draws: float [query]."""
    return np.nanmean(np.array(draws, dtype=float), axis=0)


def _necessity(study: Study, ndcg: dict[str, np.ndarray]) -> Finding:
    """nDCG@10 without the found heads below the readers, minus without as many others."""
    if not study.collection.graded:
        return Finding(None, note=NO_GRADES)
    if "as many other heads ablated" not in ndcg:
        return Finding(None, note="there are not as many other heads in or before these layers")
    lost = ndcg["found heads below the readers ablated"]
    note = ""
    if "as many other heads as matching heads ablated" in ndcg:
        alone = study.mean(ndcg["matching heads ablated"] - ndcg["as many other heads as matching heads ablated"])
        note = "the matching heads alone: {:+.3f} [{:+.3f}, {:+.3f}]".format(*alone)
    return study.finding(lost - ndcg["as many other heads ablated"], 0.0, note)


def _sufficiency(study: Study, order: dict[str, np.ndarray]) -> Finding:
    """Agreement with the full model of the readers with the found heads, against the readers with as many others."""
    control = mean_or_none(order.get("readers and as many other heads alone", [np.nan]))
    note = f"the readers alone: {np.nanmean(order['readers alone']):.3f}"
    return study.finding(order["readers and found heads alone"], control, note)


def order_agreement(ranked: RankedPairs, full: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman between two scores [pair] inside each query: float [query]."""
    queries = np.array([query for query, _ in ranked.pairs])
    return np.array([spearman(full[queries == query], other[queries == query]) for query in dict.fromkeys(queries)])
