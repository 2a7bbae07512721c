"""Readings of a score, side by side: what predicts it over the documents of a query, and what would anyway.

A *reading* is one number for each (query, document) pair, computed from something inside or outside the model. Here all
readings of chapter 9 are computed on the same pairs, so that they can be compared: matching scores under different term
weights, what chosen heads write, match signals, and the controls that decide what these mean.

Nothing here is fitted on the pairs that are measured: directions come from other queries, slopes from the query's other
documents, ridge weights from other queries (`semantic_bm.cross_predict`).

When it misleads: readings that use more heads or later layers come closer to the score because they are closer to it.
Compare like with like: the same layers, the same number of heads, the same kind of slope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from semanticbm.bert import word_embeddings
from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder, progress_bar
from semanticbm.evaluation import bootstrap_median, pearson
from semanticbm.heads import Head
from semanticbm.written import (
    MatchDirection,
    Reading,
    add_up,
    by_length,
    leave_one_out,
    match_direction,
    readings_and_slopes,
)

Run = Mapping[str, Sequence[str]]  # {query id: document ids}


@dataclass(frozen=True)
class QueryReadings:
    """Everything read on the documents of one query; shapes as in `semanticbm.written`.

    `fixed`, `fixed_all`: written along the fixed direction, from document pieces and from all. `own`, `own_all`: the same
    along the query's own slopes. `weights`: float [piece], w. `state`: float [document, piece, d_model]. `signals`: float
    [document, piece]. `gradient_times_input`: {name: float [document]}. `score`: float [document].
    """

    fixed: np.ndarray
    fixed_all: np.ndarray
    own: np.ndarray
    own_all: np.ndarray
    weights: np.ndarray
    state: np.ndarray
    signals: np.ndarray
    ids: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Readings:
    """The readings of all measured queries of one model: {query id: QueryReadings}, and the direction that they used."""

    model: CrossEncoder
    direction: MatchDirection
    of: dict[str, QueryReadings]

    def correlations(self, reading: Callable[[QueryReadings], np.ndarray]) -> dict[str, float]:
        """{query id: Pearson of a reading with the score over the query's documents}."""
        return {query: pearson(reading(row), row.score) for query, row in self.of.items()}

    def pairs(self, reading: Callable[[QueryReadings], np.ndarray]) -> np.ndarray:
        """A reading of all pairs, query after query: float [pair]."""
        return np.concatenate([reading(row) for row in self.of.values()])


def texts_of(collection: Collection, run: Run) -> dict[str, list[str]]:
    """{query text: document texts} of a run."""
    return {
        collection.queries[query]: [collection.documents[document] for document in documents]
        for query, documents in run.items()
    }


def read_all(model: CrossEncoder, collection: Collection, choose: Run, measure: Run, label: str = "") -> Readings:
    """Read a model on the pairs of `measure`; directions from the pairs of `choose`. With a `label`, a progress bar."""
    direction = match_direction(model, texts_of(collection, choose), f"{label}, direction" if label else "")
    return read_along(model, collection, direction, measure, label)


def read_along(
    model: CrossEncoder, collection: Collection, direction: MatchDirection, measure: Run, label: str = ""
) -> Readings:
    """Read a model on the pairs of `measure` along a direction that is known."""
    queries = progress_bar(measure.items(), label)
    return Readings(
        model, direction, {query: _read(model, collection, direction, query, ids) for query, ids in queries}
    )


@dataclass(frozen=True)
class _Some:
    """One traced run over some documents of a query, with its gradient; arrays [document, ...] as in `Reading`."""

    z: np.ndarray
    z_all: np.ndarray
    state: np.ndarray
    cls: np.ndarray
    score: np.ndarray
    slopes: np.ndarray


def _read_some(model: CrossEncoder, query: str, documents: Sequence[str]) -> _Some:
    readings, slopes = readings_and_slopes(model, query, documents)
    near, wide = readings.values()
    return _Some(near.z, wide.z, near.state, near.cls, near.score, slopes.heads)


def _read(
    model: CrossEncoder, collection: Collection, direction: MatchDirection, query: str, document_ids: Sequence[str]
) -> QueryReadings:
    text, documents = collection.queries[query], [collection.documents[document] for document in document_ids]
    of = by_length(model, text, documents, _read_some)
    slopes = leave_one_out(of.slopes)
    from_document, from_all = (Reading(z, of.state, of.cls, of.score) for z in (of.z, of.z_all))
    encoding = model.encode([(text, documents[0])])
    return QueryReadings(
        from_document.written(direction.heads),
        from_all.written(direction.heads),
        from_document.written(slopes),
        from_all.written(slopes),
        from_document.term_weights(),
        from_document.state.astype(np.float32),
        from_document.match_signals(direction.state),
        encoding.input_ids[0, slice(*encoding.query_spans[0])].cpu().numpy(),
        from_document.score,
    )


# --------------------------------------------------------------------------------------------------------------------
# The readings


def written_fixed(heads: Iterable[Head], sources: str = "document") -> Callable[[QueryReadings], np.ndarray]:
    """What `heads` wrote along the fixed direction, weighted by w and added; nothing fitted."""
    chosen, name = list(heads), "fixed" if sources == "document" else "fixed_all"
    return lambda row: add_up(getattr(row, name), chosen, row.weights)


def written_own(heads: Iterable[Head], sources: str = "document") -> Callable[[QueryReadings], np.ndarray]:
    """What `heads` wrote along each piece's own slope, added; nothing fitted, no weight needed."""
    chosen, name = list(heads), "own" if sources == "document" else "own_all"
    return lambda row: add_up(getattr(row, name), chosen)


def weight_times_signal(row: QueryReadings) -> np.ndarray:
    """Sum over pieces of w times match signal: float [document]."""
    return row.signals @ row.weights


def signals_alone(row: QueryReadings) -> np.ndarray:
    """Sum over pieces of the match signals, unweighted: float [document]."""
    return row.signals.sum(axis=-1)


def along(direction: np.ndarray) -> Callable[[QueryReadings], np.ndarray]:
    """`weight_times_signal` along another direction [d_model]."""
    return lambda row: row.state @ direction @ row.weights


def early_heads(model: CrossEncoder) -> list[Head]:
    """All heads below the last layer."""
    return [(layer, head) for layer in range(model.n_layers - 1) for head in range(model.n_heads)]


def layerwise_draws(
    found: Sequence[Head], excluded: Iterable[Head], n_heads: int, n: int = 20, seed: int = 0
) -> list[list[Head]]:
    """`n` draws of other heads: in each layer as many as were found there, none of `excluded`, never from other layers.

    Where a layer has fewer others than wanted, all of them are taken; where no layer has any, there is no draw.
    """
    rng, taken = np.random.default_rng(seed), {*found, *excluded}
    layers = sorted({layer for layer, _ in found})
    others = {layer: [head for head in range(n_heads) if (layer, head) not in taken] for layer in layers}
    wanted = {layer: min(sum(own == layer for own, _ in found), len(others[layer])) for layer in layers}
    if not any(wanted.values()):
        return []
    return [
        [(layer, int(head)) for layer in layers for head in rng.choice(others[layer], wanted[layer], replace=False)]
        for _ in range(n)
    ]


def random_directions(width: int, n: int = 40, seed: int = 0) -> np.ndarray:
    """`n` isotropic random unit vectors: float [n, width]."""
    drawn = np.random.default_rng(seed).normal(size=(n, width))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def deal_again(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights dealt to other pieces of the same query: a random order that is not the given one, if there is another."""
    for _ in range(20):
        order = rng.permutation(len(weights))
        if len(weights) < 2 or not np.array_equal(order, np.arange(len(weights))):
            break
    return weights[order]


def soft_match_embeddings(model: CrossEncoder, readings: Readings, collection: Collection, measure: Run) -> np.ndarray:
    """A reading without attention: sum over pieces of w times the best cosine of its word vector with a document piece's.

    float [pair].
    """
    matrix = torch.nn.functional.normalize(word_embeddings(model.hf).weight.detach().cpu(), dim=-1).numpy()
    values = []
    for query, documents in measure.items():
        row = readings.of[query]
        for document in documents:
            ids = model.tokenizer(collection.documents[document], add_special_tokens=False)["input_ids"]
            values.append(float((matrix[row.ids] @ matrix[ids].T).max(axis=1) @ row.weights))
    return np.array(values)


# --------------------------------------------------------------------------------------------------------------------
# First-order attribution that knows no circuit


@torch.enable_grad()
def gradient_times_input(model: CrossEncoder, query: str, documents: Sequence[str]) -> dict[str, np.ndarray]:
    """Gradient times state at the input of each layer, summed over query or over document pieces.

    {"layer 0, query": float [document], ...}; layer 0 is the embedding.
    """
    import nnsight

    from semanticbm.bert import embeddings, layers

    encoding = model.encode([(query, document) for document in documents])
    with model.traced.trace(**encoding.inputs):
        embeddings(model.traced).output.requires_grad_(True)
        states = nnsight.save([])
        for block in layers(model.traced):
            states.append(block.input)
        scores = model.traced.output.logits[:, 0].save()
    products = [
        (state * slope).sum(-1).detach().cpu().numpy()
        for state, slope in zip(states, torch.autograd.grad(scores.sum(), list(states)), strict=True)
    ]
    found = {}
    for layer, product in enumerate(products):
        for side, spans in (("query", encoding.query_spans), ("document", encoding.document_spans)):
            sums = [product[row, slice(*span)].sum() for row, span in enumerate(spans)]
            found[f"layer {layer}, {side}"] = np.array(sums, dtype=float)
    return found


def summary(correlations: Mapping[str, float], seed: int = 0) -> dict:
    """Median over queries with its interval, JSON-ready."""
    known = [value for value in correlations.values() if np.isfinite(value)]
    if not known:
        return {"median": None, "low": None, "high": None, "n": 0}
    return dict(zip(("median", "low", "high"), bootstrap_median(known, seed=seed), strict=True)) | {"n": len(known)}
