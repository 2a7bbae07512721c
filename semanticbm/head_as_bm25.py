"""A head as BM25: the k1 and b that an attention head would have if it were BM25's TF factor.

`semanticbm.compiled` shows that an attention head with three logits (match, other word, sink) is BM25's TF factor. This
module goes the other way. For any head of any model it asks: which k1 and b would a BM25 have that treats matches as
this head does?

**What is read.** A query token's attention row has three kinds of mass: on document tokens with the same id (tf of
them), on the other document tokens (n - tf of them), and on everything else, which is the sink: [CLS], [SEP] and the
query. The mean attention of a matching token, over that of another document token, is e^beta. The whole sink, over the
attention of one other document token, is e^s:

    beta = ln( match / tf ) - ln( other / (n - tf) )          s = ln( sink ) - ln( other / (n - tf) )

Both are averaged over tokens and documents within a query, then over queries. Solving the equations of the compiled
head for its parameters gives

    b = avgdl / (avgdl + e^s)          k1 = avgdl / (b (e^beta - 1))

**How far to trust it.** BM25's shape assumes that beta and s are the same for every token. `r2` says how well the two
numbers predict the head's real mass on the matches, tf e^beta / (tf e^beta + n - tf + e^s): 1 is perfect, 0 is no
better than the mean mass, and it can be negative. `r2_words` allows each query word its own beta, taken from the
*other* documents of the same query. If r2 is low and r2_words is high, the head has BM25's shape, with a k1 that
differs from word to word. Intervals are bootstrap intervals over queries.

When it misleads: every head gets a k1 and a b, also one that matches nothing. Without a match advantage (beta near 0 or
below) k1 is huge or does not exist (NaN). With a low r2 the two numbers are averages of very different tokens and say
little. And it reads where a head looks, not whether anything downstream uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair, check_pairs
from semanticbm.errors import UserError
from semanticbm.heads import Head, head_name

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class AttentionMasses:
    """Where query tokens look. One row for each query token that its document contains, in each pair.

    `match`, `other`, `sink`: float [head, row], attention on matching tokens, on the rest of the document, on the rest.
    `tf`, `length`: int [row], matching tokens and document tokens. `query`, `token`: int [row], number of the query and
    id of the query token. Chapter 3.
    """

    match: np.ndarray
    other: np.ndarray
    sink: np.ndarray
    tf: np.ndarray
    length: np.ndarray
    query: np.ndarray
    token: np.ndarray

    def beta(self) -> np.ndarray:
        """Logit of a match relative to another document token: float [head, row]."""
        return np.log(self.match / self.tf) - np.log(self.other / (self.length - self.tf))

    def sink_logit(self) -> np.ndarray:
        """Logit of the whole sink relative to one other document token: float [head, row]."""
        return np.log(self.sink) - np.log(self.other / (self.length - self.tf))


@dataclass(frozen=True)
class HeadAsBM25:
    """A head read as BM25. Numbers in threes are (value, low, high), with a 95 % bootstrap interval over queries.

    `r2`: how well the two numbers predict the head's mass on matches. `mean_error`: mean absolute error of that mass.
    `r2_words`: the same with an own beta for each word, from the other documents of the query (NaN without others). Chapter 3.
    """

    head: str
    k1: Interval
    b: Interval
    beta: Interval
    sink: Interval
    r2: float
    mean_error: float
    r2_words: float
    n_queries: int
    n_rows: int


def heads_as_bm25(
    model: CrossEncoder,
    heads: Sequence[Head],
    pairs: Iterable[Pair],
    avgdl: float | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> list[HeadAsBM25]:
    """k1 and b of each head, read off its attention on (query, document) pairs (chapter 3, eq-effective).

    `avgdl`: mean document length of the collection in the model's tokens; default: that of the pairs' documents.
    Raises `UserError` if a head does not exist or if no query token stands in its document.
    """
    pairs = check_pairs(pairs)
    masses, mean_length = attention_masses(model, heads, pairs)
    draws = _bootstrap_draws(int(masses.query.max()) + 1, np.unique(masses.query), n_bootstrap, seed)
    return [_as_bm25(head_name(*head), place, masses, avgdl or mean_length, draws) for place, head in enumerate(heads)]


def bm25_parameters(beta, sink, avgdl: float):
    """(k1, b) of a head with these logits; arrays broadcast. k1 is NaN where a match is not preferred (beta <= 0).

    Chapter 3, eq-effective.
    """
    beta, sink = np.asarray(beta, dtype=float), np.asarray(sink, dtype=float)
    b = avgdl / (avgdl + np.exp(sink))
    with np.errstate(divide="ignore"):
        k1 = np.where(beta > 0, avgdl / (b * np.expm1(np.maximum(beta, 0))), np.nan)
    return k1, b


def predicted_mass(tf, length, beta: float, sink: float):
    """Attention on the matches if a head has only these two logits: tf e^beta / (tf e^beta + length - tf + e^sink).

    Chapter 3, eq-mass.
    """
    match = tf * np.exp(beta)
    return match / (match + (length - tf) + np.exp(sink))


def attention_masses(
    model: CrossEncoder, heads: Sequence[Head], pairs: Sequence[Pair]
) -> tuple[AttentionMasses, float]:
    """Run the pairs once; return the masses of each head and the mean document length in tokens (chapter 3)."""
    for head in heads:
        model.check_head(*head)
    numbers = {query: number for number, query in enumerate(dict.fromkeys(query for query, _ in pairs))}
    rows, lengths = [], []
    for batch, encoding in model.batches(pairs):
        attention = model.attention(encoding)
        lengths += [stop - first for first, stop in encoding.document_spans]
        for place, number in enumerate(batch):
            looks, query = _query_rows(attention, encoding, heads, place), numbers[pairs[number][0]]
            rows.append(_rows_of_pair(encoding, looks, place, query, model.tokenizer.unk_token_id))
    joined = [np.concatenate(parts, axis=-1) for parts in zip(*rows, strict=True)]
    if not joined[-1].size:
        raise UserError(
            "no query token stands in its document: k1 and b can only be read from pairs with shared words."
        )
    return AttentionMasses(*joined), float(np.mean(lengths))


def _query_rows(attention: Tensor, encoding: Encoding, heads: Sequence[Head], place: int) -> np.ndarray:
    """What the query tokens of one pair look at, in the heads asked for: float64 [head, query token, position]."""
    start, stop = encoding.query_spans[place]
    return torch.stack([attention[layer, place, head, start:stop] for layer, head in heads]).double().cpu().numpy()


def _rows_of_pair(encoding: Encoding, attention: np.ndarray, place: int, query: int, unknown: int) -> tuple:
    """The fields of `AttentionMasses` for one pair. attention: float [head, query token, position]."""
    (q_start, q_stop), (d_start, d_stop) = encoding.query_spans[place], encoding.document_spans[place]
    ids = encoding.input_ids[place].cpu().numpy()
    asked, text = ids[q_start:q_stop], ids[d_start:d_stop]
    same = asked[:, None] == text[None, :]
    tf = same.sum(axis=1)
    chosen = (tf > 0) & (tf < len(text)) & (asked != unknown)
    rows = attention[:, chosen]
    on_document = rows[..., d_start:d_stop]
    match = (on_document * same[chosen]).sum(axis=-1)
    other = (on_document * ~same[chosen]).sum(axis=-1)
    sink = rows[..., :d_start].sum(axis=-1) + rows[..., d_stop:].sum(axis=-1)
    n_rows = int(chosen.sum())
    return match, other, sink, tf[chosen], np.full(n_rows, len(text)), np.full(n_rows, query), asked[chosen]


def _bootstrap_draws(n_numbers: int, queries: np.ndarray, n_bootstrap: int, seed: int) -> np.ndarray:
    """How often each query is drawn: int [draw, query number]; the first row draws each query once."""
    picks = np.random.default_rng(seed).choice(queries, size=(n_bootstrap, len(queries)))
    counts = np.stack([np.bincount(pick, minlength=n_numbers) for pick in picks])
    return np.vstack([np.bincount(queries, minlength=n_numbers), counts])


def _as_bm25(name: str, place: int, masses: AttentionMasses, avgdl: float, draws: np.ndarray) -> HeadAsBM25:
    beta, sink = (
        _mean_over_queries(values[place], masses.query, draws) for values in (masses.beta(), masses.sink_logit())
    )
    k1, b = bm25_parameters(beta, sink, avgdl)
    match = masses.match[place]
    predicted = predicted_mass(masses.tf, masses.length, beta[:1], sink[:1])
    own_beta = _beta_in_other_documents(masses.beta()[place], masses.query, masses.token)
    by_word = predicted_mass(masses.tf, masses.length, own_beta, sink[:1])
    return HeadAsBM25(
        name,
        _interval(k1),
        _interval(b),
        _interval(beta),
        _interval(sink),
        _r2(match, predicted),
        float(np.abs(match - predicted).mean()),
        _r2(match, by_word),
        len(np.unique(masses.query)),
        len(masses.tf),
    )


def _r2(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the variance that is predicted, over the rows that have a prediction; NaN if nothing varies."""
    known = ~np.isnan(predicted)
    actual, predicted = actual[known], predicted[known]
    spread = ((actual - actual.mean()) ** 2).sum() if len(actual) else 0.0
    return float(1 - ((actual - predicted) ** 2).sum() / spread) if spread > 0 else float("nan")


def _beta_in_other_documents(beta: np.ndarray, query: np.ndarray, token: np.ndarray) -> np.ndarray:
    """Mean beta of the same query token in the query's other documents: float [row], NaN where there is none."""
    _, group = np.unique(np.stack([query, token]), axis=1, return_inverse=True)
    group = group.ravel()
    total, count = np.bincount(group, weights=beta)[group], np.bincount(group)[group]
    return np.where(count > 1, (total - beta) / np.maximum(count - 1, 1), np.nan)


def _mean_over_queries(values: np.ndarray, query: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Mean of the queries' means, for each draw: float [draw]."""
    counts = np.bincount(query, minlength=draws.shape[1])
    means = np.bincount(query, weights=values, minlength=draws.shape[1]) / np.maximum(counts, 1)
    return draws @ means / draws.sum(axis=1)


def _interval(draws: np.ndarray) -> Interval:
    """Value of the first draw (the sample itself) and the middle 95 % of the others."""
    if np.isnan(draws[1:]).all():
        return float(draws[0]), float("nan"), float("nan")
    low, high = np.nanquantile(draws[1:], [0.025, 0.975])
    return float(draws[0]), float(low), float(high)
