"""What the heads write: both factors of the score, read inside the model, with nothing fitted.

A matching score says where a head *looks*. What later layers read is what it *writes*: the values of the pieces that it
looked at, mixed by its attention. This module reads that, and asks how much of the score it is.

**What a head writes at a query piece i.** With attention A, values v and the output map W_O of the head,

    z_i  =  sum over pieces j of A[i, j] v_j              written at i:   W_O z_i

**How much of it moves the score?** The slope g_i = dS / dz_i says how the score answers to a small change of z_i (W_O and
all that follows are inside the slope). The number

    written_h(i, d)  =  g . z_i  =  sum over pieces j of A[i, j] (v_j . g)

is the part of the score that head h wrote at piece i, to first order. With `sources="document"` the sum runs over document
pieces only, which is what the document contributed; with "all" over everything that the head saw.

**Two kinds of slopes.** A slope of the document at hand would know its score. So slopes come from elsewhere:

- `match_direction`: *one* vector for each head, the mean slope at query pieces, over queries that are not measured. It
  cannot know how much a term matters, so what is read along it is weighted by the term weight:
  `S ~ sum_i w_i sum_h written_h(i, d)`.
- `leave_one_out`: each query piece's own slope, averaged over the query's *other* documents. It contains the weight of its
  term, so nothing is multiplied: `S ~ sum_i sum_h written_h(i, d)`. On a model where each word has a direction of its own
  (`semanticbm.compiled`) only this kind can work, and there it is exact.

**The term weight w_i** that the model itself uses is the attention of [CLS] to the query piece, mean over the scoring heads
and over documents: a property of the query, not of a document (`term_weights`).

**One step later.** All that was written at piece i before the last layer is in its state x_i there. `match_signals` reads
that state along one direction, the mean slope dS / dx_i: the match signal s_i. Then S ~ sum_i w_i s_i: BM25's form, weight
times match, with both factors read inside the model.

Reading is one traced run over a query's documents (nnsight); slopes need its gradient, too.

When it misleads: a first-order sum over *all* early heads fits almost any network, also one that learned nothing, because
a network is nearly linear over the small differences between documents. So a high correlation alone is no finding. What
is one: that *few* heads, chosen before for matching and relaying, carry it and as many random ones do not, and that cutting
does what the reading says. One direction fits by chance, too: compare with random ones. And the last layers already know
the answer: what is read there is the score on its way out.

Book: chapter 9. Shapes: document, layer, head, piece (of the query), d_head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import nnsight
import numpy as np
import torch
from torch import Tensor

from semanticbm.bert import embeddings, layers, projection, self_attention, z_projection
from semanticbm.cross_encoder import CrossEncoder, Encoding, batch_numbers, progress_bar
from semanticbm.errors import UserError
from semanticbm.heads import Head
from semanticbm.patching import to_numpy

SOURCES = ("document", "all")


@dataclass(frozen=True)
class Reading:
    """One run over the documents of one query.

    `z`: float [document, layer, piece, head, d_head], what each head puts at each query piece. `state`: float
    [document, piece, d_model], the residual stream that enters the last layer. `cls`: float [document, layer, head, piece],
    attention of [CLS] to the query pieces. `score`: float [document], logits. Chapter 9.
    """

    z: np.ndarray
    state: np.ndarray
    cls: np.ndarray
    score: np.ndarray

    def term_weights(self, heads: Iterable[Head] | None = None) -> np.ndarray:
        """w: float [piece], [CLS] attention, mean over `heads` (default: all of the last layer) and documents."""
        chosen = [(self.cls.shape[1] - 1, head) for head in range(self.cls.shape[2])] if heads is None else list(heads)
        return np.mean([self.cls[:, layer, head] for layer, head in chosen], axis=(0, 1))

    def written(self, slopes: np.ndarray) -> np.ndarray:
        """What each head wrote at each query piece along `slopes`: float [document, layer, head, piece], in logits.

        slopes: float [document, layer, piece, head, d_head], axes of length 1 are repeated: `MatchDirection.heads` or the
        result of `leave_one_out`.
        """
        slopes = np.broadcast_to(slopes, self.z.shape)
        return np.einsum("dlphe,dlphe->dlhp", self.z, slopes)

    def match_signals(self, direction: np.ndarray) -> np.ndarray:
        """s: float [document, piece], the state that enters the last layer along `direction` [d_model], in logits."""
        return self.state @ direction


@dataclass(frozen=True)
class Slopes:
    """How the score answers to a small change at the query pieces of one query's documents.

    `heads`: float [document, layer, piece, head, d_head], dS/dz. `state`: float [document, piece, d_model], dS/dx of what
    enters the last layer. Chapter 9.
    """

    heads: np.ndarray
    state: np.ndarray


@dataclass(frozen=True)
class MatchDirection:
    """Mean slopes at query pieces. `heads`: float [1, layer, 1, head, d_head]. `state`: float [d_model] (chapter 9)."""

    heads: np.ndarray
    state: np.ndarray


def read_query(model: CrossEncoder, query: str, documents: Sequence[str], sources: str = "document") -> Reading:
    """Read all documents of a query in one traced run.

    sources: "document" counts only what the heads took from document pieces, "all" everything. `UserError` for texts that
    cannot be scored or an unknown `sources`. Chapter 9.
    """
    if sources not in SOURCES:
        raise UserError(f"sources={sources!r} is unknown: use {' or '.join(SOURCES)}.")
    return read_sources(model, query, documents, [sources])[sources]


def read_sources(
    model: CrossEncoder, query: str, documents: Sequence[str], sources: Sequence[str] = SOURCES
) -> dict[str, Reading]:
    """The reading for each kind of sources, from the same traced run: {sources: Reading} (chapter 9)."""
    return readings_and_slopes(model, query, documents, sources, slopes=False)[0]


@torch.enable_grad()
def readings_and_slopes(
    model: CrossEncoder, query: str, documents: Sequence[str], sources: Sequence[str] = SOURCES, slopes: bool = True
) -> tuple[dict[str, Reading], Slopes | None]:
    """`read_sources` and `query_slopes` from one traced run; None without `slopes` (chapter 9)."""
    encoding = model.encode([(query, document) for document in documents])
    pieces, masks = slice(*encoding.query_spans[0]), [source_mask(encoding, name)[:, None, None] for name in sources]
    with model.traced.trace(**encoding.inputs):
        z, cls, by_layer = nnsight.save([]), nnsight.save([]), nnsight.save([])
        if slopes:
            embeddings(model.traced).output.requires_grad_(True)
        for number, block in enumerate(layers(model.traced)):
            if number == model.n_layers - 1:
                state = block.input.save()
            values = projection(block, "v").output.detach().unflatten(-1, (model.n_heads, -1)).transpose(1, 2)
            pattern = self_attention(block).output[1].detach()
            cls.append(pattern[:, :, 0, pieces].clone())
            by_layer.append([((pattern[:, :, pieces] * mask) @ values).transpose(1, 2) for mask in masks])
            z.append(z_projection(block).input)
        scores = model.traced.output.logits[:, 0].save()
    shared = [to_numpy(value) for value in (state[:, pieces], torch.stack(list(cls), 1), scores)]
    by_source = [to_numpy(torch.stack(kind, 1)) for kind in zip(*by_layer, strict=True)]
    readings = {name: Reading(mixed, *shared) for name, mixed in zip(sources, by_source, strict=True)}
    return readings, _slopes(model, scores, list(z), state, pieces) if slopes else None


def source_mask(encoding: Encoding, sources: str) -> Tensor:
    """1 at the positions that count as sources, else 0: float [batch, position] (chapter 9)."""
    if sources == "all":
        return encoding.attention_mask.float()
    mask = torch.zeros_like(encoding.attention_mask, dtype=torch.float)
    for row, span in enumerate(encoding.document_spans):
        mask[row, slice(*span)] = 1
    return mask


def term_weights(
    model: CrossEncoder, query: str, documents: Sequence[str], heads: Iterable[Head] | None = None
) -> np.ndarray:
    """The weight of each query piece that the model uses, w: float [piece]; see `Reading.term_weights` (chapter 9)."""
    return read_query(model, query, documents).term_weights(heads)


def written(
    model: CrossEncoder, query: str, documents: Sequence[str], slopes: np.ndarray, sources: str = "document"
) -> np.ndarray:
    """What each head writes at each query piece: float [document, layer, head, piece]; see `Reading.written` (chapter 9)."""
    return read_query(model, query, documents, sources).written(slopes)


def match_signals(model: CrossEncoder, query: str, documents: Sequence[str], direction: MatchDirection) -> np.ndarray:
    """The match signal of each query piece before the last layer: float [document, piece] (chapter 9)."""
    return read_query(model, query, documents).match_signals(direction.state)


def query_slopes(model: CrossEncoder, query: str, documents: Sequence[str]) -> Slopes:
    """Slopes of the score at the query pieces, for each document of a query: one traced run and its gradient (chapter 9)."""
    return readings_and_slopes(model, query, documents, [])[1]


def _slopes(model: CrossEncoder, scores: Tensor, z: list[Tensor], state: Tensor, pieces: slice) -> Slopes:
    *by_head, by_state = torch.autograd.grad(scores.sum(), [*z, state])
    heads = torch.stack([slope[:, pieces] for slope in by_head], 1).unflatten(-1, (model.n_heads, -1))
    return Slopes(to_numpy(heads), to_numpy(by_state[:, pieces]))


def by_length(model: CrossEncoder, query: str, documents: Sequence[str], read: Callable):
    """What `read` (such as `query_slopes`) gives for a query's documents, read in batches of like length: as in one batch.

    Less padding and less memory, the same numbers. `read` gives a dataclass of arrays [document, ...]. Chapter 9.
    """
    batches = list(batch_numbers(list(map(len, documents)), model.usual_batch, longest_first=True)) or [[]]
    parts = [read(model, query, [documents[number] for number in numbers]) for numbers in batches]
    arrays = zip(*(vars(part).values() for part in parts), strict=True)
    return type(parts[0])(*(np.concatenate(some)[np.argsort(np.concatenate(batches))] for some in arrays))


def match_direction(model: CrossEncoder, documents_of: Mapping[str, Sequence[str]], label: str = "") -> MatchDirection:
    """The mean slope at query pieces: documents and pieces averaged first, then queries.

    documents_of: {query text: documents}. Take queries that nothing is measured on. With a `label`, a progress bar. Chapter 9.
    """
    heads, state = [], []
    for query, documents in progress_bar(documents_of.items(), label):
        slopes = by_length(model, query, documents, query_slopes)
        heads.append(slopes.heads.mean(axis=(0, 2), keepdims=True))
        state.append(slopes.state.mean(axis=(0, 1)))
    if not heads:
        raise UserError("no query was given: a direction needs at least one.")
    return MatchDirection(np.mean(heads, axis=0), np.mean(state, axis=0))


def leave_one_out(slopes: np.ndarray) -> np.ndarray:
    """For each document the mean slope of the *other* documents: [document, ...] -> [document, ...].

    `UserError` for fewer than two documents. Chapter 9.
    """
    n = len(slopes)
    if n < 2:
        raise UserError("the mean slope of the other documents needs at least two documents.")
    return (slopes.sum(axis=0, keepdims=True) - slopes) / (n - 1)


def add_up(written_at: np.ndarray, heads: Iterable[Head], weights: np.ndarray | None = None) -> np.ndarray:
    """Add what `heads` wrote over heads and query pieces: float [document], in logits.

    written_at: float [document, layer, head, piece]. weights: float [piece], the term weights w, for slopes that do not
    know their term (`match_direction`); None for slopes that do (`leave_one_out`). Chapter 9.
    """
    total = sum(written_at[:, layer, head] for layer, head in heads)
    return (total if weights is None else total * weights).sum(axis=-1)
