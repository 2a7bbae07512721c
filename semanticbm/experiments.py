"""The experiments of the reproduction, in the order of the book; each feeds the claims named in `claims.toml`.

An experiment takes a `Study` (model, collection, sizes, results so far) and returns plain data: `findings` (one for each
claim key), `heads` where it chooses some, and the numbers behind its figures. The methods themselves live in the modules
that the book teaches; here they are only called, always in the same way: heads are chosen on one half of the queries and
measured on the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from semanticbm.claims import Finding
from semanticbm.evaluation import bootstrap_mean, measure
from semanticbm.reproduce import Study

Head = tuple[int, int]


def finding(values, control: float | None = None, seed: int = 0, note: str = "") -> Finding:
    """Mean over queries with its bootstrap interval, as a finding."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return Finding(None, note=note or "no query gave a value")
    mean, low, high = bootstrap_mean(values, seed=seed)
    return Finding(mean, low, high, len(values), control, note)


def missing(note: str, *keys: str) -> dict:
    """Findings for claims that this model or collection cannot answer, with the reason."""
    return {"findings": {key: Finding(None, note=note) for key in keys}}


def other_heads(study: Study, heads: list[Head], same_layers: bool = False) -> list[Head]:
    """All heads but these; with `same_layers` only those that share a layer with one of them."""
    allowed = {layer for layer, _ in heads} if same_layers else set(range(study.model.n_layers))
    return [(layer, head) for layer in sorted(allowed) for head in range(study.model.n_heads) if (layer, head) not in set(heads)]


# --------------------------------------------------------------------------------------------------------------------
# Matching heads


def matching_heads(study: Study) -> dict:
    """Choose matching heads on the first half of the queries; their same-token AUC on the second half."""
    from semanticbm.matching import find_matching_heads, same_token_auc

    first, second = study.halves
    found = find_matching_heads(study.model, study.collection, first, seed=study.seed, progress=True)
    if not found.heads:
        return missing("no head fulfils the rule for matching heads", "auc") | {"heads": [], "rule": found.rule}
    auc = same_token_auc(study.model, study.collection, second, seed=study.seed, progress=True)
    chosen = np.array([auc.values[:, layer, head] for layer, head in found.heads])
    others = np.array([auc.values[:, layer, head] for layer, head in other_heads(study, found.heads)])
    return {"heads": found.heads, "rule": found.rule, "table": found.table.to_dict("records"),
            "findings": {"auc": finding(np.nanmean(chosen, axis=0), float(np.nanmean(others)))}}


def curves(study: Study) -> dict:
    """Matching score against occurrences, length and similarity, on the second half of the queries."""
    from semanticbm.matching import length_curves, similarity_curves, tf_curves

    heads = study.heads("matching")
    if not heads:
        return missing("no matching heads were found", "saturation", "length", "semantic")
    _, second = study.halves
    arguments = {"queries": second, "seed": study.seed, "progress": True}
    tf = tf_curves(study.model, study.collection, **arguments)
    length = length_curves(study.model, study.collection, **arguments)
    result = {"tf": _curve(tf, heads), "length": _curve(length, heads), "findings": {
        "saturation": _saturation(tf, heads), "length": _length(length, heads)}}
    if not study.collection.synonyms:
        result["findings"]["semantic"] = Finding(None, note="the collection has no synonym list")
        return result
    similar = similarity_curves(study.model, study.collection, study.queries, documents_per_query=study.size(5, 2),
                                seed=study.seed, progress=True)
    result["similarity"] = _curve(similar, heads)
    result["findings"]["semantic"] = _semantic(similar, heads)
    return result


def _curve(curve, heads: list[Head]) -> dict:
    per_head = {f"{layer}.{head}": curve.matching[:, layer, head].mean(axis=0) for layer, head in heads}
    return {"x": list(curve.x), "matching": curve.of_heads(heads).mean(axis=0), "other": curve.of_other_heads(heads).mean(axis=0),
            "by_head": per_head, "score": curve.scores.mean(axis=0), "n": len(curve.query_ids), "skipped": dict(curve.skipped)}


def _saturation(tf, heads: list[Head]) -> Finding:
    slowdown = lambda values: -np.diff(np.diff(values, axis=1)[:, [0, -1]], axis=1)[:, 0]  # noqa: E731 first - last increment
    return finding(slowdown(tf.of_heads(heads)), float(slowdown(tf.of_other_heads(heads)).mean()))


def _length(length, heads: list[Head]) -> Finding:
    growth = lambda values: values[:, -1] - values[:, 0]  # noqa: E731
    note = f"the model's score changes by {growth(length.scores).mean():+.2f} over the same documents"
    return finding(growth(length.of_heads(heads)), float(growth(length.of_other_heads(heads)).mean()), note=note)


def _semantic(similar, heads: list[Head]) -> Finding:
    place = {name: number for number, name in enumerate(similar.x)}
    gain = lambda values: values[:, place["synonym"]] - values[:, place["random"]]  # noqa: E731
    of_heads = similar.of_heads(heads)
    same = (of_heads[:, place["same"]] - of_heads[:, place["random"]]).mean()
    return finding(gain(of_heads), float(gain(similar.of_other_heads(heads)).mean()),
                   note=f"the same word instead of a synonym gives {same:+.3f}")


# --------------------------------------------------------------------------------------------------------------------
# Hybrid search


def hybrid(study: Study) -> dict:
    """Recall of BM25, of the backbone's vectors and of both joined; then the same candidates re-ranked by the model."""
    from semanticbm.retrieval import bm25_run, fuse, rerank, vector_run

    judged = {query: study.collection.judgements[query] for query in study.queries}
    runs = {"BM25": bm25_run(study.collection, 100, queries=study.queries),
            "vectors": vector_run(study.collection, 100, queries=study.queries, progress=True)}
    runs["hybrid"] = fuse(runs.values())
    depth = 20
    reranked = {f"{name} + cross-encoder": rerank(study.model, study.collection, run, depth, progress=True) for name, run in runs.items()}
    values = {name: {query: measure(run, judged, name=metric)[query] for query in judged}
              for metric in ("R@10",) for name, run in runs.items()}
    best = max(("BM25", "vectors"), key=lambda name: np.mean(list(values[name].values())))
    gain = [values["hybrid"][query] - values[best][query] for query in judged]
    return {"recall": {metric: {name: bootstrap_mean(list(measure(run, judged, metric).values())) for name, run in runs.items()}
                       for metric in ("R@5", "R@10", "R@20", "R@50")},
            "ndcg": {name: _by_kind(study, measure(run, judged, "nDCG@10")) for name, run in (runs | reranked).items()},
            "depth": depth, "findings": {"recall_gain": finding(gain, note=f"the better single one is {best}")}}


def _by_kind(study: Study, values: dict[str, float]) -> dict:
    kinds = study.collection.query_kinds
    groups = {"all": list(values.values())}
    for kind in sorted(set(kinds.values())):
        groups[kind] = [value for query, value in values.items() if kinds.get(query) == kind]
    return {kind: bootstrap_mean(group) for kind, group in groups.items()}


EXPERIMENTS: dict[str, Callable[[Study], dict]] = {
    "matching_heads": matching_heads, "curves": curves, "hybrid": hybrid}


def draw_figures(study: Study) -> None:
    """The figures of the report, from the stored numbers."""
