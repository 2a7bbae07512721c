"""Scoring heads and the heads that feed them: how the matches of single words become one score.

At the end of the model only the [CLS] position is read. So the match signal, which sits at the query words after the
matching heads, has to get there. Two kinds of heads do that in the paper:

- *Scoring heads* act on the score directly. Their [CLS] row attends to the query words, the more the rarer
  the word: attention as IDF. What they read at a word is its match signal. So they add up IDF times soft TF.
- *Contextual query representation heads*, "relays" for short, act on the scoring heads' inputs. They move
  the match signal between query words before it is read, towards the words with a high IDF.

**Finding scoring heads**: the *direct effect* of each head (`semanticbm.path_patching`) on TFC1 pairs. A head is
important if its mean effect over queries is above `MIN_EFFECT`, with a 95 % bootstrap interval that excludes 0.
Documents of one query are put together first: the effect of a query is its mean score change by patching, divided by the
mean full change of *all* queries. So the mean over queries is a ratio of means. A mean of ratios would be ruled by the
queries whose full change is near 0, and leaving those out would choose queries by their outcome.

**Finding relays**: the same with the effect on the score *through q, k and v of the scoring heads* and nothing else
(`find_contextual_heads`). A head that passes moves something between query words only if its query rows look at the query
(`relays_among`); one that looks at the document brings in something of its own.

**Attention by IDF**: Spearman correlation, inside each query, of the [CLS] attention to a word (mean over its pieces,
as in the paper's code) with its IDF; then the mean over queries. Two controls: position in the query is partialled out,
since rare words tend to stand at the end; and stop words are left out, since a mere list of stop words would also give
a high correlation.

When it misleads: importance is relative to the edit. These heads carry the change that one more occurrence makes; heads
that carry something else (topic, phrasing) do not move, and are missed. Attention by IDF is a correlation; a head that
prefers nouns would show it, too. `semanticbm.idf` edits the IDF signal itself, and that is the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from semanticbm.attention import ClsAttention, attention_patterns, cls_row
from semanticbm.bm25 import BM25
from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.diagnostics import Diagnostics, Pieces, candidate_documents, is_content, seeded
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean
from semanticbm.heads import (
    FoundHeads,
    Head,
    HeadValues,
    choose,
    head_name,
    head_table,
    interval_columns,
    rows_of_heads,
)
from semanticbm.matching import Effects, share_out
from semanticbm.path_patching import direct_effects_many, effects_on_receivers_many

MIN_EFFECT = 0.02  # least mean effect, a share of the full change; fixed before any run
FEW_QUERIES = 12
KINDS = ("query", "key", "value")


@dataclass(frozen=True)
class QueryAttention:
    """[CLS] attention on one query, documents averaged.

    `words`: the words of the query. `idf`, `n_pieces`, `is_content`: arrays [word]. `attention`: float
    [layer, head, word], the mean over the pieces of the word. `mass`: float [layer, head, side], attention in all on
    the query, on the document, and on [CLS] and [SEP]. Chapter 7.
    """

    query_id: str
    words: list[str]
    idf: np.ndarray
    n_pieces: np.ndarray
    is_content: np.ndarray
    attention: np.ndarray
    mass: np.ndarray

    @property
    def position(self) -> np.ndarray:
        """Place of each word in the query: 0, 1, ..."""
        return np.arange(len(self.words))

    def content_only(self) -> QueryAttention:
        """The same without stop words."""
        keep = self.is_content
        words = [word for word, kept in zip(self.words, keep, strict=True) if kept]
        return QueryAttention(
            self.query_id, words, self.idf[keep], self.n_pieces[keep], keep[keep], self.attention[..., keep], self.mass
        )


def cls_attention(
    model: CrossEncoder,
    collection: Collection,
    queries: Iterable[str] | None = None,
    documents_per_query: int = 3,
    idf: Callable[[str], float] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[QueryAttention]:
    """[CLS] attention to the words of each query, averaged over documents judged for it (chapter 7).

    `idf`: word -> IDF; by default that of BM25 on the collection.
    """
    idf = idf or BM25(collection.documents).word_idf
    pieces, jobs = Pieces(model.tokenizer), []
    for query_id in collection.queries if queries is None else queries:
        ids = candidate_documents(collection, query_id, seeded(seed, query_id))
        jobs += [(query_id, document_id) for document_id, _ in zip(ids, range(documents_per_query), strict=False)]
    pairs = [(collection.queries[query_id], collection.documents[document_id]) for query_id, document_id in jobs]
    patterns = attention_patterns(model, pairs, label=f"[CLS] attention, {model.name}" if progress else "")
    rows: dict[str, list[ClsAttention]] = {}
    for (query_id, _), pattern in zip(jobs, patterns, strict=True):
        rows.setdefault(query_id, []).append(cls_row(pattern))
    return [
        _query_attention(query_id, collection.queries[query_id], of_query, pieces, idf)
        for query_id, of_query in rows.items()
    ]


def _query_attention(
    query_id: str, query: str, rows: list[ClsAttention], pieces: Pieces, idf: Callable[[str], float]
) -> QueryAttention:
    words, where = list(pieces.words(query)), rows[0].word_ids
    on_pieces = np.mean([row.to_query for row in rows], axis=0)
    on_words = np.stack([on_pieces[..., where == place].mean(axis=-1) for place in range(len(words))], axis=-1)
    mass = np.mean([np.stack([row.on_query, row.on_document], axis=-1) for row in rows], axis=0)
    return QueryAttention(
        query_id,
        words,
        np.array([idf(word) for word in words]),
        np.bincount(where),
        np.array([is_content(word, pieces) for word in words]),
        on_words,
        np.concatenate([mass, 1 - mass.sum(-1, keepdims=True)], axis=-1),
    )


def cls_idf_correlations(looks: Sequence[QueryAttention], control: str | None = None, min_words: int = 4) -> HeadValues:
    """Spearman of [CLS] attention and IDF inside each query, for each head (chapter 7).

    `control`: "position" or "n_pieces" is partialled out, after ranking. Queries with fewer than `min_words` words (or
    with equal IDFs) have no value and are left out.
    """
    if control not in (None, "position", "n_pieces"):
        raise UserError(f"control={control!r} is unknown: use position, n_pieces or None.")
    usable = [of_query for of_query in looks if len(of_query.words) >= min_words and np.ptp(of_query.idf) > 0]
    if not usable:
        raise UserError(f"no query has {min_words} words with different IDFs: take another collection.")
    values = [
        rank_correlation(of_query.attention, of_query.idf, getattr(of_query, control) if control else None)
        for of_query in usable
    ]
    return HeadValues([of_query.query_id for of_query in usable], np.stack(values), len(usable))


def rank_correlation(attention: np.ndarray, idf: np.ndarray, control: np.ndarray | None) -> np.ndarray:
    """Spearman along the last axis, a control partialled out: [layer, head, word], [word] -> [layer, head].

    Chapter 7.
    """
    ranks, target = rankdata(attention, axis=-1), rankdata(idf)
    design = np.ones((len(idf), 1)) if control is None else np.column_stack([np.ones(len(idf)), rankdata(control)])
    remove = np.eye(len(idf)) - design @ np.linalg.pinv(design)
    ranks, target = ranks @ remove, target @ remove
    length = np.sqrt((ranks**2).sum(-1) * (target**2).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length > 1e-9, (ranks @ target) / length, np.nan)


def scoring_attention(
    model: CrossEncoder,
    collection: Collection,
    heads: Iterable[Head] | None = None,
    documents_per_query: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """[CLS] attention by IDF for each head: Spearman, with position partialled out, among content words (chapter 7).

    One row a head (all heads if `heads` is None), each number with its interval over queries, and `query_mass`, the
    share of the [CLS] row's attention that goes to the query.
    """
    looks = cls_attention(model, collection, documents_per_query=documents_per_query, seed=seed)
    plain, partial = cls_idf_correlations(looks), cls_idf_correlations(looks, "position")
    content = cls_idf_correlations([of_query.content_only() for of_query in looks], min_words=3)
    columns = {
        **interval_columns("spearman", plain.values, seed),
        **interval_columns("partial", partial.values, seed),
        **interval_columns("content", content.values, seed),
        "query_mass": np.mean([of_query.mass[..., 0] for of_query in looks], axis=0),
    }
    table = head_table(columns).assign(n_queries=len(plain.query_ids))
    return table if heads is None else table[rows_of_heads(table, heads)].reset_index(drop=True)


def attention_by_idf(
    looks: Sequence[QueryAttention], heads: Iterable[Head], n_bins: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Attention to query words by IDF, for each head: the words of all queries in `n_bins` equal groups (chapter 7).

    Attention is taken relative to the mean over the words of the query (1 = an average word), so that long and short
    queries can be put together. Columns: head, idf (mean of the group), attention, low, high, n_words.
    """
    idf = np.concatenate([of_query.idf for of_query in looks])
    edges = np.quantile(idf, np.linspace(0, 1, n_bins + 1)[1:-1])
    bins, query = (
        np.searchsorted(edges, idf, side="right"),
        np.repeat(np.arange(len(looks)), [len(q.words) for q in looks]),
    )
    rows = []
    for layer, head in heads:
        of_words = [of_query.attention[layer, head] for of_query in looks]
        words = pd.DataFrame({"idf": idf, "query": query, "relative": np.concatenate([a / a.mean() for a in of_words])})
        for _, group in words.groupby(bins):
            by_query = group.groupby("query")["relative"].mean()
            interval = dict(zip(("attention", "low", "high"), bootstrap_mean(by_query, seed=seed), strict=True))
            counts = {"n_words": len(group), "n_queries": len(by_query)}
            rows.append({"head": head_name(layer, head), "idf": group["idf"].mean(), **interval, **counts})
    return pd.DataFrame(rows)


def _sides(diagnostics: Diagnostics) -> tuple[list, list]:
    return ([pair.baseline_pair for pair in diagnostics.pairs], [pair.perturbed_pair for pair in diagnostics.pairs])


def direct_effects_by_query(model: CrossEncoder, diagnostics: Diagnostics, progress: bool = False) -> Effects:
    """Direct effect of each head on the score, as share of the mean full change (chapter 7)."""
    effects = direct_effects_many(model, *_sides(diagnostics), progress=progress)
    return share_out(diagnostics, effects.effects, effects.changes)


def path_effects_by_query(
    model: CrossEncoder,
    diagnostics: Diagnostics,
    receivers: Iterable[Head],
    kinds: Sequence[str] = KINDS,
    progress: bool = False,
) -> Effects:
    """Effect of each head on the score through q, k or v (`kinds`) of the receivers, as share of the mean change (chapter 7).

    Heads in or after the last receiver's layer cannot reach it and have the effect 0.
    """
    into = "".join(kind[0] for kind in kinds)
    effects = effects_on_receivers_many(model, *_sides(diagnostics), receivers, into, progress=progress)
    return share_out(diagnostics, effects.effects, effects.changes)


def _found(table: pd.DataFrame, effects: Effects, wanted: pd.Series, rule: str) -> FoundHeads:
    table["chosen"] = wanted
    return FoundHeads(choose(table, wanted, "effect"), table, rule, len(effects.query_ids))


def _effect_table(effects: Effects, seed: int) -> pd.DataFrame:
    return head_table(interval_columns("effect", effects.values, seed))


def _important(table: pd.DataFrame) -> pd.Series:
    return (table["effect"] > MIN_EFFECT) & (table["effect_low"] > 0)


def find_scoring_heads(
    model: CrossEncoder, diagnostics: Diagnostics, seed: int = 0, progress: bool = False
) -> FoundHeads:
    """Heads with a direct effect on the score, by the rule of this module, strongest first (chapter 7).

    `diagnostics`: pairs of equal length, usually TFC1. The table has the mean effect of each head with its interval.
    """
    effects = direct_effects_by_query(model, diagnostics, progress)
    table = _effect_table(effects, seed)
    return _found(table, effects, _important(table), f"mean direct effect > {MIN_EFFECT}, interval above 0")


def few_pairs(diagnostics: Diagnostics, n_queries: int = FEW_QUERIES) -> Diagnostics:
    """The first pair of each of the first queries: for side results that would cost too much on all (chapter 7)."""
    firsts = [pairs[0] for pairs in islice(diagnostics.by_query().values(), n_queries)]
    return Diagnostics(diagnostics.axiom, firsts, diagnostics.skipped)


def find_contextual_heads(
    model: CrossEncoder,
    diagnostics: Diagnostics,
    scoring_heads: Sequence[Head],
    exclude: Iterable[Head] = (),
    seed: int = 0,
    kinds_on: int = FEW_QUERIES,
    progress: bool = False,
) -> FoundHeads:
    """Heads that act on the score through q, k and v of the scoring heads, strongest first (chapter 7).

    `exclude`: heads with another role, usually the matching heads: they stay in the table (column `excluded`) and are
    not chosen. Columns query, key, value: the mean effect through that input alone, on one pair of `kinds_on` queries.
    Patching a path costs about thirty forward passes a pair: take few documents a query.
    """
    scoring_heads = list(scoring_heads)
    if not scoring_heads:
        raise UserError("no scoring heads were given: find them first, or take another model.")
    effects = path_effects_by_query(model, diagnostics, scoring_heads, KINDS, progress)
    table = _effect_table(effects, seed)
    for kind in KINDS:
        alone = path_effects_by_query(model, few_pairs(diagnostics, kinds_on), scoring_heads, (kind,), progress)
        table[kind] = alone.values.mean(axis=0).reshape(-1)
    table["excluded"] = rows_of_heads(table, [*exclude, *scoring_heads])
    rule = f"mean effect through the scoring heads > {MIN_EFFECT}, interval above 0, no other role"
    return _found(table, effects, _important(table) & ~table["excluded"], rule)


def query_row_masses(model: CrossEncoder, diagnostics: Diagnostics, progress: bool = False) -> np.ndarray:
    """Where the query pieces look in the baselines, mean over queries: float [side, layer, head] (chapter 7).

    Sides: the *other* pieces of the query (what a piece reads from itself is not moved), and the document.
    """
    pairs = [pair.baseline_pair for pair in diagnostics.pairs]
    found: dict[str, list[np.ndarray]] = {}
    patterns = attention_patterns(model, pairs, label=f"rows of the query, {model.name}" if progress else "")
    for pair, pattern in zip(diagnostics.pairs, patterns, strict=True):
        rows = pattern.weights[:, :, pattern.query]
        itself = np.diagonal(rows[..., pattern.query], axis1=-2, axis2=-1).mean(axis=-1)
        on_query = rows[..., pattern.query].sum(axis=-1).mean(axis=-1) - itself
        found.setdefault(pair.query_id, []).append(
            np.stack([on_query, rows[..., pattern.document].sum(axis=-1).mean(axis=-1)])
        )
    return np.mean([np.mean(masses, axis=0) for masses in found.values()], axis=0)


def relays_among(
    model: CrossEncoder, found: FoundHeads, diagnostics: Diagnostics, progress: bool = False
) -> FoundHeads:
    """Those of the found heads that can relay: their query rows look more at the other query pieces than at the document.

    Chapter 7. A head that feeds the scoring heads but reads the document itself is no relay: it brings something of its
    own. The table gets the columns on_query, on_document (attention mass, 0 to 1) and relay.
    """
    on_query, on_document = query_row_masses(model, diagnostics, progress).reshape(2, -1)
    table = found.table.assign(on_query=on_query, on_document=on_document)
    table["relay"] = table["chosen"] & (table["on_query"] > table["on_document"])
    rule = f"{found.rule}, query rows look more at the other query pieces than at the document"
    return FoundHeads(choose(table, table["relay"], "effect"), table, rule, found.n_queries)
