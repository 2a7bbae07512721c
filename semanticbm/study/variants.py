"""Which part of SemanticBM carries it? The variants and controls of chapter 8.

`evaluate_variants` fits every variant on training queries and gives, for each test query, the Pearson correlation of
prediction and score over its documents. Variants leave a part out (no IDF, no product of the two), take other heads (all,
or as many random ones), or break a link (IDF dealt anew to the pieces, scores dealt anew to the documents). Lexical
BM25 with tuned k1 and b stands beside them.

When it misleads: with many queries even a tiny difference between variants is beyond chance. Look at its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from semanticbm.bm25 import tf_factor
from semanticbm.cross_encoder import progress_bar
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean, bootstrap_median
from semanticbm.heads import Head, other_draws
from semanticbm.semantic_bm import Features, cross_predict, query_folds, semantic_bm_columns

BM25_GRID = tuple(product((0.2, 0.5, 0.9, 1.2, 2.0, 3.0, 5.0, 10.0), (0.0, 0.25, 0.5, 0.75, 1.0)))  # (k1, b)


def matching_columns(features: Features, heads: Sequence[Head]) -> np.ndarray:
    """Matching scores without IDF: float [pair, heads + 1]."""
    return np.column_stack([features.of_heads(heads).sum(-1), features.n_pieces])


def no_interaction_columns(features: Features, heads: Sequence[Head]) -> np.ndarray:
    """MS sums beside the sum of g, not multiplied: float [pair, heads + 2]. In a centred fit the same as MS alone."""
    return np.column_stack([matching_columns(features, heads), features.g.sum(-1)])


def weighted_columns(features: Features, heads: Sequence[Head]) -> np.ndarray:
    """BM25's form alone, sum of g times MS: float [pair, heads]."""
    return (features.of_heads(heads) * features.g[:, None, :]).sum(-1)


def permuted_g(features: Features, rng: np.random.Generator) -> np.ndarray:
    """g with its values dealt anew to the pieces of each query, the same for all of its documents: [pair, piece]."""
    g = features.g.copy()
    for query in features.queries:
        rows = np.flatnonzero(features.query_ids == query)
        order = rng.permutation(features.n_pieces[rows[0]])
        g[np.ix_(rows, np.arange(len(order)))] = features.g[np.ix_(rows, order)]
    return g


def permuted_score(features: Features, rng: np.random.Generator) -> np.ndarray:
    """The scores dealt anew to the documents of each query: float [pair]."""
    score = features.score.copy()
    for query in features.queries:
        rows = np.flatnonzero(features.query_ids == query)
        score[rows] = score[rng.permutation(rows)]
    return score


def bm25_scores(features: Features, k1: float, b: float) -> np.ndarray:
    """BM25 of each pair: float [pair]."""
    factors = tf_factor(features.tf, features.lengths[:, None], features.avgdl, k1, b)
    return (features.word_idf * factors).sum(-1)


def coverage(features: Features) -> np.ndarray:
    """Share of the query's words that are in the document: float [pair]."""
    return (features.tf > 0).sum(-1) / features.n_words


def tuned_bm25(features: Features, folds: Sequence[np.ndarray]) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """BM25 with k1 and b chosen on the training queries of each fold, by mean Pearson: float [pair], chosen (k1, b)."""
    grid = [bm25_scores(features, k1, b) for k1, b in BM25_GRID]
    quality = np.array([list(features.pearson_by_query(values).values()) for values in grid])  # [choice, query]
    predictions, chosen = np.empty(len(features)), []
    for test in folds:
        training = ~np.isin(features.queries, features.query_ids[test])
        best = int(np.argmax(np.nanmean(quality[:, training], axis=1)))
        predictions[test] = grid[best][test]
        chosen.append(BM25_GRID[best])
    return predictions, chosen


@dataclass(frozen=True)
class Variants:
    """What each variant reached on test queries.

    `pearson`: {variant: {query id: Pearson with the model's score}}; for a variant with several random draws the mean
    over draws. `draws`: {variant: median over queries, one number a draw}. `runs`: {variant: run} (first draw).
    `bm25_choice`: (k1, b) of each fold.
    """

    pearson: dict[str, dict[str, float]]
    draws: dict[str, list[float]]
    runs: dict[str, dict[str, dict[str, float]]]
    bm25_choice: list[tuple[float, float]]

    def table(self, seed: int = 0) -> pd.DataFrame:
        """One row a variant: median and mean over queries with intervals, number of queries, best draw."""
        rows = []
        for name, values in self.pearson.items():
            found = list(values.values())
            median, mean = bootstrap_median(found, seed=seed), bootstrap_mean(found, seed=seed)
            rows.append(
                {
                    "variant": name,
                    "median": median[0],
                    "median_low": median[1],
                    "median_high": median[2],
                    "mean": mean[0],
                    "mean_low": mean[1],
                    "mean_high": mean[2],
                    "n_queries": int(np.isfinite(found).sum()),
                    "worst_draw": min(self.draws[name]),
                    "best_draw": max(self.draws[name]),
                    "draws": len(self.draws[name]),
                }
            )
        return pd.DataFrame(rows)

    def difference(self, first: str, second: str) -> list[float]:
        """Pearson of one variant minus that of another, for each query: list [query], for a bootstrap over queries."""
        return [self.pearson[first][query] - self.pearson[second][query] for query in self.pearson[first]]


def designs(
    features: Features, heads: Sequence[Head], n_draws: int, seed: int, exclude: Sequence[Head] = ()
) -> dict[str, list[tuple]]:
    """{variant: draws}, a draw being (columns [pair, column], target [pair]). `exclude`: no random heads either."""
    rng, score = np.random.default_rng(seed), features.score
    few = min(n_draws, 5)
    fixed = {
        "SemanticBM": semantic_bm_columns(features, heads),
        "matching scores only": matching_columns(features, heads),
        "no interaction": no_interaction_columns(features, heads),
        "weighted sums only": weighted_columns(features, heads),
        "all heads": semantic_bm_columns(features, features.heads),
    }
    drawn: list[list[Head]] = []
    with suppress(UserError):  # a model with too few others has no such variant
        drawn = other_draws(heads, features.matching.shape[1:3], n_draws, seed, exclude)
    return {name: [(columns, score)] for name, columns in fixed.items()} | {
        "random other heads": [(semantic_bm_columns(features, some), score) for some in drawn],
        "IDF permuted": [(semantic_bm_columns(features, heads, permuted_g(features, rng)), score) for _ in range(few)],
        "target permuted": [(fixed["SemanticBM"], permuted_score(features, rng)) for _ in range(n_draws)],
    }


def evaluate_variants(
    features: Features,
    heads: Sequence[Head],
    seed: int = 0,
    n_splits: int = 5,
    centred: bool = True,
    n_draws: int = 20,
    progress: bool = False,
    exclude: Sequence[Head] = (),
) -> Variants:
    """Every variant, fitted on training queries and measured on test queries; each query is a test query once.

    "random other heads" are drawn layer by layer (`semanticbm.heads.other_draws`), none of `exclude` among them.

    "IDF only" (sum of g, number of pieces) is no variant: it is constant in a query, so it has no correlation there.
    Its lexical counterpart, "IDF of matched words", is. "target permuted" is a control of the centred fit only: a raw
    fit still learns from the differences between queries, which a permutation inside queries leaves as they are.
    """
    folds = query_folds(features, n_splits, seed)
    predictions = dict(
        _fitted(features, designs(features, list(heads), n_draws, seed, exclude), folds, centred, progress)
    )
    bm25, choice = tuned_bm25(features, folds)
    matched = (features.word_idf * (features.tf > 0)).sum(-1)
    predictions |= {"BM25": [bm25], "IDF of matched words": [matched], "coverage": [coverage(features)]}
    by_draw = {name: [features.pearson_by_query(values) for values in draws] for name, draws in predictions.items()}
    runs = {name: features.as_run(draws[0]) for name, draws in predictions.items()}
    medians = {name: [float(np.nanmedian(list(draw.values()))) for draw in draws] for name, draws in by_draw.items()}
    return Variants(
        {name: _mean_over_draws(draws) for name, draws in by_draw.items()},
        medians,
        runs | {"model": features.as_run(features.score)},
        choice,
    )


def _fitted(
    features: Features, plans: Mapping[str, list[tuple]], folds: Sequence[np.ndarray], centred: bool, progress: bool
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """(variant, predictions of each draw)."""
    for name, draws in progress_bar(plans.items(), "SemanticBM variants" if progress else ""):
        if draws:
            yield name, [cross_predict(features, columns, folds, centred, target) for columns, target in draws]


def _mean_over_draws(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {query: float(np.mean([draw[query] for draw in draws])) for query in draws[0]}
