"""Exercises for chapter 2, the cross-encoder: book/02-cross-encoder.qmd, #sec-cross-encoder.

Replace each `raise NotImplementedError` by your code, then run `semanticbm check`. No exercise needs another one.
"""

from __future__ import annotations

import numpy as np
import torch


# 2.1  difficulty 1 of 5, 10 minutes, 1 points
def pair_ids(query: list[int], document: list[int], cls_id: int, sep_id: int) -> tuple[list[int], list[int]]:
    """The sequence [CLS] query [SEP] document [SEP], and which text each token belongs to.

    Goal: join query and document to the one sequence that a cross-encoder reads.

    query, document: token ids. Returns (input_ids, token_type_ids), two lists of equal length.
    Type 0: [CLS], the query and its [SEP]. Type 1: the document and the last [SEP].
    Worked value: pair_ids([7], [8, 9], 101, 102) = ([101, 7, 102, 8, 9, 102], [0, 0, 0, 1, 1, 1]).
    """
    raise NotImplementedError("Exercise 2.1: write pair_ids")


# 2.2  difficulty 2 of 5, 10 minutes, 1 points
def spans(input_ids: list[int], sep_id: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the two texts are in a sequence.

    Goal: find query and document in a sequence of token ids, perhaps with padding at the end.

    input_ids: [CLS] query [SEP] document [SEP], then perhaps padding.
    Returns ((start, stop) of the query, (start, stop) of the document), as in Python's slices: without [CLS] and [SEP].
    Worked value: spans([101, 7, 102, 8, 9, 102], 102) = ((1, 2), (3, 5)).
    """
    raise NotImplementedError("Exercise 2.2: write spans")


# 2.3  difficulty 2 of 5, 10 minutes, 1 points
def pad_batch(rows: list[list[int]], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of different length as one rectangle, and a mask of the real tokens.

    Goal: put sequences of different length into one batch.

    rows: token ids of each sequence. Returns (input_ids, attention_mask), int arrays [batch, position];
    position runs to the longest row. Padding stands on the right; the mask is 1 at real tokens and 0 at padding.
    Worked value: pad_batch([[5], [6, 7]], 0) = ([[5, 0], [6, 7]], [[1, 0], [1, 1]]).
    """
    raise NotImplementedError("Exercise 2.3: write pad_batch")


# 2.4  difficulty 2 of 5, 20 minutes, 2 points
def score_by_hand(hf, hidden: torch.Tensor) -> torch.Tensor:
    """The score of each pair from the last layer's vectors.

    Goal: see that only [CLS] is read: a linear map, tanh, another linear map.

        score = classifier(tanh(pooler(h)))    h: the vector at position 0

    hf: a Hugging Face BertForSequenceClassification; the maps are hf.bert.pooler.dense and hf.classifier.
    hidden: float [batch, position, d_model]. Returns the raw logits, float [batch].
    Worked value: if both maps were the identity on one number, a [CLS] vector of 0.5 would give tanh(0.5) = 0.4621.
    """
    raise NotImplementedError("Exercise 2.4: write score_by_hand")
