"""Chapter 9: first stages, their fusion, and the same candidates re-ranked by the model."""

from __future__ import annotations

import numpy as np

from semanticbm.evaluation import Run, measure
from semanticbm.retrieval import bm25_run, fuse, top, vector_run
from semanticbm.study.experiments.samples import NO_GRADES, without_answer
from semanticbm.study.study import Study

DEPTH = 100  # documents of a first stage


def hybrid(study: Study) -> dict:
    """Recall of BM25, of the backbone's vectors and of both joined; then the same candidates re-ranked by the model."""
    if not study.collection.graded:
        return without_answer(NO_GRADES, "recall_gain")
    judged = {query: study.collection.judgements[query] for query in study.queries}
    runs = {
        "BM25": bm25_run(study.collection, DEPTH, queries=study.queries),
        "vectors": vector_run(study.collection, DEPTH, study.queries, progress=True, encoder=study.backbone),
    }
    runs["hybrid"] = fuse(runs.values())
    depth = study.size(20, 8)
    recall = {name: measure(run, judged, "R@10") for name, run in runs.items()}
    best = max(("BM25", "vectors"), key=lambda name: np.mean(list(recall[name].values())))
    gain = [recall["hybrid"][query] - recall[best][query] for query in judged]
    return {
        "recall": {
            metric: {name: study.mean(list(measure(run, judged, metric).values())) for name, run in runs.items()}
            for metric in ("R@5", "R@10", "R@20", "R@50")
        },
        "recall_by_kind": {name: _by_kind(study, values) for name, values in recall.items()},
        "ndcg": {
            name: _by_kind(study, measure(run, judged, "nDCG@10"))
            for name, run in (runs | _reranked(study, runs, depth)).items()
        },
        "depth": depth,
        "findings": {"recall_gain": study.finding(gain, 0.0, f"the better single one is {best}")},
    }


def _reranked(study: Study, runs: dict[str, Run], depth: int) -> dict[str, Run]:
    """Each run's best `depth` documents in the order of the model's scores; every pair is scored once."""
    best = {name: {query: top(scores, depth) for query, scores in run.items()} for name, run in runs.items()}
    pairs = list(dict.fromkeys((query, document) for run in best.values() for query in run for document in run[query]))
    texts = [(study.collection.queries[query], study.collection.documents[document]) for query, document in pairs]
    scored = dict(zip(pairs, study.scores.of(texts, progress=True).tolist(), strict=True))
    return {
        f"{name} + cross-encoder": {
            query: {document: scored[query, document] for document in row} for query, row in run.items()
        }
        for name, run in best.items()
    }


def _by_kind(study: Study, values: dict[str, float]) -> dict:
    """Mean with interval over all queries and over those of each kind that the collection knows."""
    kinds = study.collection.query_kinds
    groups = {"all": list(values.values())}
    for kind in sorted(set(kinds.values())):
        groups[kind] = [value for query, value in values.items() if kinds.get(query) == kind]
    return {kind: study.mean(group) for kind, group in groups.items()}
