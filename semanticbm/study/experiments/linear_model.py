"""Chapter 8: SemanticBM, its controls, and what splitting over pairs would have shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semanticbm.errors import UserError
from semanticbm.evaluation import partial_correlation
from semanticbm.heads import Head
from semanticbm.semantic_bm import Features, collect_features, cross_predict, query_folds, semantic_bm_columns
from semanticbm.study.claims import Finding
from semanticbm.study.experiments.idf import widest_idf
from semanticbm.study.experiments.samples import ALL_JUDGED, NO_GRADES, judged_run, ndcg_by_query, without_answer
from semanticbm.study.positional import cut_queries, leak_table
from semanticbm.study.study import Study
from semanticbm.study.variants import Variants, evaluate_variants

KEYS = ("pearson", "given_cosine", "bm25_pearson", "minus_bm25", "minus_random", "ndcg_minus_bm25")
COSINE = "cosine of the backbone"
FOLD_SEEDS = 20
PAPER_PIECES = 5  # query length at which the paper's weights for each position are fitted


def semantic_bm(study: Study) -> dict:
    """SemanticBM and its controls on the half of the queries on which the heads were *not* chosen, cross-fitted by query."""
    heads = study.heads("matching")
    if not heads:
        return without_answer("no matching heads were found", *KEYS)
    idf, depth, queries = widest_idf(study)[1], study.size(ALL_JUDGED, 12), study.halves[1]
    features = collect_features(
        study.model, study.collection, judged_run(study, queries, depth), depth, idf, progress=True
    )
    study.features, texts = features, _texts(study, features)
    study.scores.learn(texts, features.score)
    cosine = study.backbone.cosines(texts)
    sample = {"seed": study.seed, "progress": True, "exclude": study.heads("scoring") + study.heads("contextual")}
    found = evaluate_variants(features, heads, n_draws=study.size(20, 5), **sample)
    found = with_cosine(found, features, cosine)
    raw = evaluate_variants(features, heads, centred=False, n_draws=study.size(5, 2), **sample)
    by_seed = fold_seeds(features, heads, study.seed, study.size(FOLD_SEEDS, 3))
    ndcg = {name: ndcg_by_query(study, run, queries) for name, run in found.runs.items()}
    return {
        "centred": found.table(study.seed).to_dict("records"),
        "raw": raw.table(study.seed).to_dict("records"),
        "fold_seeds": [float(np.nanmedian(list(values.values()))) for values in by_seed],
        "ndcg": {name: study.mean(list(values.values())) for name, values in ndcg.items()},
        "by_position": _leak(study, heads, idf),
        "bm25": found.bm25_choice,
        "n_pairs": len(features),
        "findings": {
            "pearson": _pearson(study, found, by_seed),
            "given_cosine": _given_cosine(study, found, features, cosine),
            "bm25_pearson": _median(study, found.pearson["BM25"], _median_of(found, "coverage")),
            "minus_bm25": study.finding(found.difference("SemanticBM", "BM25"), 0.0),
            "minus_random": _minus_random(study, found),
            "ndcg_minus_bm25": _ndcg_gain(study, ndcg),
        },
    }


def _texts(study: Study, features: Features) -> list[tuple[str, str]]:
    collection = study.collection
    return [
        (collection.queries[query], collection.documents[document])
        for query, document in zip(features.query_ids, features.document_ids, strict=True)
    ]


def with_cosine(found: Variants, features: Features, cosine: np.ndarray) -> Variants:
    """The variants with one row more: the backbone's cosine [pair], which knows nothing of the cross-encoder."""
    pearson = features.pearson_by_query(cosine)
    return replace(
        found,
        pearson=found.pearson | {COSINE: pearson},
        draws=found.draws | {COSINE: [float(np.nanmedian(list(pearson.values())))]},
        runs=found.runs | {COSINE: features.as_run(cosine)},
    )


def fold_seeds(features: Features, heads: list[Head], seed: int, n: int) -> list[dict[str, float]]:
    """SemanticBM's Pearson of each query under `n` other divisions of the queries into folds."""
    columns = semantic_bm_columns(features, heads)
    folds = (query_folds(features, seed=seed + number) for number in range(n))
    return [features.pearson_by_query(cross_predict(features, columns, some)) for some in folds]


# --------------------------------------------------------------------------------------------------------------------
# Findings


def _median_of(found: Variants, variant: str) -> float:
    return float(np.nanmedian(list(found.pearson[variant].values())))


def _median(study: Study, values: dict[str, float], control: float | None, note: str = "") -> Finding:
    known = [value for value in values.values() if np.isfinite(value)]
    return Finding(*study.median(known), len(known), control, note) if known else Finding(None, note="nothing varies")


def _pearson(study: Study, found: Variants, by_seed: list[dict[str, float]]) -> Finding:
    """Mean over fold seeds for each query, then the median over queries; beside the cosine and the permuted target."""
    medians = [float(np.nanmedian(list(values.values()))) for values in by_seed]
    mean = {query: float(np.mean([values[query] for values in by_seed])) for query in by_seed[0]}
    permuted = found.draws["target permuted"]
    note = (
        f"median of {len(medians)} fold seeds {min(medians):.3f} to {max(medians):.3f}; with the target permuted "
        f"{len(permuted)} draws give {min(permuted):.3f} to {max(permuted):.3f}"
    )
    return _median(study, mean, max(_median_of(found, COSINE), max(permuted)), note)


def _given_cosine(study: Study, found: Variants, features: Features, cosine: np.ndarray) -> Finding:
    """Partial correlation of SemanticBM and score within the query, the backbone's cosine taken off both."""
    run, values = found.runs["SemanticBM"], []
    for query in features.queries:
        rows = features.query_ids == query
        predicted = [run[query][document] for document in features.document_ids[rows]]
        values.append(partial_correlation(predicted, features.score[rows], cosine[rows, None]))
    return study.finding(values, 0.0)


def _minus_random(study: Study, found: Variants) -> Finding:
    """SemanticBM against as many random heads, drawn layer by layer; how many draws reach it is in the note."""
    other = "random other heads"
    if other not in found.pearson:
        return Finding(None, note="there are not as many other heads in or before these layers")
    reached = sum(draw >= _median_of(found, "SemanticBM") for draw in found.draws[other])
    note = f"{reached} of {len(found.draws[other])} draws reach SemanticBM, the best has {max(found.draws[other]):.3f}"
    return study.finding(found.difference("SemanticBM", other), 0.0, note)


def _ndcg_gain(study: Study, ndcg: dict[str, dict[str, float]]) -> Finding:
    gain, of_model = (
        [ndcg[name][query] - ndcg["BM25"][query] for query in ndcg["BM25"]] for name in ("SemanticBM", "model")
    )
    return study.finding(
        gain, 0.0, f"the model itself: {np.mean(of_model):+.3f}" if study.collection.graded else NO_GRADES
    )


# --------------------------------------------------------------------------------------------------------------------
# The paper's split


def _leak(study: Study, heads: list[Head], idf: dict[str, float]) -> list[dict]:
    """The paper's weights for each position on queries cut to one length, split over pairs and by query."""
    depth = study.size(15, 10)
    try:
        cut = cut_queries(study.collection, study.model.tokenizer, PAPER_PIECES)
        queries = [query for query in study.halves[1] if query in cut.queries]
        run = judged_run(study, queries, depth)
        features = collect_features(study.model, cut, run, depth, idf, progress=True)
        return leak_table(features, heads, study.seed).to_dict("records")
    except UserError as reason:
        return [{"note": str(reason)}]
