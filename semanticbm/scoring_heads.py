"""Scoring heads and the heads that feed them: how the matches of single words become one score.

At the end of the model only the [CLS] position is read. So the match signal, which sits at the query words after the
matching heads, has to get there. Two kinds of heads do that in the paper:

- *Scoring heads* act on the score directly. Their [CLS] row attends to the query words, the more the rarer
  the word: attention as IDF. What they read at a word is its match signal. So they add up IDF times soft TF.
- *Contextual query representation heads*, "relays" for short, act on the scoring heads' inputs. They move
  the match signal between query words before it is read, towards the words with a high IDF.

**Finding scoring heads**: the *direct effect* of each head (`semanticbm.path_patching`) on TFC1 pairs. A head is
important if its mean effect over queries is above `MIN_EFFECT`, with a 95 % bootstrap interval that excludes 0.
Documents of one query are put together first: the effect of a query is the sum of score changes by patching, divided
by the sum of the full changes. A mean of ratios would be ruled by the pairs whose full change is near 0. Queries whose
full change is small against the spread of all scores (`MIN_CHANGE`) say nothing about shares: left out and counted.

**Finding relays**: the same with the effect on the score *through q, k and v of the scoring heads* and nothing else.

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
import torch
from scipy.stats import rankdata

from semanticbm.attention import PairAttention, attention_patterns, cls_row
from semanticbm.bert import layers, z_projection
from semanticbm.bm25 import BM25
from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.diagnostics import DiagnosticPair, Diagnostics, Pieces, candidate_documents, is_content, seeded
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean
from semanticbm.heads import FoundHeads, Head, HeadValues, choose, head_name, head_table, intervals
from semanticbm.matching import MIN_CHANGE, Effects, share_out
from semanticbm.patching import encode_both, gradients, read_site
from semanticbm.path_patching import direct_effects_many, effects_on_receivers_many

MIN_EFFECT = 0.02  # least mean direct effect, as a share of the full change; fixed before any run
FEW_QUERIES = 12
KINDS = ("query", "key", "value")


# --------------------------------------------------------------------------------------------------------------------
# Where [CLS] looks


@dataclass(frozen=True)
class QueryAttention:
    """[CLS] attention on one query, documents averaged.

    `words`: the words of the query. `idf`, `n_pieces`, `is_content`: arrays [word]. `attention`: float
    [layer, head, word], the mean over the pieces of the word. `mass`: float [layer, head, side], attention in all on
    the query, on the document, and on [CLS] and [SEP].
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
    """[CLS] attention to the words of each query, averaged over documents judged for it.

    `idf`: word -> IDF; by default that of BM25 on the collection.
    """
    idf = idf or BM25(collection.documents).word_idf
    pieces, jobs = Pieces(model.tokenizer), []
    for query_id in collection.queries if queries is None else queries:
        ids = candidate_documents(collection, query_id, seeded(seed, query_id))
        jobs += [(query_id, document_id) for document_id, _ in zip(ids, range(documents_per_query), strict=False)]
    pairs = [(collection.queries[query_id], collection.documents[document_id]) for query_id, document_id in jobs]
    patterns = attention_patterns(model, pairs, label=f"[CLS] attention, {model.name}" if progress else "")
    found: dict[str, list[PairAttention]] = {}
    for (query_id, _), pattern in zip(jobs, patterns, strict=True):
        found.setdefault(query_id, []).append(cls_row(pattern))
    return [
        _query_attention(query_id, collection.queries[query_id], rows, pieces, idf) for query_id, rows in found.items()
    ]


def _query_attention(
    query_id: str, query: str, rows: list[PairAttention], pieces: Pieces, idf: Callable[[str], float]
) -> QueryAttention:
    words, where = list(pieces.words(query)), np.array(rows[0].word_ids[rows[0].query])
    on_pieces = np.mean([row.weights[:, :, row.query] for row in rows], axis=0)
    on_words = np.stack([on_pieces[..., where == number].mean(axis=-1) for number in range(len(words))], axis=-1)
    sides = [np.stack([row.weights[:, :, side].sum(-1) for side in (row.query, row.document)], -1) for row in rows]
    mass = np.mean(sides, axis=0)
    return QueryAttention(
        query_id,
        words,
        np.array([idf(word) for word in words]),
        np.bincount(where),
        np.array([is_content(word, pieces) for word in words]),
        on_words,
        np.concatenate([mass, 1 - mass.sum(-1, keepdims=True)], axis=-1),
    )


def idf_correlations(found: Sequence[QueryAttention], control: str | None = None, min_words: int = 4) -> HeadValues:
    """Spearman of [CLS] attention and IDF inside each query, for each head.

    `control`: "position" or "n_pieces" is partialled out, after ranking. Queries with fewer than `min_words` words (or
    with equal IDFs) have no value and are left out.
    """
    if control not in (None, "position", "n_pieces"):
        raise UserError(f"control={control!r} is unknown: use position, n_pieces or None.")
    usable = [one for one in found if len(one.words) >= min_words and np.ptp(one.idf) > 0]
    if not usable:
        raise UserError(f"no query has {min_words} words with different IDFs: take another collection.")
    values = [_rank_correlation(one.attention, one.idf, getattr(one, control) if control else None) for one in usable]
    return HeadValues([one.query_id for one in usable], np.stack(values), len(usable))


def _rank_correlation(attention: np.ndarray, idf: np.ndarray, control: np.ndarray | None) -> np.ndarray:
    """Spearman along the last axis, a control partialled out: [layer, head, word], [word] -> [layer, head]."""
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
    queries: Iterable[str] | None = None,
    documents_per_query: int = 3,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """[CLS] attention by IDF for each head: Spearman, with position partialled out, and among content words only.

    One row a head (all heads if `heads` is None), each number with its interval over queries, and `query_mass`, the
    share of the [CLS] row's attention that goes to the query.
    """
    found = cls_attention(model, collection, queries, documents_per_query, seed=seed, progress=progress)
    content = [one.content_only() for one in found]
    kinds = {
        "spearman": idf_correlations(found),
        "partial": idf_correlations(found, "position"),
        "content": idf_correlations(content, min_words=3),
    }
    columns: dict[str, np.ndarray] = {}
    for name, values in kinds.items():
        columns |= dict(zip((name, f"{name}_low", f"{name}_high"), intervals(values.values, seed), strict=True))
    columns["query_mass"] = np.mean([one.mass[..., 0] for one in found], axis=0)
    table = head_table(columns).assign(n_queries=len(kinds["spearman"].query_ids))
    if heads is None:
        return table
    chosen = set(heads)
    return table[[pair in chosen for pair in zip(table["layer"], table["index"], strict=True)]].reset_index(drop=True)


def attention_by_idf(
    found: Sequence[QueryAttention], heads: Iterable[Head], n_bins: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Attention to query words by IDF, for each head: the words of all queries in `n_bins` equal groups by IDF.

    Attention is taken relative to the mean over the words of the query (1 = an average word), so that long and short
    queries can be put together. Columns: head, idf (mean of the group), attention, low, high, n_words.
    """
    edges = np.quantile(np.concatenate([one.idf for one in found]), np.linspace(0, 1, n_bins + 1)[1:-1])
    rows = []
    for layer, head in heads:
        relative = [one.attention[layer, head] / one.attention[layer, head].mean() for one in found]
        for group in range(n_bins):
            inside = [np.searchsorted(edges, one.idf, side="right") == group for one in found]
            by_query = [values[kept].mean() for values, kept in zip(relative, inside, strict=True) if kept.any()]
            level = np.concatenate([one.idf[kept] for one, kept in zip(found, inside, strict=True)])
            if by_query:
                mean, low, high = bootstrap_mean(by_query, seed=seed)
                rows.append(
                    {
                        "head": head_name(layer, head),
                        "idf": level.mean(),
                        "attention": mean,
                        "low": low,
                        "high": high,
                        "n_words": len(level),
                        "n_queries": len(by_query),
                    }
                )
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------------------------------------------------
# Which heads carry the change of the score


def _sides(diagnostics: Diagnostics) -> tuple[list, list]:
    return ([pair.baseline_pair for pair in diagnostics.pairs], [pair.perturbed_pair for pair in diagnostics.pairs])


def direct_effects_by_query(model: CrossEncoder, diagnostics: Diagnostics, progress: bool = False) -> Effects:
    """Direct effect of each head on the score, as share of the full change of each query."""
    found = direct_effects_many(model, *_sides(diagnostics), progress=progress)
    return share_out(diagnostics, found.effects, found.changes, MIN_CHANGE * float(np.std(found.baseline)))


def path_effects_by_query(
    model: CrossEncoder,
    diagnostics: Diagnostics,
    receivers: Iterable[Head],
    kinds: Sequence[str] = KINDS,
    progress: bool = False,
) -> Effects:
    """Effect of each head on the score through q, k or v (`kinds`) of the receivers, as share by query.

    Heads in or after the last receiver's layer cannot reach it and have the effect 0.
    """
    into = "".join(kind[0] for kind in kinds)
    found = effects_on_receivers_many(model, *_sides(diagnostics), receivers, into, progress=progress)
    return share_out(diagnostics, found.effects, found.changes, MIN_CHANGE * float(np.std(found.baseline)))


def _found(table: pd.DataFrame, effects: Effects, wanted: pd.Series, rule: str) -> FoundHeads:
    table["chosen"] = wanted
    return FoundHeads(choose(table, wanted, "effect"), table, rule, len(effects.query_ids))


def _effect_table(effects: Effects, seed: int) -> pd.DataFrame:
    mean, low, high = intervals(effects.values, seed)
    return head_table({"effect": mean, "effect_low": low, "effect_high": high})


def _important(table: pd.DataFrame, min_effect: float) -> pd.Series:
    return (table["effect"] > min_effect) & (table["effect_low"] > 0)


def find_scoring_heads(
    model: CrossEncoder, diagnostics: Diagnostics, min_effect: float = MIN_EFFECT, seed: int = 0, progress: bool = False
) -> FoundHeads:
    """Heads with a direct effect on the score, by the rule of this module, strongest first.

    `diagnostics`: pairs of equal length, usually TFC1. The table has the mean effect of each head with its interval.
    """
    effects = direct_effects_by_query(model, diagnostics, progress)
    table = _effect_table(effects, seed)
    return _found(table, effects, _important(table, min_effect), f"mean direct effect > {min_effect}, interval above 0")


def few_pairs(diagnostics: Diagnostics, n_queries: int = FEW_QUERIES) -> Diagnostics:
    """The first pair of each of the first queries: for side results that would cost too much on all pairs."""
    firsts = [pairs[0] for pairs in islice(diagnostics.by_query().values(), n_queries)]
    return Diagnostics(diagnostics.axiom, firsts, diagnostics.skipped)


def find_contextual_heads(
    model: CrossEncoder,
    diagnostics: Diagnostics,
    scoring_heads: Sequence[Head],
    exclude: Iterable[Head] = (),
    min_effect: float = MIN_EFFECT,
    seed: int = 0,
    kinds_on: int = FEW_QUERIES,
    progress: bool = False,
) -> FoundHeads:
    """Heads that act on the score through q, k and v of the scoring heads, strongest first.

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
    banned = set(exclude) | set(scoring_heads)
    table["excluded"] = [pair in banned for pair in zip(table["layer"], table["index"], strict=True)]
    wanted = _important(table, min_effect) & ~table["excluded"]
    return _found(
        table, effects, wanted, f"mean effect through the scoring heads > {min_effect}, interval above 0, no other role"
    )


# --------------------------------------------------------------------------------------------------------------------
# Where relays write


@torch.no_grad()
def written_changes(model: CrossEncoder, pair: DiagnosticPair) -> np.ndarray:
    """Length of the change that each head writes at each position when the baseline becomes the perturbed document.

    Returns float [layer, head, position]. What a head writes is its z times its columns of W_O.
    """
    baseline, perturbed = encode_both(model, [pair.baseline_pair], [pair.perturbed_pair])
    z, others, changes = read_site(model, baseline), read_site(model, perturbed), []
    for layer, ours, theirs in zip(layers(model.hf), z, others, strict=True):
        change = (theirs - ours)[0].unflatten(-1, (model.n_heads, model.d_head))
        weight = z_projection(layer).weight.unflatten(-1, (model.n_heads, model.d_head))
        changes.append(torch.einsum("phd,mhd->hpm", change, weight).norm(dim=-1))
    return torch.stack(changes).cpu().numpy()


def effects_by_position(model: CrossEncoder, pair: DiagnosticPair) -> np.ndarray:
    """How much the score gains from the change of each head at each position, to first order, in logits.

    Slope of the score at the baseline times the change of z (attribution patching, kept apart by position): float
    [layer, head, position]. One run forward and back instead of a run for each head and position.
    """
    baseline, perturbed = encode_both(model, [pair.baseline_pair], [pair.perturbed_pair])
    (z, slopes), others = gradients(model, baseline), read_site(model, perturbed)
    products = [slope * (theirs - ours) for slope, ours, theirs in zip(slopes, z, others, strict=True)]
    by_head = torch.stack(products)[:, 0].unflatten(-1, (model.n_heads, model.d_head)).sum(dim=-1)
    return by_head.transpose(1, 2).cpu().numpy()


def relay_correlations(
    model: CrossEncoder,
    diagnostics: Diagnostics,
    idf: Callable[[str], float],
    measure: Callable[[CrossEncoder, DiagnosticPair], np.ndarray] = effects_by_position,
    min_words: int = 4,
) -> HeadValues:
    """Spearman of what a head does at the *other* query words with their IDF: float [query, layer, head].

    `measure`: `effects_by_position` (what the score gains there) or `written_changes` (how much changes there). A
    positive value: more at rarer words. The edited word is left out. Take pairs whose term was drawn at random: with
    the rarest word as term, the rarest place would never be among the others.
    """
    pieces, found = Pieces(model.tokenizer), {}
    for pair in diagnostics.pairs:
        words = pieces.words(pair.query)
        others = [number for number, word in enumerate(words) if word not in pieces.words(pair.term)]
        levels = np.array([idf(words[number]) for number in others])
        if len(others) < min_words or np.ptp(levels) == 0:
            continue
        encoding = model.encode([pair.baseline_pair])
        query = slice(*encoding.query_spans[0])
        where, done = np.array(encoding.word_ids[0][query]), measure(model, pair)[..., query]
        by_word = np.stack([done[..., where == number].mean(axis=-1) for number in others], axis=-1)
        found.setdefault(pair.query_id, []).append(_rank_correlation(by_word, levels, None))
    if not found:
        raise UserError(f"no query has {min_words} words besides the edited one: take another collection.")
    return HeadValues(
        list(found), np.stack([np.mean(values, axis=0) for values in found.values()]), sum(map(len, found.values()))
    )


def relay_report(
    model: CrossEncoder, collection: Collection, diagnostics: Diagnostics, relays: Sequence[Head], seed: int = 0
) -> pd.DataFrame:
    """Do relays write to rarer words? Mean `relay_correlations` of them and of the other heads of their layers.

    Columns: effect (with effect_low, effect_high) for `effects_by_position`, written (...) for `written_changes`.
    """
    idf = BM25(collection.documents).word_idf
    measured = {
        "effect": relay_correlations(model, diagnostics, idf),
        "written": relay_correlations(model, diagnostics, idf, written_changes),
    }
    relays = list(relays)
    same_layers = [(layer, head) for layer in sorted({layer for layer, _ in relays}) for head in range(model.n_heads)]
    groups = {"relays": relays, "other heads of these layers": [head for head in same_layers if head not in relays]}
    return pd.DataFrame([_relay_row(name, heads, measured, seed) for name, heads in groups.items() if heads])


def _relay_row(name: str, heads: list[Head], measured: dict[str, HeadValues], seed: int) -> dict:
    row = {"heads": name, "n_heads": len(heads)}
    for column, found in measured.items():
        by_query = np.nanmean([found.values[:, layer, head] for layer, head in heads], axis=0)
        row |= dict(zip((column, f"{column}_low", f"{column}_high"), bootstrap_mean(by_query, seed=seed), strict=True))
    return row | {"n_queries": len(measured["effect"].query_ids)}
