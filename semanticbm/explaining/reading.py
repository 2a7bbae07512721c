"""What an explanation reads of a pair: one forward pass for the pair, and slopes from a document that says nothing.

Chapter 9 takes slopes from the query's other documents. A single pair has none. So the slopes here come from the query beside
a *filler document*: about as long as the document at hand, and nothing but one word that is not in the query, such as "a".
Such a slope cannot know the score of the document at hand, and the score of the filler document is a zero to count from:

    share of query piece i  =  g_i . (x_i(d) - x_i(fillers))

with x_i the state of the piece that enters the last layer, and g_i = dS / dx_i beside the fillers. Where each document piece
earned something is read one step earlier, from what the matching heads write there: A[i, j] (v_j . dS / dz_i).

Filler documents have one of a few lengths (`LENGTHS`, a factor of 1.41 apart), so that the documents of a query share them.

When it misleads: the slope is exact for small changes, and a real document is a large one. What is lost so is not hidden: it
is the *unexplained* part of `semanticbm.explaining.explanation`.

Shapes: batch, layer, head, piece (of the query), position (of the document), d_head.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import nnsight
import numpy as np
import torch
from torch import Tensor

from semanticbm.bert import embeddings, layers, projection, self_attention, z_projection
from semanticbm.collection import words
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair, progress_bar
from semanticbm.diagnostics import Settings
from semanticbm.errors import UserError
from semanticbm.heads import Head
from semanticbm.one_pass import end_at_cls
from semanticbm.patching import to_numpy

LENGTHS = tuple(round(8 * 2 ** (step / 2)) for step in range(12))  # pieces: 8, 11, 16, 23 ... 362
BATCH = 8  # pairs that run together
CHUNK = 64  # pairs whose readings are held together


@dataclass(frozen=True)
class PairReading:
    """One forward pass over one pair.

    `score`: the logit. `state`: float [piece, d_model], what enters the last layer at the query pieces. `pattern`: float
    [head, piece, position], attention to the document in the heads that were asked for. `values`: float [head, position,
    d_head], their values. `pieces`: the document pieces as text. `truncated`: the end of the document did not fit.
    """

    score: float
    state: np.ndarray
    pattern: np.ndarray
    values: np.ndarray
    pieces: list[str]
    truncated: bool


@dataclass(frozen=True)
class QueryReading:
    """A query beside fillers: the zero and the slopes of an explanation.

    `score`: the logit of the filler document. `state`, `slope`: float [piece, d_model], what enters the last layer at the
    query pieces, and dS/d(state). `head_slopes`: float [head, piece, d_head], dS/dz of the heads that were asked for.
    `weights`: float [piece], [CLS] attention in the last layer, mean over heads, as share of what goes to the query.
    """

    score: float
    state: np.ndarray
    slope: np.ndarray
    head_slopes: np.ndarray
    weights: np.ndarray


def filler_for(query: str) -> str:
    """The first filler word, or else letter, that is not in the query."""
    taken = set(words(query))
    free = (word for word in (*Settings().fillers, *string.ascii_lowercase) if word not in taken)
    found = next(free, None)
    if found is None:
        raise UserError("the query uses every filler word and every letter: shorten it.")
    return found


def filler_pair(query: str, n_pieces: int) -> Pair:
    """The query and its filler document for documents of `n_pieces` pieces."""
    length = min(LENGTHS, key=lambda length: abs(np.log(length / n_pieces)))
    return query, " ".join([filler_for(query)] * length)


def read_fillers(model: CrossEncoder, pairs: Iterable[Pair], heads: Sequence[Head]) -> dict[Pair, QueryReading]:
    """Read filler pairs, each once: {pair: reading}; `UserError` for a query that cannot be scored."""
    different, found = list(dict.fromkeys(pairs)), {}
    for numbers, encoding in model.batches(different, BATCH, longest_first=True):
        rows = _read_slopes(model, encoding, heads)
        found |= {different[number]: row for number, row in zip(numbers, rows, strict=True)}
    return found


@dataclass(frozen=True)
class _Trace:
    """What a trace of a batch leaves behind: float [batch, ...]; for each layer that was asked for z, patterns, values."""

    scores: Tensor
    state: Tensor
    cls: Tensor
    z: dict[int, Tensor]
    pattern: dict[int, Tensor]
    values: dict[int, Tensor]


def _trace(model: CrossEncoder, encoding: Encoding, below: Sequence[int]) -> _Trace:
    """One nnsight trace; its last layer is skipped for [CLS] alone. Where gradients are on, they reach back to the start."""
    traced, last = model.traced, layers(model.traced)[-1]
    with traced.trace(**encoding.inputs):
        z, pattern, values = nnsight.save({}), nnsight.save({}), nnsight.save({})
        if torch.is_grad_enabled():
            embeddings(traced).output.requires_grad_(True)
        for layer in below:
            values[layer] = projection(layers(traced)[layer], "v").output.unflatten(-1, (model.n_heads, -1))
            pattern[layer] = self_attention(layers(traced)[layer]).output[1]
            z[layer] = z_projection(layers(traced)[layer]).input
        state = last.input.save()
        cls = end_at_cls(model, encoding.visible).save()
        scores = traced.output.logits[:, 0].save()
    return _Trace(scores, state, cls, z, pattern, values)


@torch.enable_grad()
def _read_slopes(model: CrossEncoder, encoding: Encoding, heads: Sequence[Head]) -> list[QueryReading]:
    below = sorted({layer for layer, _ in heads})
    found = _trace(model, encoding, below)
    *by_layer, slope = torch.autograd.grad(found.scores.sum(), [*(found.z[layer] for layer in below), found.state])
    by_head = {layer: z.unflatten(-1, (model.n_heads, -1)) for layer, z in zip(below, by_layer, strict=True)}
    chosen = torch.stack([by_head[layer][:, :, head] for layer, head in heads], 1)
    arrays = [to_numpy(value) for value in (found.scores, found.state, slope, chosen, found.cls[:, :, 0].mean(dim=1))]
    spans = [slice(*span) for span in encoding.query_spans]
    return [_cut_query(span, *(array[row] for array in arrays)) for row, span in enumerate(spans)]


def _cut_query(query: slice, score, state, slope, head_slopes, cls) -> QueryReading:
    weights = cls[query]
    return QueryReading(float(score), state[query], slope[query], head_slopes[:, query], weights / weights.sum())


@torch.no_grad()
def _read_batch(model: CrossEncoder, encoding: Encoding, heads: Sequence[Head]) -> list[PairReading]:
    found = _trace(model, encoding, sorted({layer for layer, _ in heads}))
    patterns = torch.stack([found.pattern[layer][:, head] for layer, head in heads], 1)
    values = torch.stack([found.values[layer][:, :, head] for layer, head in heads], 1)
    arrays = [to_numpy(value) for value in (found.scores, found.state, patterns, values)]
    return [_cut(model, encoding, row, *(array[row] for array in arrays)) for row in range(len(encoding))]


def _cut(model: CrossEncoder, encoding: Encoding, row: int, score, state, pattern, values) -> PairReading:
    """One pair of a batch, cut to the places of its texts."""
    query, document = slice(*encoding.query_spans[row]), slice(*encoding.document_spans[row])
    pieces, cut = model.tokens(encoding, row)[document], row in encoding.truncated
    return PairReading(float(score), state[query], pattern[:, query, document], values[:, document], pieces, cut)


def read_pairs(model: CrossEncoder, pairs: Sequence[Pair], heads: Sequence[Head]) -> list[PairReading]:
    """Read pairs, those of like length together; `UserError` for texts that cannot be scored."""
    found: dict[int, PairReading] = {}
    for numbers, encoding in model.batches(pairs, BATCH, longest_first=True):
        found |= dict(zip(numbers, _read_batch(model, encoding, heads), strict=True))
    return [found[number] for number in range(len(pairs))]


def read_beside_fillers(
    model: CrossEncoder, pairs: Sequence[Pair], heads: Sequence[Head], label: str = ""
) -> Iterator[tuple[Pair, PairReading, QueryReading]]:
    """Each pair with its own reading and that of its filler pair, in order; with a `label`, a progress bar."""
    for start in progress_bar(range(0, len(pairs), CHUNK), label):
        chunk = list(pairs[start : start + CHUNK])
        readings = read_pairs(model, chunk, heads)
        beside = [filler_pair(pair[0], len(row.pieces)) for pair, row in zip(chunk, readings, strict=True)]
        zeros = read_fillers(model, beside, heads)
        for pair, reading, fillers in zip(chunk, readings, beside, strict=True):
            yield pair, reading, zeros[fillers]


def shares_of_pieces(reading: PairReading, zero: QueryReading) -> np.ndarray:
    """What the document brought in at each query piece, against fillers: float [piece], logits."""
    return ((reading.state - zero.state) * zero.slope).sum(axis=-1)


def earned_by_positions(reading: PairReading, zero: QueryReading) -> np.ndarray:
    """What the heads took from each document piece for each query piece: float [piece, position], logits to first order."""
    return np.einsum("hij,hje,hie->ij", reading.pattern, reading.values, zero.head_slopes)


def unexplained_part(reading: PairReading, zero: QueryReading) -> float:
    """The score without what fillers get and without the shares, logits."""
    return reading.score - zero.score - float(shares_of_pieces(reading, zero).sum())
