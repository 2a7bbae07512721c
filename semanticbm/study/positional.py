"""The paper's form of SemanticBM: coefficients for each position, and what a split over pairs does to it.

The paper gives each query position its own coefficients, so all queries of a fit must have one length: `cut_queries` cuts
them. It splits the pairs at random into training and test. Then most queries stand on both sides, and what a column says
about the query alone, such as g at a position, acts as a name tag: the fit remembers how high the query scores.
`leak_table` measures that by fitting the same columns under both splits (chapter 8).

When it misleads: on a collection with few documents a query there is less to remember, and the leak looks small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from semanticbm.collection import Collection
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_median, pearson
from semanticbm.heads import Head
from semanticbm.semantic_bm import Features, query_folds


def cut_queries(collection: Collection, tokenizer, n_pieces: int = 5) -> Collection:
    """The collection with each query cut to its first words that make exactly `n_pieces` pieces (paper 9.2).

    Queries where no word ends there are left out. (The paper cuts inside words.)
    """
    cut = {}
    for query, text in collection.queries.items():
        parts = text.split()
        starts = (" ".join(parts[:stop]) for stop in range(1, len(parts) + 1))
        for start in starts:
            if len(tokenizer(start, add_special_tokens=False)["input_ids"]) == n_pieces:
                cut[query] = start
    if not cut:
        raise UserError(f"no query of {collection.name} can be cut to {n_pieces} pieces: choose another number.")
    judgements = {query: grades for query, grades in collection.judgements.items() if query in cut}
    return replace(collection, queries=cut, judgements=judgements)


def positional_columns(features: Features, heads: Sequence[Head]) -> np.ndarray:
    """The paper's features: for each position g, MS of each head and g times MS; float [pair, pieces (1 + 2 heads)].

    All queries must have the same number of pieces (paper 9.1).
    """
    if len(set(features.n_pieces.tolist())) != 1:
        raise UserError("coefficients for each position need queries of one length: use cut_queries first.")
    matching, n = features.of_heads(heads), features.n_pieces[0]
    per_position = np.concatenate([features.g[:, None], matching, matching * features.g[:, None]], axis=1)[:, :, :n]
    return per_position.reshape(len(features), -1)


def least_squares(columns: np.ndarray, target: np.ndarray, folds: Sequence[np.ndarray]) -> np.ndarray:
    """Plain least squares on scaled columns, each pair predicted by a fit without its fold: float [pair]."""
    predictions = np.empty(len(target))
    for test in folds:
        model = make_pipeline(StandardScaler(), LinearRegression())
        predictions[test] = model.fit(columns[~test], target[~test]).predict(columns[test])
    return predictions


def pair_folds(n_pairs: int, n_splits: int = 5, seed: int = 0) -> list[np.ndarray]:
    """Test rows of each fold when *pairs* are split at random, as in the paper: bool [pair]."""
    parts = np.array_split(np.random.default_rng(seed).permutation(n_pairs), n_splits)
    return [np.isin(np.arange(n_pairs), part) for part in parts]


def leak_table(features: Features, heads: Sequence[Head], seed: int = 0, n_splits: int = 5) -> pd.DataFrame:
    """The paper's form under two splits: columns split, features, pooled (Pearson over all pairs), median, n_queries.

    "g alone" knows nothing of the document. If it predicts scores under one split, that split leaks.
    """
    n = int(features.n_pieces[0])
    columns = {"all": positional_columns(features, heads), "g alone": features.g[:, :n]}
    splits = {
        "over pairs": pair_folds(len(features), n_splits, seed),
        "by query": query_folds(features, n_splits, seed),
    }
    rows = []
    for (split, folds), (name, seen) in product(splits.items(), columns.items()):
        predicted = least_squares(seen, features.score, folds)
        inside = list(features.pearson_by_query(predicted).values()) if name == "all" else [np.nan]
        rows.append(
            {
                "split": split,
                "features": name,
                "pooled": pearson(predicted, features.score),
                "median": bootstrap_median(inside)[0],
                "n_queries": len(features.queries),
            }
        )
    return pd.DataFrame(rows)
