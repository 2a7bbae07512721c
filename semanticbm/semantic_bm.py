"""SemanticBM: predict the cross-encoder's score by a BM25 that is built from its own parts.

BM25 is a sum over query words of IDF times a factor of the term frequency. The paper (section 9) puts parts of the
model in both places: IDF is read from U0, the term frequency from the matching scores MS of the matching heads,

    S_hat(q, d) = sum over heads h of  [ a_h sum_i MS_h(q_i, d)  +  c_h sum_i g_i MS_h(q_i, d) ]

where i runs over the query's pieces and g_i is U0 of the piece, turned and rescaled to look like an IDF. All pieces
share the weights: two numbers a head. They are fitted by ridge regression; its strength is chosen by cross-validation
over training queries.

**What the fit sees.** A ranking loss leaves an offset free for each query, so scores of different queries cannot be
compared. Ours is therefore fitted on scores and features from which each query's mean is taken off (*within the
query*). `centred=False` fits the raw scores; both are reported. Training and test queries are disjoint, and the scaling
of the columns is learned from training queries only.

**How it is judged.** Pearson correlation with the model's score inside each test query, then the median over queries. A
prediction that does not vary inside a query says nothing about its order: it counts as 0. And as a ranker: nDCG@10.

**Controls** (`compare`): BM25 with k1 and b tuned on the training queries; matching scores without IDF; IDF without
matching scores (constant inside a query, so 0); no product of the two; IDF permuted among the pieces of the query; as
many random heads, from all and from the others; all heads; a fit to scores permuted inside each training query.

**The paper's own variant** (`position_fits`): each position of the query has its own weights, 27 columns a piece for 13
heads, fitted by least squares; pairs are split at random, so that the same query is in training and test. The columns
g_i name the query: the fit can learn each query's mean score. The variant shows how much of the correlation is that.

When it misleads: a good fit says that the features *carry* what the model computes, not that the model computes it this
way. Any heads that see the same match would fit as well; so look at the controls first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from semanticbm.bm25 import BM25, tf_factor
from semanticbm.collection import Collection, words
from semanticbm.cross_encoder import CrossEncoder, Encoding, head_name
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean, bootstrap_median, ndcg, pearson
from semanticbm.idf import u0, word_table
from semanticbm.retrieval import bm25_run, top

ALPHAS = tuple(10.0 ** np.arange(-2, 5))  # ridge strengths to choose from
K1_GRID, B_GRID = (0.2, 0.5, 0.8, 1.2, 1.6, 2.0, 3.0), (0.0, 0.25, 0.5, 0.75, 1.0)
N_DRAWS = 20
Head = tuple[int, int]
Candidates = Mapping[str, Sequence[str]]


# --------------------------------------------------------------------------------------------------------------------
# Which pairs


def candidates(collection: Collection, queries: Iterable[str] | None = None, depth: int | None = None,
               least: int = 10) -> dict[str, list[str]]:
    """Documents to score for each judged query: {query id: document ids}.

    The judged documents; where there are fewer than `least`, BM25's best are added. With `depth`, at most so many:
    those that BM25 puts first.
    """
    chosen = list(collection.judged_queries if queries is None else queries)
    runs = bm25_run(collection, max(len(collection.documents), 1), queries=chosen)
    result = {}
    for query in chosen:
        ranked, judged = list(runs[query]), set(collection.judgements.get(query, {}))
        documents = [document for document in ranked if document in judged]
        documents += [document for document in ranked if document not in judged][: max(0, least - len(documents))]
        result[query] = documents[:depth]
    return result


# --------------------------------------------------------------------------------------------------------------------
# Features


def idf_from_u0(model: CrossEncoder, idf: Mapping[str, float]) -> np.ndarray:
    """g: U0 turned and rescaled to the mean and spread of an IDF, float [vocabulary] (paper 9.1).

        g = mean(idf) - std(idf) (U0 - mean U0) / std U0

    Means and spreads are taken over the whole words that have an IDF. The paper's code takes them over the whole
    vocabulary, counts a missing IDF as 0, and subtracts mean(idf) instead of adding it; the plain MS columns absorb it.
    """
    table, values = word_table(model, idf), u0(model)
    of_words = values[table.ids]
    return table.idf.mean() - table.idf.std() * (values - of_words.mean()) / of_words.std()


@torch.no_grad()
def scores_and_matching(model: CrossEncoder, encoding: Encoding) -> tuple[Tensor, Tensor]:
    """Scores, float [batch], and matching scores, float [layer, batch, head, position], in one forward pass.

    The attention mass on the document is one matrix product a layer, so this costs little more than the pass itself.
    """
    output = model.hf(**encoding.inputs, output_attentions=True)
    document = torch.zeros_like(output.attentions[0][:, :1, :1]).transpose(2, 3)  # [batch, 1, position, 1]
    for row, span in enumerate(encoding.document_spans):
        document[row, :, slice(*span)] = 1
    return output.logits[:, 0], torch.stack([pattern @ document for pattern in output.attentions])[..., 0]


@dataclass(frozen=True)
class PairFeatures:
    """What is known of each (query, document) pair.

    `query_ids`, `document_ids`: array [pair]. `scores`: the model's, float [pair]. `matching`: one float array
    [layer, head, query piece] a pair. `g`: one float array [query piece] a pair. `lexical`: what BM25 needs of a pair.
    """

    query_ids: np.ndarray
    document_ids: np.ndarray
    scores: np.ndarray
    matching: list[np.ndarray]
    g: list[np.ndarray]
    lexical: list[LexicalPair] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.scores)

    def rows(self, queries: Iterable[str]) -> np.ndarray:
        """Numbers of the pairs of some queries: int [pair]."""
        return np.flatnonzero(np.isin(self.query_ids, list(queries)))

    def summed(self, part: str) -> np.ndarray:
        """Sums over the pieces: "ms" is sum_i MS, "g_ms" is sum_i g_i MS, both float [pair, layer, head]."""
        if part == "ms":
            return np.stack([mass.sum(axis=-1) for mass in self.matching])
        if part == "g_ms":
            return np.stack([mass @ g for mass, g in zip(self.matching, self.g, strict=True)])
        raise UserError(f"unknown part {part!r}: use ms, g_ms or g.")

    def columns(self, heads: Sequence[Head], parts: Sequence[str]) -> np.ndarray:
        """The linear model's columns: for each part one a head, for "g" (sum_i g_i) one in all, float [pair, column]."""
        blocks = []
        for part in parts:
            if part == "g":
                blocks.append(np.array([[g.sum()] for g in self.g]))
            else:
                layers, numbers = np.array(list(heads), dtype=int).reshape(-1, 2).T
                blocks.append(self.summed(part)[:, layers, numbers])
        return np.concatenate(blocks, axis=1)

    def permuted_g(self, seed: int = 0) -> PairFeatures:
        """The same with g permuted among the pieces of each query, in the same way for all its documents."""
        order = {}
        for query, g in zip(self.query_ids, self.g, strict=True):
            if query not in order:
                order[query] = np.random.default_rng([seed, len(order)]).permutation(len(g))
        shuffled = [g[order[query]] for query, g in zip(self.query_ids, self.g, strict=True)]
        return PairFeatures(self.query_ids, self.document_ids, self.scores, self.matching, shuffled, self.lexical)


@dataclass(frozen=True)
class LexicalPair:
    """What BM25 needs of a pair. `tf`, `idf`: float [query word]. `length`: the document's, in words. `avgdl`: its mean."""

    tf: np.ndarray
    idf: np.ndarray
    length: int
    avgdl: float

    def bm25(self, k1: float, b: float) -> float:
        """BM25 of the pair."""
        return float(self.idf @ tf_factor(self.tf, self.length, self.avgdl, k1, b))

    @property
    def overlap(self) -> float:
        """Share of the query's words that stand in the document."""
        return float((self.tf > 0).mean())


def _lexical_pair(index: BM25, query: str, document: str) -> LexicalPair:
    counts, query_words = Counter(words(document)), words(query)
    return LexicalPair(np.array([counts[word] for word in query_words], dtype=float),
                       np.array([index.word_idf(word) for word in query_words]), counts.total(), index.avgdl)


def extract(model: CrossEncoder, collection: Collection, chosen: Candidates, g: np.ndarray, batch_size: int = 32,
            progress: bool = False) -> PairFeatures:
    """Scores and features of the chosen pairs, one forward pass each. `g`: float [vocabulary], see `idf_from_u0`."""
    from tqdm.auto import tqdm

    ids = [(query, document) for query, documents in chosen.items() for document in documents]
    if not ids:
        raise UserError("no pair to extract features from: choose at least one query with documents.")
    texts = [(collection.queries[query], collection.documents[document]) for query, document in ids]
    order = sorted(range(len(ids)), key=lambda number: -len(texts[number][1]))  # like lengths together: less padding
    scores, matching, weights = np.empty(len(ids)), [None] * len(ids), [None] * len(ids)
    starts = range(0, len(ids), batch_size)
    for start in tqdm(starts, desc=f"features, {model.name}", disable=not progress, leave=False):
        numbers = order[start : start + batch_size]
        encoding = model.encode([texts[number] for number in numbers])
        logits, mass = scores_and_matching(model, encoding)
        scores[numbers] = logits.double().cpu().numpy()
        mass, pieces = mass.double().cpu().numpy(), encoding.input_ids.cpu().numpy()
        for row, number in enumerate(numbers):
            query = slice(*encoding.query_spans[row])
            matching[number], weights[number] = mass[:, row, :, query].copy(), g[pieces[row, query]]
    index = BM25(collection.documents)
    queries, documents = (np.array(side, dtype=object) for side in zip(*ids, strict=True))
    return PairFeatures(queries, documents, scores, matching, weights, [_lexical_pair(index, *pair) for pair in texts])


# --------------------------------------------------------------------------------------------------------------------
# The linear model


def centre(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Take each group's mean off: float [pair] or [pair, column]."""
    result = np.array(values, dtype=float)
    for group in np.unique(groups):
        result[groups == group] -= result[groups == group].mean(axis=0)
    return result


class SemanticBM:
    """The linear model over some heads. `parts`: its sums, of "ms", "g_ms", "g". `centred`: fit inside queries."""

    def __init__(self, heads: Iterable[Head], parts: Sequence[str] = ("ms", "g_ms"), centred: bool = True,
                 alphas: Sequence[float] = ALPHAS):
        self.heads, self.centred, self.alphas = list(heads), centred, alphas
        self.parts = tuple(sorted(parts, key=lambda part: part == "g"))  # the one column of g comes last
        if not self.heads and set(self.parts) != {"g"}:
            raise UserError("SemanticBM needs at least one head: find matching heads first.")

    def fit(self, features: PairFeatures, rows: np.ndarray, target: np.ndarray | None = None) -> SemanticBM:
        """Ridge regression on the pairs `rows`; `target`: float [pair], default the model's scores."""
        groups = features.query_ids[rows]
        if len(set(groups)) < 2:
            raise UserError("SemanticBM needs pairs of at least two training queries.")
        x = features.columns(self.heads, self.parts)[rows]
        y = (features.scores if target is None else target)[rows]
        if self.centred:
            x, y = centre(x, groups), centre(y, groups)
        folds = list(GroupKFold(min(5, len(set(groups)))).split(x, y, groups))
        self.pipeline = make_pipeline(StandardScaler(), RidgeCV(self.alphas, cv=folds)).fit(x, y)
        return self

    def predict(self, features: PairFeatures, rows: np.ndarray) -> np.ndarray:
        """S_hat of the pairs `rows`: float [pair]. After a centred fit only differences inside a query have a meaning."""
        return self.pipeline.predict(features.columns(self.heads, self.parts)[rows])

    @property
    def alpha(self) -> float:
        """The ridge strength that cross-validation over training queries chose, for columns of spread 1."""
        return float(self.pipeline[-1].alpha_)

    def weights(self) -> pd.DataFrame:
        """What one unit of each column adds to the score: one row a head, one column a part."""
        per_unit = self.pipeline[-1].coef_ / self.pipeline[0].scale_
        parts = [part for part in self.parts if part != "g"]
        by_part = np.array_split(per_unit[: len(parts) * len(self.heads)], len(parts))
        names = [head_name(*head) for head in self.heads]
        return pd.DataFrame({"head": names, **dict(zip(parts, by_part, strict=True))})


# --------------------------------------------------------------------------------------------------------------------
# Judging a prediction


def per_query_pearson(prediction: np.ndarray, scores: np.ndarray, query_ids: np.ndarray) -> dict[str, float]:
    """Pearson of prediction and score inside each query: {query id: r}.

    A prediction that does not vary counts as 0. A query with fewer than three documents, or whose scores do not vary,
    gives NaN.
    """
    result = {}
    for query in dict.fromkeys(query_ids):
        own = query_ids == query
        flat = np.ptp(prediction[own]) <= 1e-12 * max(1.0, np.abs(prediction[own]).max())
        known = own.sum() >= 3 and np.ptp(scores[own]) > 0
        result[query] = (0.0 if flat else pearson(prediction[own], scores[own])) if known else float("nan")
    return result


def as_run(prediction: np.ndarray, features: PairFeatures, rows: np.ndarray) -> dict[str, dict[str, float]]:
    """Predictions as a ranking: {query id: {document id: score}}."""
    run: dict[str, dict[str, float]] = {}
    for row, value in zip(rows, prediction, strict=True):
        run.setdefault(features.query_ids[row], {})[features.document_ids[row]] = float(value)
    return {query: top(scores, len(scores)) for query, scores in run.items()}


def tune_bm25(features: PairFeatures, rows: np.ndarray) -> tuple[float, float]:
    """(k1, b) of the grid with the highest mean Pearson with the model's scores inside the queries of `rows`."""
    def quality(parameters: tuple[float, float]) -> float:
        values = bm25_scores(features, rows, *parameters)
        found = per_query_pearson(values, features.scores[rows], features.query_ids[rows]).values()
        return float(np.nanmean(list(found)))

    return max(product(K1_GRID, B_GRID), key=quality)


def bm25_scores(features: PairFeatures, rows: np.ndarray, k1: float = 1.2, b: float = 0.75) -> np.ndarray:
    """BM25 of the pairs `rows`: float [pair]."""
    return np.array([features.lexical[row].bm25(k1, b) for row in rows])


# --------------------------------------------------------------------------------------------------------------------
# The comparison with its controls


@dataclass(frozen=True)
class Comparison:
    """SemanticBM and its controls on test queries.

    `pearson`, `ndcg`: {variant: {query id: value}}; for random heads the mean over draws. `pooled`: {variant: Pearson
    over all test pairs}. `draws`: {variant: median Pearson of each draw}. `notes`: tuned values, as text.
    """

    pearson: dict[str, dict[str, float]]
    ndcg: dict[str, dict[str, float]]
    pooled: dict[str, float]
    draws: dict[str, np.ndarray]
    notes: dict[str, str]

    def table(self, seed: int = 0) -> pd.DataFrame:
        """One row a variant: median Pearson with 95 % interval over queries, mean, pooled, nDCG@10, queries."""
        rows = []
        for name, values in self.pearson.items():
            median, low, high = bootstrap_median(list(values.values()), seed=seed)
            known = int(np.isfinite(list(values.values())).sum())
            rows.append({"variant": name, "median": median, "low": low, "high": high,
                         "mean": bootstrap_mean(list(values.values()), seed=seed)[0], "pooled": self.pooled[name],
                         "nDCG@10": bootstrap_mean(list(self.ndcg.get(name, {}).values()) or [np.nan])[0],
                         "n_queries": known})
        return pd.DataFrame(rows)


class _Judge:
    """Collects the measures of each variant on the same test pairs."""

    def __init__(self, features: PairFeatures, rows: np.ndarray, judgements: Mapping[str, Mapping[str, int]] | None):
        self.features, self.rows, self.judgements = features, rows, judgements
        self.result = Comparison({}, {}, {}, {}, {})

    def add(self, name: str, *predictions: np.ndarray) -> None:
        """Measure a variant; several predictions (draws) are measured one by one and averaged in each query."""
        scores, query_ids = self.features.scores[self.rows], self.features.query_ids[self.rows]
        found = [per_query_pearson(values, scores, query_ids) for values in predictions]
        self.result.pearson[name] = _mean_of(found)
        self.result.pooled[name] = float(np.mean([_pooled(values, scores) for values in predictions]))
        if self.judgements is not None:
            runs = [as_run(values, self.features, self.rows) for values in predictions]
            judged = {query: self.judgements[query] for query in dict.fromkeys(query_ids) if query in self.judgements}
            self.result.ndcg[name] = _mean_of([ndcg(run, judged) for run in runs])
        if len(predictions) > 1:
            self.result.draws[name] = np.array([np.nanmedian(list(values.values())) for values in found])


def _pooled(prediction: np.ndarray, scores: np.ndarray) -> float:
    return 0.0 if np.ptp(prediction) <= 1e-12 else pearson(prediction, scores)


def _mean_of(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {query: float(np.mean([values[query] for values in found])) for query in found[0]}


def all_heads(features: PairFeatures) -> list[Head]:
    """Every head of the model that made the features."""
    n_layers, n_heads = features.matching[0].shape[:2]
    return list(product(range(n_layers), range(n_heads)))


def draw_heads(pool: Sequence[Head], size: int, n_draws: int = N_DRAWS, seed: int = 0) -> list[list[Head]]:
    """`n_draws` random sets of `size` heads out of the pool (of all of it, if it is smaller)."""
    rng, size = np.random.default_rng(seed), min(size, len(pool))
    return [[pool[number] for number in rng.choice(len(pool), size, replace=False)] for _ in range(n_draws)]


def permute_within(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> np.ndarray:
    """Shuffle the values inside each group."""
    rng, result = np.random.default_rng(seed), np.array(values)
    for group in dict.fromkeys(groups):
        result[groups == group] = rng.permutation(result[groups == group])
    return result


def compare(features: PairFeatures, heads: Sequence[Head], train: Iterable[str], test: Iterable[str],
            judgements: Mapping[str, Mapping[str, int]] | None = None, centred: bool = True, n_draws: int = N_DRAWS,
            seed: int = 0) -> Comparison:
    """SemanticBM over `heads`, fitted on the queries `train`, judged on `test`, with all its controls (paper 9, 12)."""
    train, test = list(train), list(test)
    if set(train) & set(test):
        raise UserError(f"{len(set(train) & set(test))} queries are in training and test: split them by query.")
    rows, test_rows = features.rows(train), features.rows(test)
    judge = _Judge(features, test_rows, judgements)

    def fitted(chosen: Sequence[Head], parts=("ms", "g_ms"), source=features, target=None) -> np.ndarray:
        return SemanticBM(chosen, parts, centred).fit(source, rows, target).predict(source, test_rows)

    judge.add("SemanticBM", fitted(heads))
    _add_without_parts(judge, features, heads, fitted, n_draws, seed)
    _add_other_heads(judge, features, heads, fitted, n_draws, seed)
    _add_lexical(judge, features, rows, test_rows)
    judge.add("the model itself", features.scores[test_rows])
    return judge.result


def _add_without_parts(judge: _Judge, features: PairFeatures, heads: Sequence[Head], fitted: Callable, n_draws: int,
                       seed: int) -> None:
    """Controls that take a part of SemanticBM away."""
    judge.add("matching scores only", fitted(heads, ("ms",)))
    judge.add("IDF only", fitted(heads, ("g",)))
    judge.add("no product", fitted(heads, ("ms", "g")))
    shuffled = [features.permuted_g(seed + draw) for draw in range(min(n_draws, 5))]
    judge.add("IDF permuted in the query", *[fitted(heads, source=source) for source in shuffled])
    targets = [permute_within(features.scores, features.query_ids, seed + draw) for draw in range(min(n_draws, 5))]
    judge.add("fitted to permuted scores", *[fitted(heads, target=target) for target in targets])


def _add_other_heads(judge: _Judge, features: PairFeatures, heads: Sequence[Head], fitted: Callable, n_draws: int,
                     seed: int) -> None:
    """Controls that take other heads."""
    everything = all_heads(features)
    others = [head for head in everything if head not in set(heads)]
    judge.add("random heads", *[fitted(chosen) for chosen in draw_heads(everything, len(heads), n_draws, seed)])
    if others:
        judge.add("random other heads", *[fitted(chosen) for chosen in draw_heads(others, len(heads), n_draws, seed)])
    judge.add("all heads", fitted(everything))


def _add_lexical(judge: _Judge, features: PairFeatures, rows: np.ndarray, test_rows: np.ndarray) -> None:
    """Controls that see only words."""
    k1, b = tune_bm25(features, rows)
    judge.result.notes["tuned BM25"] = f"k1 = {k1}, b = {b}"
    judge.add("BM25, tuned", bm25_scores(features, test_rows, k1, b))
    judge.add("BM25, k1 = 1.2, b = 0.75", bm25_scores(features, test_rows))
    judge.add("share of query words", np.array([features.lexical[row].overlap for row in test_rows]))


# --------------------------------------------------------------------------------------------------------------------
# The paper's variant: weights for each position, and what a random split over pairs lets through


def position_columns(features: PairFeatures, rows: np.ndarray, heads: Sequence[Head], n_pieces: int,
                     with_matching: bool = True) -> np.ndarray:
    """g_i, MS_h(i) and g_i MS_h(i) for each of the first pieces, nothing summed: float [pair, (1 + 2 heads) pieces]."""
    layers, numbers = np.array(list(heads), dtype=int).reshape(-1, 2).T
    columns = []
    for row in rows:
        g = features.g[row][:n_pieces]
        mass = features.matching[row][layers, numbers, :n_pieces]
        columns.append(np.concatenate([g, mass.ravel(), (g * mass).ravel()]) if with_matching else g)
    return np.array(columns)


def position_fits(features: PairFeatures, heads: Sequence[Head], n_pieces: int = 5, n_splits: int = 20,
                  seed: int = 0) -> pd.DataFrame:
    """The paper's fit: least squares with weights for each position, split once by pairs and once by query (9.1, 9.2).

    Queries with at least `n_pieces` pieces, of which the first `n_pieces` are used. Columns: split, features, pearson
    (over all test pairs, mean of the splits), low, high (middle 95 % of the splits), n_columns, n_pairs, n_queries.
    """
    rows = np.flatnonzero([len(g) >= n_pieces for g in features.g])
    groups = features.query_ids[rows]
    if len(set(groups)) < 5:
        raise UserError(f"only {len(set(groups))} queries have {n_pieces} pieces: take fewer pieces or more queries.")
    table = []
    for split, name in product(("pairs", "queries"), ("all columns", "g only")):
        x = position_columns(features, rows, heads, n_pieces, name == "all columns")
        found = [_position_fit(x, features.scores[rows], groups, split, seed + number) for number in range(n_splits)]
        low, high = np.quantile(found, [0.025, 0.975])
        table.append({"split": split, "features": name, "pearson": float(np.mean(found)), "low": low, "high": high,
                      "n_columns": x.shape[1], "n_pairs": len(rows), "n_queries": len(set(groups))})
    return pd.DataFrame(table)


def _position_fit(x: np.ndarray, y: np.ndarray, groups: np.ndarray, split: str, seed: int) -> float:
    """Pearson on a random fifth of the pairs or of the queries; columns scaled on the whole set, as the paper does."""
    rng = np.random.default_rng(seed)
    units = np.arange(len(y)) if split == "pairs" else groups
    distinct = np.unique(units)
    test = np.isin(units, rng.choice(distinct, max(1, len(distinct) // 5), replace=False))
    scaled = StandardScaler().fit_transform(x)
    return _pooled(LinearRegression().fit(scaled[~test], y[~test]).predict(scaled[test]), y[test])
