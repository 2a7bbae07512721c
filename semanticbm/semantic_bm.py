"""SemanticBM: a linear model of the cross-encoder's score, with BM25's two ingredients read from inside the model.

BM25 adds idf times a term-frequency factor over the query words. SemanticBM takes both from the model (section 9):

    S(q, d)  ~  sum over heads h:  b_h sum_i MS_h(i)  +  c_h sum_i g_i MS_h(i),      plus  a sum_i g_i  +  n

i runs over the query's pieces. MS_h(i) is the matching score, the soft term frequency (`semanticbm.matching`). g_i is
U0 of the piece (`semanticbm.idf`), turned to rise with IDF and stretched to an IDF table's mean and spread; others would
only rename the coefficients. n is the number of pieces.

**Weights shared over positions.** The paper gives each position i its own coefficients, 27 n + 1 of them, so each query
length needs its own model. Here a head has two coefficients, whatever the length. The paper's form is here, too:
`positional_columns`.

**Split by query.** All pairs of a query are on one side of a split. The paper split at random over pairs; then a query
is in both halves, its g_i act as a name tag, and the fit remembers how high this query scores: `leak_table` in
`semanticbm.study.positional` shows it.

**Centred fit.** A ranking loss leaves each query's level free: adding a constant to all scores of a query changes no
ranking. So features and scores have their query's mean taken off before the fit (primary). What is constant in a query,
sum_i g_i and n, then drops out. The raw fit stands beside it (`centred=False`).

**Which part carries it?** `semanticbm.study.variants` fits the model without its parts and with others, and gives, for each
test query, the Pearson correlation of prediction and score over its documents.

When it misleads: a high correlation shows that the features *contain* what moves the score, not that the model computes
it that way; with all heads as features even unused ones can help. Compare with as many random heads. And the documents
decide: on the best 20 of a first stage scores differ less than on random ones, so correlations are lower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from semanticbm.attention import attention_patterns, mass_on_document
from semanticbm.bm25 import BM25
from semanticbm.collection import Collection, words
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.evaluation import Run, pearson
from semanticbm.heads import Head, all_heads
from semanticbm.idf import idf_values, u0, word_table
from semanticbm.retrieval import top

ALPHAS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # strengths of the ridge penalty that are tried


@dataclass(frozen=True)
class Features:
    """What all variants choose from: one row a (query, document) pair, all heads; padded with 0 at the end.

    `matching`: float [pair, layer, head, piece], MS. `g`: float [pair, piece], IDF read from U0. `n_pieces`: int
    [pair]. `tf`, `word_idf`: float [pair, word], for BM25. `n_words`, `lengths`: int [pair], words of query and of
    document. `avgdl`: mean length of the collection's documents in words. `score`: float [pair], the model's score. Chapter 8.
    """

    query_ids: np.ndarray
    document_ids: np.ndarray
    matching: np.ndarray
    g: np.ndarray
    n_pieces: np.ndarray
    tf: np.ndarray
    word_idf: np.ndarray
    n_words: np.ndarray
    lengths: np.ndarray
    avgdl: float
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    @property
    def queries(self) -> list[str]:
        """The query ids, in order of first appearance."""
        return list(dict.fromkeys(self.query_ids.tolist()))

    @property
    def heads(self) -> list[Head]:
        """All heads of the model, as (layer, head)."""
        return all_heads(self.matching.shape[1:3])

    def of_heads(self, heads: Sequence[Head]) -> np.ndarray:
        """MS of some heads: float [pair, head, piece]."""
        if not heads:
            raise UserError("no heads were given: find matching heads first.")
        layer, head = np.transpose(list(heads))
        return self.matching[:, layer, head]

    def as_run(self, values: np.ndarray) -> dict[str, dict[str, float]]:
        """A number for each pair as a run: {query id: {document id: number}}."""
        run: dict[str, dict[str, float]] = {query: {} for query in self.queries}
        for query, document, value in zip(self.query_ids, self.document_ids, values, strict=True):
            run[str(query)][str(document)] = float(value)
        return run

    def pearson_by_query(self, values: np.ndarray) -> dict[str, float]:
        """{query id: Pearson correlation of `values` [pair] and the model's score over the query's documents}."""
        return {
            query: pearson(values[self.query_ids == query], self.score[self.query_ids == query])
            for query in self.queries
        }


def idf_from_u0(model: CrossEncoder, idf: Mapping[str, float]) -> np.ndarray:
    """g of each piece: U0, turned so that it rises with IDF, at the table's mean and spread: float [vocabulary] (9.1).

    With free coefficients any other turn, mean and spread would give the same fits. Chapter 8, eq-semanticbm.
    """
    values, found, table = np.array(list(idf.values())), u0(model), word_table(model, idf)
    turn = -1.0 if pearson(found[table.ids], table.idf) < 0 else 1.0
    return values.mean() + turn * values.std() * (found - found.mean()) / found.std()


def collect_features(
    model: CrossEncoder,
    collection: Collection,
    run: Run,
    depth: int = 20,
    idf: Mapping[str, float] | None = None,
    progress: bool = False,
) -> Features:
    """Features and scores of the run's best `depth` documents of each query: one forward pass a pair, for all heads.

    `idf`: the table that g is stretched to (default: the collection's).
    Chapter 8.
    """
    pairs = [(query, document) for query, scores in run.items() for document in top(scores, depth)]
    if not pairs:
        raise UserError("the run has no documents: there is nothing to collect.")
    g = idf_from_u0(model, idf_values("collection", collection) if idf is None else idf)
    texts = [(collection.queries[query], collection.documents[document]) for query, document in pairs]
    label = f"features, {model.name}" if progress else ""
    masses, weights, scores = [], [], []
    for pattern in attention_patterns(model, texts, label=label):
        masses.append(mass_on_document(pattern).astype(np.float32))
        weights.append(g[pattern.ids[pattern.query]])
        scores.append(pattern.score)
    ids = [np.array(side) for side in zip(*pairs, strict=True)]
    return Features(
        *ids,
        padded(masses),
        padded(weights),
        np.array([len(row) for row in weights]),
        **_lexical(collection, texts),
        score=np.array(scores),
    )


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Stack arrays that differ in the length of their last axis, with 0 at the end (chapter 8)."""
    longest = max(row.shape[-1] for row in rows)
    return np.stack([np.pad(row, [(0, 0)] * (row.ndim - 1) + [(0, longest - row.shape[-1])]) for row in rows])


def _lexical(collection: Collection, texts: Sequence[tuple[str, str]]) -> dict:
    """The ingredients of BM25 for each pair."""
    index = BM25(collection.documents)
    split = [(words(query), words(document)) for query, document in texts]
    tf = [np.array([document.count(word) for word in query], dtype=float) for query, document in split]
    idf = [np.array([index.word_idf(word) for word in query]) for query, _ in split]
    return {
        "tf": padded(tf),
        "word_idf": padded(idf),
        "n_words": np.array([len(query) for query, _ in split]),
        "lengths": np.array([len(document) for _, document in split]),
        "avgdl": index.avgdl,
    }


def semantic_bm_columns(features: Features, heads: Sequence[Head], g: np.ndarray | None = None) -> np.ndarray:
    """SemanticBM with shared weights: sums of MS, sums of g MS, sum of g, pieces; float [pair, 2 heads + 2].

    Chapter 8, eq-semanticbm.
    """
    g = features.g if g is None else g
    matching = features.of_heads(heads)
    weighted = matching * g[:, None, :]
    return np.column_stack([matching.sum(-1), weighted.sum(-1), g.sum(-1), features.n_pieces])


def query_folds(features: Features, n_splits: int = 5, seed: int = 0) -> list[np.ndarray]:
    """Test rows of each fold, bool [pair]: every query is a test query once, with all of its pairs (chapter 8)."""
    queries = np.array(features.queries)
    if len(queries) < 2 * n_splits:
        raise UserError(f"{len(queries)} queries are too few for {n_splits} folds: use at least {2 * n_splits}.")
    np.random.default_rng(seed).shuffle(queries)
    return [np.isin(features.query_ids, fold) for fold in np.array_split(queries, n_splits)]


def centre_within(values: np.ndarray, query_ids: np.ndarray) -> np.ndarray:
    """Take each query's mean off: [pair] or [pair, column]. What does not vary in a query becomes exactly 0.

    Chapter 8.
    """
    means = pd.DataFrame(values).groupby(query_ids).transform("mean").to_numpy().reshape(np.shape(values))
    centred = values - means
    return np.where(np.abs(centred) < 1e-6 * np.maximum(np.abs(means), 1e-6), 0.0, centred)


def fit_predict(
    columns: np.ndarray, target: np.ndarray, query_ids: np.ndarray, test: np.ndarray, centred: bool = True
) -> np.ndarray:
    """Ridge regression on the pairs that are not `test`; predictions for those that are: float [test pair] (chapter 8).

    Columns are scaled by their spread in training; the penalty is chosen by cross-validation over training queries. A
    test query's own mean is taken off its features, never off anything with its scores.
    """
    columns = centre_within(columns, query_ids) if centred else columns
    target = centre_within(target, query_ids) if centred else target
    train = ~test
    columns = StandardScaler().fit(columns[train]).transform(columns)
    penalty = best_penalty(columns[train], target[train], query_ids[train])
    return Ridge(penalty, solver="svd").fit(columns[train], target[train]).predict(columns[test])


def best_penalty(columns: np.ndarray, target: np.ndarray, query_ids: np.ndarray) -> float:
    """The penalty of `ALPHAS` with the best mean R2 over held-out quarters of the queries (chapter 8).

    One decomposition serves all penalties, as if each were a target of its own; scikit-learn's RidgeCV would fit each alone.
    """
    targets, r2 = np.tile(target[:, None], len(ALPHAS)), []
    for fit, held_out in GroupKFold(4).split(columns, groups=query_ids):
        found = Ridge(ALPHAS, solver="svd").fit(columns[fit], targets[fit]).predict(columns[held_out])
        r2.append(r2_score(targets[held_out], found, multioutput="raw_values"))
    return ALPHAS[int(np.argmax(np.mean(r2, axis=0)))]


def cross_predict(
    features: Features,
    columns: np.ndarray,
    folds: Sequence[np.ndarray],
    centred: bool = True,
    target: np.ndarray | None = None,
) -> np.ndarray:
    """Predictions for each pair from a fit that has not seen its query: float [pair] (chapter 8)."""
    target = features.score if target is None else target
    predictions = np.empty(len(features))
    for test in folds:
        predictions[test] = fit_predict(columns, target, features.query_ids, test, centred)
    return predictions
