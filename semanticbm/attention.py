"""Attention patterns: which token of a pair looks at which, in every head.

A head's *pattern* on a pair is a square of numbers A[i, j]: row i is the piece that looks, column j the piece that is
looked at, and each row adds up to 1, because it comes out of a softmax. This module runs the model and cuts the patterns
to the pieces of each pair, with the places of query and document (`PairAttention`), and has the three ways to read them
that later chapters need: the attention mass on the document, the rows of a query word, the row of [CLS].

When it misleads: attention is where a head *looks*. What it takes from there, and whether anything later reads it, is
not in the pattern; `semanticbm.path_patching` asks that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from semanticbm.cross_encoder import CrossEncoder, Pair


@dataclass(frozen=True)
class PairAttention:
    """The attention of all heads on one pair.

    `weights`: float [layer, head, position (attends), position (attended)], padding cut off. `ids`: int [position].
    `query`, `document`: slices of the positions of the pieces, without [CLS] and [SEP]. `word_ids`: word of each
    position in its own text. `score`: the model's score of the pair. Chapter 5.
    """

    weights: np.ndarray
    ids: np.ndarray
    query: slice
    document: slice
    word_ids: list[int | None]
    score: float


@torch.no_grad()
def attention_patterns(
    model: CrossEncoder, pairs: Sequence[Pair], batch_size: int | None = None, label: str = ""
) -> Iterator[PairAttention]:
    """Attention of each pair, in order, from one forward pass a batch. With a `label`, a progress bar (chapter 5)."""
    for _, encoding in model.batches(pairs, batch_size, label):
        output = model.hf(**encoding.inputs, output_attentions=True)
        patterns = torch.stack(output.attentions, dim=1).cpu().numpy()  # [batch, layer, head, query, key]
        for row, length in enumerate(encoding.lengths.tolist()):
            yield PairAttention(
                patterns[row, :, :, :length, :length],
                encoding.input_ids[row, :length].cpu().numpy(),
                slice(*encoding.query_spans[row]),
                slice(*encoding.document_spans[row]),
                encoding.word_ids[row][:length],
                float(output.logits[row, 0]),
            )


def mass_on_document(pattern: PairAttention) -> np.ndarray:
    """MS of one pair: float [layer, head, query piece] (chapter 5, eq-matching-score)."""
    return pattern.weights[:, :, pattern.query, pattern.document].sum(axis=-1)


def rows_of_word(pattern: PairAttention, query_words: Sequence[str], word: str) -> np.ndarray:
    """Positions of the pieces of a query word (at all its places in the query): int [piece] (chapter 5)."""
    positions = range(pattern.query.start, pattern.query.stop)
    rows = [position for position in positions if query_words[pattern.word_ids[position]] == word]
    return np.array(rows, dtype=int)


@dataclass(frozen=True)
class ClsAttention:
    """What [CLS] looks at on one pair, in all heads.

    `to_query`: float [layer, head, query piece]. `on_query`, `on_document`: float [layer, head], the sums over the
    pieces of each text; what is missing to 1 goes to [CLS] and [SEP]. `word_ids`: int [query piece], the query word. Chapter 5.
    """

    to_query: np.ndarray
    on_query: np.ndarray
    on_document: np.ndarray
    word_ids: np.ndarray


def cls_row(pattern: PairAttention) -> ClsAttention:
    """The row of [CLS] in each head, cut to the texts (chapter 7)."""
    row = pattern.weights[:, :, 0]
    to_query = row[:, :, pattern.query].copy()  # a copy, so that the whole pattern can be forgotten
    return ClsAttention(
        to_query,
        to_query.sum(axis=-1),
        row[:, :, pattern.document].sum(axis=-1),
        np.array(pattern.word_ids[pattern.query]),
    )
