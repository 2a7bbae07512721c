"""The experiments of the reproduction, in the order of the book; each feeds the claims named in `claims.toml`.

An experiment takes a `Study` (model, collection, sizes, results so far) and returns plain data: `findings` (one for each
claim key), `heads` where it chooses some, and the numbers behind its figures. The methods themselves live in the modules
that the book teaches; here they are only called, always in the same way: heads are chosen on one half of the queries and
measured on the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import numpy as np

from semanticbm.evaluation import bootstrap_mean, measure
from semanticbm.heads import Head, all_heads, other_draws, other_heads
from semanticbm.study.claims import Finding
from semanticbm.study.reproduce import Study

NO_GRADES = "the collection has no relevance grades"


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
    others = np.array([auc.values[:, layer, head] for layer, head in other_heads(found.heads, study.model.head_shape)])
    return {
        "heads": found.heads,
        "rule": found.rule,
        "table": found.table.to_dict("records"),
        "findings": {"auc": finding(np.nanmean(chosen, axis=0), float(np.nanmean(others)))},
    }


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
    result = {
        "tf": _curve(tf, heads),
        "length": _curve(length, heads),
        "findings": {"saturation": _saturation(tf, heads), "length": _length(length, heads)},
    }
    if not study.collection.synonyms:
        result["findings"]["semantic"] = Finding(None, note="the collection has no synonym list")
        return result
    similar = similarity_curves(
        study.model,
        study.collection,
        study.queries,
        documents_per_query=study.size(5, 2),
        seed=study.seed,
        progress=True,
    )
    result["similarity"] = _curve(similar, heads)
    result["findings"]["semantic"] = _semantic(similar, heads)
    return result


def _curve(curve, heads: list[Head]) -> dict:
    per_head = {f"{layer}.{head}": curve.matching[:, layer, head].mean(axis=0) for layer, head in heads}
    return {
        "x": list(curve.x),
        "matching": curve.of_heads(heads).mean(axis=0),
        "other": curve.of_other_heads(heads).mean(axis=0),
        "by_head": per_head,
        "score": curve.scores.mean(axis=0),
        "n": len(curve.query_ids),
        "skipped": dict(curve.skipped),
    }


def _saturation(tf, heads: list[Head]) -> Finding:
    def slowdown(values):
        return -np.diff(np.diff(values, axis=1)[:, [0, -1]], axis=1)[:, 0]

    return finding(slowdown(tf.of_heads(heads)), float(slowdown(tf.of_other_heads(heads)).mean()))


def _length(length, heads: list[Head]) -> Finding:
    def growth(values):
        return values[:, -1] - values[:, 0]

    note = f"the model's score changes by {growth(length.scores).mean():+.2f} over the same documents"
    return finding(growth(length.of_heads(heads)), float(growth(length.of_other_heads(heads)).mean()), note=note)


def _semantic(similar, heads: list[Head]) -> Finding:
    place = {name: number for number, name in enumerate(similar.x)}

    def gain(values):
        return values[:, place["synonym"]] - values[:, place["random"]]

    of_heads = similar.of_heads(heads)
    same = (of_heads[:, place["same"]] - of_heads[:, place["random"]]).mean()
    return finding(
        gain(of_heads),
        float(gain(similar.of_other_heads(heads)).mean()),
        note=f"the same word instead of a synonym gives {same:+.3f}",
    )


# --------------------------------------------------------------------------------------------------------------------
# Heads that act on the score


def tfc1_pairs(study: Study, queries: list[str], documents: int, seed_offset: int = 0):
    """TFC1 pairs: one query word appended against a filler of equal length; documents cropped to 60 words.

    On the paper's collection they are the paper's own pairs: its term, whole documents.
    """
    from semanticbm.diagnostics import Settings, diagnostic_pairs
    from semanticbm.study.paper_data import paper_pairs

    seed = study.seed + seed_offset
    if study.collection.name == "paper":
        return paper_pairs(study.model.tokenizer, documents_per_query=documents, seed=seed, queries=queries)
    settings = Settings(documents_per_query=documents, max_words=60, seed=seed)
    return diagnostic_pairs("TFC1", study.collection, study.model.tokenizer, settings, queries)


def direct_effects(study: Study) -> dict:
    """Scoring heads chosen on the first half of the queries; direct effects of all heads measured on the second half."""
    from semanticbm.heads import intervals
    from semanticbm.scoring_heads import direct_effects_by_query, find_scoring_heads

    first, second = (tfc1_pairs(study, half, study.size(4, 2)) for half in study.halves)
    found = find_scoring_heads(study.model, first, seed=study.seed, progress=True)
    effects = direct_effects_by_query(study.model, second, progress=True)
    if not found.heads:
        return missing("no head fulfils the rule for scoring heads", "strongest", "late_share") | {
            "heads": [],
            "rule": found.rule,
        }
    (layer, head), others = found.heads[0], np.ones(effects.values.shape[1:], dtype=bool)
    others[layer, head] = False
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
        "queries_left_out": effects.lost,
        "skipped": dict(second.skipped),
        "by_layer": effects.values.sum(axis=2).mean(axis=0),
        "findings": {
            "strongest": finding(
                effects.values[:, layer, head],
                float(effects.values.mean(axis=0)[others].mean()),
                note=f"strongest head: {layer}.{head}",
            ),
            "late_share": _late_share(effects.values, study.seed),
        },
    }


def _late_share(values: np.ndarray, seed: int, n_draws: int = 1000) -> Finding:
    """Share of the summed absolute mean effect that the last third of the layers has, with a bootstrap over queries."""
    n_queries, n_layers, _ = values.shape
    first_late = n_layers - n_layers // 3
    picks = np.random.default_rng(seed).integers(n_queries, size=(n_draws, n_queries))

    def share(sample):
        return np.abs(sample.mean(axis=0))[first_late:].sum() / np.abs(sample.mean(axis=0)).sum()

    low, high = np.quantile([share(values[pick]) for pick in picks], [0.025, 0.975])
    return Finding(float(share(values)), float(low), float(high), n_queries, (n_layers - first_late) / n_layers)


def contextual_heads(study: Study) -> dict:
    """Heads that feed the scoring heads: chosen on the first half of the queries, measured on the second."""
    from semanticbm.scoring_heads import KINDS, find_contextual_heads, path_effects_by_query
    from semanticbm.study.relays import relay_report

    scoring, matching = study.heads("scoring"), study.heads("matching")
    if not scoring or not any(layer for layer, _ in scoring):
        return missing("no scoring heads were found above the first layer", "path_effect") | {"heads": []}
    first, second = (tfc1_pairs(study, half[: study.size(40, 4)], 1) for half in study.halves)
    found = find_contextual_heads(study.model, first, scoring, exclude=matching, seed=study.seed, progress=True)
    effects = path_effects_by_query(study.model, second, scoring, KINDS, progress=True)
    result = {
        "heads": found.heads,
        "rule": found.rule,
        "table": found.table.to_dict("records"),
        "mean": effects.values.mean(axis=0),
        "n_queries": len(effects.query_ids),
    }
    if not found.heads:
        return result | missing("no head without another role fulfils the rule", "path_effect")

    def of(heads):
        return np.sum([effects.values[:, layer, head] for layer, head in heads], axis=0)

    rest = [
        head
        for head in other_heads([*found.heads, *scoring, *matching], study.model.head_shape)
        if head[0] in {layer for layer, _ in found.heads}
    ]
    control = float(np.mean(of(rest)) * len(found.heads) / len(rest)) if rest else None
    randomly = tfc1_pairs(study, study.queries, 1, seed_offset=1)
    return result | {
        "relays": relay_report(study.model, study.collection, randomly, found.heads, study.seed).to_dict("records"),
        "findings": {"path_effect": finding(of(found.heads), control)},
    }


# --------------------------------------------------------------------------------------------------------------------
# IDF in the embedding matrix


def u0_sources(study: Study) -> dict[str, dict[str, float]]:
    """IDF tables at hand: the collection's own, and Microsoft's MS MARCO table where it has been fetched."""
    from semanticbm.errors import UserError
    from semanticbm.idf import idf_values

    sources = {"collection": idf_values("collection", study.collection)}
    with contextlib.suppress(UserError):
        sources["msmarco"] = idf_values("msmarco")
    return sources


def u0(study: Study) -> dict:
    """Correlation of the singular directions with IDF, by source, with and without centring, and what else explains it."""
    from semanticbm.errors import UserError
    from semanticbm.idf import idf_correlations
    from semanticbm.study.u0_experiments import idf_controls

    result: dict = {"sources": {}}
    try:
        for name, idf in u0_sources(study).items():
            raw = idf_correlations(study.model, idf)
            result["sources"][name] = {
                "raw": raw.to_dict("records"),
                "centred": idf_correlations(study.model, idf, centred=True).to_dict("records"),
                "controls": idf_controls(study.model, idf, n=study.size(500, 100), seed=study.seed).to_dict("records"),
            }
    except UserError as error:
        return missing(str(error), "pearson")
    source = "msmarco" if "msmarco" in result["sources"] else "collection"
    main = result["sources"][source]
    row = next(row for row in main["controls"] if row["quantity"] == "U0")
    strongest = max(abs(one["pearson"]) for one in main["raw"] if one["component"] > 0)
    note = f"IDF from {source}, {row['n_words']} words; interval over words"
    return result | {
        "findings": {"pearson": Finding(row["pearson"], row["low"], row["high"], row["n_words"], -strongest, note)}
    }


def u0_edit(study: Study) -> dict:
    """Move the term's vector along U0 and along controls of the same length; the slope of what the term adds."""
    from semanticbm.study.u0_experiments import edit_effects

    pairs = tfc1_pairs(study, study.queries[: study.size(40, 6)], 1).pairs
    steps = (-2, -1, 0, 1, 2) if not study.quick else (-2, 0, 2)

    def run(direction, where="both"):
        return edit_effects(study.model, pairs, steps, where, direction, seed=study.seed, progress=True)

    main, random = run("u0"), run("random")
    others = {} if study.quick else {"singular": run("singular"), "row": run("row")}
    sides = (
        {}
        if study.quick
        else {side: run("u0", side).table(study.seed).to_dict("records") for side in ("query", "document")}
    )
    strongest = float(np.abs(random.slopes.mean(axis=0)).max())
    note = "20 random directions" + "".join(
        f"; strongest {name} direction {np.abs(one.slopes.mean(axis=0)).max():.3f}" for name, one in others.items()
    )
    return {
        "steps": steps,
        "u0": main.table(study.seed).to_dict("records"),
        "random": random.table(study.seed).to_dict("records"),
        "sides": sides,
        **{name: one.table(study.seed).to_dict("records") for name, one in others.items()},
        "scores": {
            "baseline": main.by_query(main.baseline).mean(axis=0)[0],
            "perturbed": main.by_query(main.perturbed).mean(axis=0)[0],
        },
        "findings": {"slope": finding(main.slopes[:, 0], -strongest, note=note)},
    }


# --------------------------------------------------------------------------------------------------------------------
# Where [CLS] looks


def scoring_attention(study: Study) -> dict:
    """[CLS] attention of the scoring heads against IDF, position partialled out; the backbone's heads as control."""
    from semanticbm.heads import intervals
    from semanticbm.scoring_heads import attention_by_idf, cls_attention, cls_idf_correlations

    heads = study.heads("scoring")
    if not heads:
        return missing("no scoring heads were found", "partial_spearman")
    arguments = {"queries": study.queries, "seed": study.seed, "progress": True}
    found = cls_attention(study.model, study.collection, **arguments)
    partial = cls_idf_correlations(found, "position")
    backbone = untrained(study)
    before = (
        cls_idf_correlations(cls_attention(backbone, study.collection, **arguments), "position") if backbone else None
    )

    def of(values):
        return np.nanmean([values.values[:, layer, head] for layer, head in heads], axis=0)

    mean, low, high = intervals(partial.values, study.seed)
    return {
        "partial": {"mean": mean, "low": low, "high": high},
        "plain": cls_idf_correlations(found).mean(),
        "before_training": before.mean() if before else None,
        "content_words": cls_idf_correlations([one.content_only() for one in found], min_words=3).mean(),
        "by_idf": attention_by_idf(found, heads, seed=study.seed).to_dict("records"),
        "query_mass": np.mean([one.mass[..., 0] for one in found], axis=0),
        "findings": {
            "partial_spearman": finding(
                of(partial),
                float(np.nanmean(of(before))) if before else None,
                note="" if before else "no untrained model to compare with",
            )
        },
    }


def untrained(study: Study):
    """The backbone with the study's tokenizer, as "before training"; None if the model is not of its shape."""
    from semanticbm.cross_encoder import CrossEncoder
    from semanticbm.ladder import load_backbone_classifier

    if (study.model.n_layers, study.model.d_model) != (6, 384):
        return None
    return CrossEncoder(load_backbone_classifier(study.seed), study.model.tokenizer, "backbone", study.model.device)


# --------------------------------------------------------------------------------------------------------------------
# Effective k1 and b


def judged_pairs(study: Study, per_query: int, queries: list[str] | None = None) -> list[tuple[str, str]]:
    """(query, document) texts: the best judged documents of each query first."""
    grades = study.collection.judgements
    return [
        (study.collection.queries[query], study.collection.documents[document])
        for query in (queries or study.queries)
        for document in sorted(grades[query], key=lambda document: (-grades[query][document], document))[:per_query]
    ]


def effective(study: Study) -> dict:
    """Effective k1 and b of the matching heads, and how well the two numbers describe each head."""
    from semanticbm.head_as_bm25 import attention_masses, heads_as_bm25

    heads = study.heads("matching")
    if not heads:
        return missing("no matching heads were found", "r_squared")
    everything = [(layer, head) for layer in range(study.model.n_layers) for head in range(study.model.n_heads)]
    pairs = judged_pairs(study, study.size(8, 5))
    masses, length = attention_masses(study.model, everything, pairs)
    fits = np.array([_fit_by_draw(masses, place, study.seed) for place in range(len(everything))])  # [head, draw]
    chosen = np.array([head in set(heads) for head in everything])
    of_heads = fits[chosen].mean(axis=0)
    return {
        "avgdl": length,
        "table": [row.__dict__ for row in heads_as_bm25(study.model, heads, pairs, seed=study.seed)],
        "r_squared": fits[:, 0].reshape(study.model.n_layers, study.model.n_heads),
        "findings": {
            "r_squared": Finding(
                float(of_heads[0]),
                *np.quantile(of_heads[1:], [0.025, 0.975]).tolist(),
                len(np.unique(masses.query)),
                float(np.nanmean(fits[~chosen, 0])),
            )
        },
    }


def _fit_by_draw(masses, place: int, seed: int, n_draws: int = 200) -> np.ndarray:
    """R squared of the two-number model on all queries (first), then on bootstrap draws of the queries: float [1 + draw]."""
    from semanticbm.head_as_bm25 import predicted_mass

    beta, sink, queries = masses.beta()[place], masses.sink_logit()[place], np.unique(masses.query)
    rows = {query: np.flatnonzero(masses.query == query) for query in queries}
    rng, fits = np.random.default_rng(seed), []
    for draw in range(n_draws + 1):
        picked = queries if draw == 0 else rng.choice(queries, len(queries))
        chosen = np.concatenate([rows[query] for query in picked])

        def mean(values):
            return float(np.mean([values[rows[query]].mean() for query in picked]))  # noqa: B023

        predicted = predicted_mass(masses.tf[chosen], masses.length[chosen], mean(beta), mean(sink))
        actual = masses.match[place, chosen]
        fits.append(1 - ((actual - predicted) ** 2).sum() / ((actual - actual.mean()) ** 2).sum())
    return np.array(fits)


# --------------------------------------------------------------------------------------------------------------------
# SemanticBM


def judged_run(study: Study, queries: list[str], depth: int, least: int = 10) -> dict[str, dict[str, float]]:
    """The judged documents of each query that BM25 puts first, filled up with other documents of BM25 to `least`."""
    from semanticbm.retrieval import bm25_run

    ranked = bm25_run(study.collection, len(study.collection.documents), queries=queries, every=True)
    run = {}
    for query, scores in ranked.items():
        judged = [document for document in scores if document in study.collection.judgements[query]]
        others = [document for document in scores if document not in study.collection.judgements[query]]
        chosen = (judged + others[: max(0, least - len(judged))])[:depth]
        run[query] = {document: scores[document] for document in chosen}
    return run


def semantic_bm(study: Study) -> dict:
    """SemanticBM and its controls on the half of the queries on which the heads were *not* chosen, cross-fitted by query."""
    from semanticbm.semantic_bm import collect_features
    from semanticbm.study.variants import evaluate_variants

    heads, keys = study.heads("matching"), ("pearson", "bm25_pearson", "minus_bm25", "minus_random", "ndcg_minus_bm25")
    if not heads:
        return missing("no matching heads were found", *keys)
    sources = u0_sources(study)
    idf, depth = sources.get("msmarco", sources["collection"]), study.size(25, 12)
    features = collect_features(
        study.model, study.collection, judged_run(study, study.halves[1], depth), depth, idf, progress=True
    )
    draws = study.size(20, 5)
    found = evaluate_variants(features, heads, study.seed, n_draws=draws, progress=True)
    raw = evaluate_variants(features, heads, study.seed, centred=False, n_draws=study.size(5, 2), progress=True)
    ndcg = {name: ndcg_by_query(study, run, study.halves[1]) for name, run in found.runs.items()}
    return {
        "centred": found.table(study.seed).to_dict("records"),
        "raw": raw.table(study.seed).to_dict("records"),
        "ndcg": {name: bootstrap_mean(list(values.values())) for name, values in ndcg.items()},
        "by_position": _leak(study, heads, idf),
        "bm25": found.bm25_choice,
        "n_pairs": len(features),
        "findings": _semantic_bm_findings(found, ndcg, study.seed),
    }


def _leak(study: Study, heads: list[Head], idf: dict[str, float], n_pieces: int = 5) -> list[dict]:
    """The paper's weights for each position on queries cut to one length, split over pairs and by query."""
    from semanticbm.errors import UserError
    from semanticbm.semantic_bm import collect_features
    from semanticbm.study.positional import cut_queries, leak_table

    cut = cut_queries(study.collection, study.model.tokenizer, n_pieces)
    queries = [query for query in study.queries if query in cut.queries]
    run = judged_run(study, queries, study.size(15, 10))
    try:
        features = collect_features(study.model, cut, run, study.size(15, 10), idf, progress=True)
        return leak_table(features, heads, study.seed).to_dict("records")
    except UserError as error:
        return [{"note": str(error)}]


def _semantic_bm_findings(found, ndcg: dict[str, dict[str, float]], seed: int) -> dict[str, Finding]:
    gain = [ndcg["SemanticBM"][query] - ndcg["BM25"][query] for query in ndcg["BM25"]]
    model_gain = np.mean([ndcg["model"][query] - ndcg["BM25"][query] for query in ndcg["BM25"]])
    permuted, other = "target permuted", "random other heads"
    return {
        "pearson": _median(
            found.pearson["SemanticBM"], float(np.nanmedian(list(found.pearson[permuted].values()))), seed
        ),
        "bm25_pearson": _median(
            found.pearson["BM25"], float(np.nanmedian(list(found.pearson["coverage"].values()))), seed
        ),
        "minus_bm25": finding(found.difference("SemanticBM", "BM25"), 0.0, seed),
        "minus_random": finding(
            found.difference("SemanticBM", other), 0.0, seed, f"median of the best draw {max(found.draws[other]):.3f}"
        ),
        "ndcg_minus_bm25": finding(
            gain, 0.0, seed, NO_GRADES if np.isnan(model_gain) else f"the model itself: {model_gain:+.3f}"
        ),
    }


def _median(values: dict[str, float], control: float, seed: int) -> Finding:
    from semanticbm.evaluation import bootstrap_median

    known = [value for value in values.values() if np.isfinite(value)]
    return Finding(*bootstrap_median(known, seed=seed), len(known), control)


# --------------------------------------------------------------------------------------------------------------------
# Cutting parts out


def ranking_pairs(study: Study, queries: list[str], depth: int) -> list[tuple[str, str]]:
    """(query id, document id) of the judged documents that BM25 puts first, for measuring rankings."""
    return [(query, document) for query, row in judged_run(study, queries, depth).items() for document in row]


def _texts(study: Study, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(study.collection.queries[query], study.collection.documents[document]) for query, document in pairs]


def ndcg_by_query(study: Study, run: dict[str, dict[str, float]], queries: Iterable[str]) -> dict[str, float]:
    """nDCG@10 of each query; NaN on a collection without grades."""
    if not study.collection.graded:
        return dict.fromkeys(queries, float("nan"))
    return measure(run, {query: study.collection.judgements[query] for query in queries}, "nDCG@10")


def _ndcg(study: Study, pairs: list[tuple[str, str]], scores: np.ndarray) -> dict[str, float]:
    run: dict[str, dict[str, float]] = {}
    for (query, document), score in zip(pairs, scores, strict=True):
        run.setdefault(query, {})[document] = float(score)
    return ndcg_by_query(study, run, run)


def blocking(study: Study) -> dict:
    """Forbid [CLS], or the query, to look at the document in all layers; what it does to the ranking."""
    from semanticbm.ablation import block_attention

    if not study.collection.graded:
        return missing(NO_GRADES, "cls_document")
    pairs = ranking_pairs(study, study.halves[1], study.size(20, 8))
    texts = _texts(study, pairs)
    full = _ndcg(study, pairs, study.model.score_pairs(texts))
    blocked = {
        f"{rows} cannot see {columns}": _ndcg(
            study, pairs, block_attention(study.model, texts, rows, columns, progress=True)
        )
        for rows, columns in (("cls", "document"), ("query", "document"), ("document", "query"))
    }
    change = {name: [values[query] - full[query] for query in full] for name, values in blocked.items()}
    return {
        "ndcg": {
            name: bootstrap_mean(list(values.values()))
            for name, values in ({"nothing blocked": full} | blocked).items()
        },
        "n_pairs": len(pairs),
        "findings": {
            "cls_document": finding(
                change["cls cannot see document"], float(np.mean(change["query cannot see document"])), study.seed
            )
        },
    }


def ablation(study: Study) -> dict:
    """Are the found heads needed, and are they enough? Mean ablation against as many other heads of the same layers."""
    from semanticbm.ablation import mean_ablation, role_means

    heads = sorted({*study.heads("matching"), *study.heads("scoring"), *study.heads("contextual")})
    shape = study.model.head_shape
    total = len(all_heads(shape))
    if not heads or 2 * len(heads) > total:
        return missing(
            f"{len(heads)} of {total} heads were found: as many others do not exist", "necessity", "sufficiency"
        )
    first, second = study.halves
    means = role_means(study.model, _texts(study, ranking_pairs(study, first, 8)), progress=True)
    pairs = ranking_pairs(study, second[: study.size(40, 8)], study.size(15, 8))
    texts = _texts(study, pairs)

    def without(removed):
        return mean_ablation(study.model, texts, removed, means, progress=True)

    full, draws = study.model.score_pairs(texts), other_draws(heads, shape, study.size(10, 2), study.seed)
    lost = without(heads)
    lost_others = [without(draw) for draw in draws]
    alone = without(other_heads(heads, shape))
    alone_others = [without(other_heads(draw, shape)) for draw in draws]
    ndcg = {
        "full model": _ndcg(study, pairs, full),
        "found heads ablated": _ndcg(study, pairs, lost),
        "found heads alone": _ndcg(study, pairs, alone),
    }
    others = [_ndcg(study, pairs, scores) for scores in lost_others]
    necessity = [
        ndcg["found heads ablated"][query] - np.mean([one[query] for one in others]) for query in ndcg["full model"]
    ]
    agreement = _order_agreement(pairs, full, alone)
    control = float(np.nanmean([_order_agreement(pairs, full, scores) for scores in alone_others]))
    return {
        "heads": heads,
        "n_pairs": len(pairs),
        "n_draws": len(draws),
        "ndcg": {name: bootstrap_mean(list(values.values())) for name, values in ndcg.items()},
        "ndcg_other_heads_ablated": [float(np.mean(list(one.values()))) for one in others],
        "agreement": {
            "found heads ablated": bootstrap_mean(_order_agreement(pairs, full, lost)),
            "other heads ablated": float(np.nanmean([_order_agreement(pairs, full, scores) for scores in lost_others])),
            "found heads alone": bootstrap_mean(agreement),
            "other heads alone": control,
        },
        "findings": {
            "necessity": finding(necessity, 0.0, study.seed, "" if study.collection.graded else NO_GRADES),
            "sufficiency": finding(agreement, control, study.seed),
        },
    }


def _order_agreement(pairs: list[tuple[str, str]], full: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman between two scores inside each query: float [query]."""
    from semanticbm.evaluation import spearman

    queries = np.array([query for query, _ in pairs])
    return np.array([spearman(full[queries == query], other[queries == query]) for query in dict.fromkeys(queries)])


# --------------------------------------------------------------------------------------------------------------------
# Hybrid search


def hybrid(study: Study) -> dict:
    """Recall of BM25, of the backbone's vectors and of both joined; then the same candidates re-ranked by the model."""
    from semanticbm.retrieval import bm25_run, fuse, vector_run

    if not study.collection.graded:
        return missing(NO_GRADES, "recall_gain")
    judged = {query: study.collection.judgements[query] for query in study.queries}
    runs = {
        "BM25": bm25_run(study.collection, 100, queries=study.queries),
        "vectors": vector_run(study.collection, 100, queries=study.queries, progress=True),
    }
    runs["hybrid"] = fuse(runs.values())
    depth = study.size(20, 10)
    recall = {name: measure(run, judged, "R@10") for name, run in runs.items()}
    best = max(("BM25", "vectors"), key=lambda name: np.mean(list(recall[name].values())))
    gain = [recall["hybrid"][query] - recall[best][query] for query in judged]
    return {
        "recall": {
            metric: {name: bootstrap_mean(list(measure(run, judged, metric).values())) for name, run in runs.items()}
            for metric in ("R@5", "R@10", "R@20", "R@50")
        },
        "recall_by_kind": {name: _by_kind(study, values) for name, values in recall.items()},
        "ndcg": {
            name: _by_kind(study, measure(run, judged, "nDCG@10"))
            for name, run in (runs | _reranked(study, runs, depth)).items()
        },
        "depth": depth,
        "findings": {"recall_gain": finding(gain, 0.0, note=f"the better single one is {best}")},
    }


def _reranked(study: Study, runs: dict[str, dict], depth: int) -> dict[str, dict]:
    """Each run's best `depth` documents in the order of the model's scores; every pair is scored once."""
    from semanticbm.retrieval import rerank, top

    best = {name: {query: top(scores, depth) for query, scores in run.items()} for name, run in runs.items()}
    union = {query: {document: 0.0 for run in best.values() for document in run[query]} for query in study.queries}
    scored = rerank(study.model, study.collection, union, depth * len(runs), progress=True)
    return {
        f"{name} + cross-encoder": {
            query: {document: scored[query][document] for document in row} for query, row in run.items()
        }
        for name, run in best.items()
    }


def _by_kind(study: Study, values: dict[str, float]) -> dict:
    kinds = study.collection.query_kinds
    groups = {"all": list(values.values())}
    for kind in sorted(set(kinds.values())):
        groups[kind] = [value for query, value in values.items() if kinds.get(query) == kind]
    return {kind: bootstrap_mean(group) for kind, group in groups.items()}


EXPERIMENTS: dict[str, Callable[[Study], dict]] = {
    "u0": u0,
    "matching_heads": matching_heads,
    "curves": curves,
    "effective_bm25": effective,
    "direct_effects": direct_effects,
    "scoring_attention": scoring_attention,
    "contextual_heads": contextual_heads,
    "u0_edit": u0_edit,
    "semantic_bm": semantic_bm,
    "blocking": blocking,
    "ablation": ablation,
    "hybrid": hybrid,
}


# --------------------------------------------------------------------------------------------------------------------
# Figures of the report, from the stored numbers


def draw_figures(study: Study) -> None:
    """Write the figures of the report as PNG files; an experiment that found nothing has no figure."""
    from matplotlib import pyplot as plt

    for name, draw in FIGURES.items():
        if (ax := draw(study.parts)) is not None:
            ax.figure.savefig(study.out / "figures" / f"{name}.png", dpi=120, facecolor="white")
            plt.close(ax.figure)


def _figure_tf(parts: dict):
    from semanticbm import plots

    if "tf" not in parts["curves"]:
        return None
    tf = parts["curves"]["tf"]
    return plots.curves(
        tf["x"],
        {"matching heads": tf["matching"], "other heads": tf["other"]},
        "occurrences of the query word",
        "matching score",
    )


def _figure_direct_effects(parts: dict):
    from semanticbm import plots

    return plots.heads_heatmap(np.array(parts["direct_effects"]["mean"])) if "mean" in parts["direct_effects"] else None


def _figure_recall(parts: dict):
    from semanticbm import plots

    if "recall" not in parts["hybrid"]:
        return None
    rows = parts["hybrid"]["recall"]["R@10"]
    return plots.bars_with_intervals({name: tuple(value) for name, value in rows.items()}, "recall@10")


FIGURES = {
    "matching-saturation": _figure_tf,
    "direct-effects": _figure_direct_effects,
    "first-stage-recall": _figure_recall,
}
