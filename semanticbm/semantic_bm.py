"""SemanticBM: a linear model of the cross-encoder's score, with BM25's two ingredients read from inside the model.

BM25 adds idf times a term-frequency factor over the query words. SemanticBM takes both from the model (section 9):

    S(q, d)  ~  sum over heads h:  b_h sum_i MS_h(i)  +  c_h sum_i g_i MS_h(i),      plus  a sum_i g_i  +  n

i runs over the query's pieces. MS_h(i) is the matching score, the soft term frequency (`semanticbm.matching`). g_i is
-U0 of the piece (`semanticbm.idf`), stretched to the mean and spread of an IDF table; any other mean and spread would
only rename the coefficients. n is the number of pieces.

**Weights shared over positions.** The paper gives each position i its own coefficients, 27 n + 1 of them, so each query
length needs its own model. Here a head has two coefficients, whatever the length. The paper's form is here, too:
`positional_columns`.

**Split by query.** All pairs of a query are on one side of a split. The paper split at random over pairs; then a query
is in both halves, its g_i act as a name tag, and the fit remembers how high this query scores (`leak_table` shows it).

**Centred fit.** A ranking loss leaves each query's level free: adding a constant to all scores of a query changes no
ranking. So features and scores have their query's mean taken off before the fit (primary). What is constant in a query,
sum_i g_i and n, then drops out. The raw fit stands beside it (`centred=False`).

**Variants** answer "which part carries it?": `evaluate_variants` fits each on training queries and gives, for each test
query, the Pearson correlation of prediction and score over its documents.

When it misleads: a high correlation shows that the features *contain* what moves the score, not that the model computes
it that way; with all heads as features even unused ones can help. Compare with as many random heads. And the documents
decide: on the best 20 of a first stage scores differ less than on random ones, so correlations are lower.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from semanticbm.attention import attention_patterns, mass_on_document
from semanticbm.bm25 import BM25, tf_factor
from semanticbm.collection import Collection, words
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean, bootstrap_median, pearson
from semanticbm.heads import Head
from semanticbm.idf import idf_values, u0
from semanticbm.retrieval import top

ALPHAS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # strengths of the ridge penalty that are tried
BM25_GRID = tuple(product((0.2, 0.5, 0.9, 1.2, 2.0, 3.0, 5.0, 10.0), (0.0, 0.25, 0.5, 0.75, 1.0)))  # (k1, b)
Run = Mapping[str, Mapping[str, float]]


# --------------------------------------------------------------------------------------------------------------------
# Features


@dataclass(frozen=True)
class Features:
    """What all variants choose from: one row a (query, document) pair, all heads; padded with 0 at the end.

    `matching`: float [pair, layer, head, piece], MS. `g`: float [pair, piece], IDF read from U0. `n_pieces`: int
    [pair]. `tf`, `word_idf`: float [pair, word], for BM25. `n_words`, `lengths`: int [pair], words of query and of
    document. `avgdl`: mean length of the collection's documents in words. `score`: float [pair], the model's score.
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
        return list(product(range(self.matching.shape[1]), range(self.matching.shape[2])))

    def of_heads(self, heads: Sequence[Head]) -> np.ndarray:
        """MS of some heads: float [pair, head, piece]."""
        if not heads:
            raise UserError("no heads were given: find matching heads first.")
        layer, head = np.transpose(list(heads))
        return self.matching[:, layer, head]

    def rows(self, keep: np.ndarray) -> Features:
        """The same for some pairs: `keep` is a bool array [pair]."""
        chosen = {name: value[keep] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **chosen)

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
    """g of each piece: -U0 stretched to the mean and standard deviation of an IDF table, float [vocabulary] (9.1).

    The paper's sign keeps -mean(idf) instead of +mean(idf); with free coefficients the fits are the same.
    """
    values, found = np.array(list(idf.values())), u0(model)
    return values.mean() - values.std() * (found - found.mean()) / found.std()


def collect_features(
    model: CrossEncoder,
    collection: Collection,
    run: Run,
    depth: int = 20,
    idf: Mapping[str, float] | None = None,
    batch_size: int = 16,
    progress: bool = False,
) -> Features:
    """Features and scores of the run's best `depth` documents of each query: one forward pass a pair, for all heads.

    `idf`: the table that g is stretched to (default: the collection's).
    """
    pairs = [(query, document) for query, scores in run.items() for document in top(scores, depth)]
    if not pairs:
        raise UserError("the run has no documents: there is nothing to collect.")
    g = idf_from_u0(model, idf_values("collection", collection) if idf is None else idf)
    texts = [(collection.queries[query], collection.documents[document]) for query, document in pairs]
    label = f"features, {model.name}" if progress else ""
    masses, weights, scores = [], [], []
    for pattern in attention_patterns(model, texts, batch_size, label):
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
    """Stack arrays that differ in the length of their last axis, with 0 at the end."""
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


# --------------------------------------------------------------------------------------------------------------------
# Columns: what a variant lets the linear model see


def semantic_bm_columns(features: Features, heads: Sequence[Head], g: np.ndarray | None = None) -> np.ndarray:
    """SemanticBM with shared weights: sums of MS, sums of g MS, sum of g, pieces; float [pair, 2 heads + 2]."""
    g = features.g if g is None else g
    matching = features.of_heads(heads)
    weighted = matching * g[:, None, :]
    return np.column_stack([matching.sum(-1), weighted.sum(-1), g.sum(-1), features.n_pieces])


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


# --------------------------------------------------------------------------------------------------------------------
# Fitting, split by query


def query_folds(features: Features, n_splits: int = 5, seed: int = 0) -> list[np.ndarray]:
    """Test rows of each fold, bool [pair]: every query is a test query once, with all of its pairs."""
    queries = np.array(features.queries)
    if len(queries) < 2 * n_splits:
        raise UserError(f"{len(queries)} queries are too few for {n_splits} folds: use at least {2 * n_splits}.")
    np.random.default_rng(seed).shuffle(queries)
    return [np.isin(features.query_ids, fold) for fold in np.array_split(queries, n_splits)]


def centre_within(values: np.ndarray, query_ids: np.ndarray) -> np.ndarray:
    """Take each query's mean off: [pair] or [pair, column]. What does not vary in a query becomes exactly 0."""
    means = pd.DataFrame(values).groupby(query_ids).transform("mean").to_numpy().reshape(np.shape(values))
    centred = values - means
    return np.where(np.abs(centred) < 1e-6 * np.maximum(np.abs(means), 1e-6), 0.0, centred)


def fit_predict(
    columns: np.ndarray, target: np.ndarray, query_ids: np.ndarray, test: np.ndarray, centred: bool = True
) -> np.ndarray:
    """Ridge regression on the pairs that are not `test`; predictions for those that are: float [test pair].

    Columns are scaled by their spread in training; the penalty is chosen by cross-validation over training queries. A
    test query's own mean is taken off its features, never off anything with its scores.
    """
    columns = centre_within(columns, query_ids) if centred else columns
    target = centre_within(target, query_ids) if centred else target
    train = ~test
    groups = GroupKFold(4).split(columns[train], groups=query_ids[train])
    model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS, cv=list(groups)))
    return model.fit(columns[train], target[train]).predict(columns[test])


def cross_predict(
    features: Features,
    columns: np.ndarray,
    folds: Sequence[np.ndarray],
    centred: bool = True,
    target: np.ndarray | None = None,
) -> np.ndarray:
    """Predictions for each pair from a fit that has not seen its query: float [pair]."""
    target = features.score if target is None else target
    predictions = np.empty(len(features))
    for test in folds:
        predictions[test] = fit_predict(columns, target, features.query_ids, test, centred)
    return predictions


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


# --------------------------------------------------------------------------------------------------------------------
# Variants


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
                    "best_draw": max(self.draws[name]),
                    "draws": len(self.draws[name]),
                }
            )
        return pd.DataFrame(rows)

    def difference(self, first: str, second: str) -> list[float]:
        """Pearson of one variant minus that of another, for each query: list [query], for a bootstrap over queries."""
        return [self.pearson[first][query] - self.pearson[second][query] for query in self.pearson[first]]


def designs(features: Features, heads: Sequence[Head], n_draws: int, seed: int) -> dict[str, list[tuple]]:
    """{variant: draws}, a draw being (columns [pair, column], target [pair])."""
    rng, score = np.random.default_rng(seed), features.score
    others = [head for head in features.heads if head not in set(heads)]
    few = min(n_draws, 5)
    fixed = {
        "SemanticBM": semantic_bm_columns(features, heads),
        "matching scores only": matching_columns(features, heads),
        "no interaction": no_interaction_columns(features, heads),
        "weighted sums only": weighted_columns(features, heads),
        "all heads": semantic_bm_columns(features, features.heads),
    }
    possible = n_draws if len(others) >= len(heads) else 0
    drawn = [[others[k] for k in rng.choice(len(others), len(heads), replace=False)] for _ in range(possible)]
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
) -> Variants:
    """Every variant, fitted on training queries and measured on test queries; each query is a test query once.

    "IDF only" (sum of g, number of pieces) is no variant: it is constant in a query, so it has no correlation there.
    Its lexical counterpart, "IDF of matched words", is. "target permuted" is a control of the centred fit only: a raw
    fit still learns from the differences between queries, which a permutation inside queries leaves as they are.
    """
    folds = query_folds(features, n_splits, seed)
    predictions = dict(_fitted(features, designs(features, list(heads), n_draws, seed), folds, centred, progress))
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
    from tqdm.auto import tqdm

    for name, draws in tqdm(plans.items(), desc="SemanticBM variants", disable=not progress, leave=False):
        if draws:
            yield name, [cross_predict(features, columns, folds, centred, target) for columns, target in draws]


def _mean_over_draws(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {query: float(np.mean([draw[query] for draw in draws])) for query in draws[0]}


# --------------------------------------------------------------------------------------------------------------------
# The paper's form: coefficients for each position, and what a split over pairs does


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
