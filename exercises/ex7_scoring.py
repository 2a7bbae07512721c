"""Exercises for chapter 7, "Relaying and scoring": book/07-relaying-and-scoring.qmd, #sec-scoring.

Replace each `raise NotImplementedError` by your code, then run `semanticbm check`. No exercise needs another one.
"""

import numpy as np


# 7.1  difficulty 2 of 5, 15 minutes, 2 points
def cls_attention(attention: np.ndarray, words: list[list[int]]) -> np.ndarray:
    """How much [CLS] attends to each word of the query, in each head.

    Goal: from positions of pieces to words. The paper takes the mean over the pieces of a word.

    attention: of one layer, float [head, position (looks), position (looked at)]; [CLS] stands at position 0.
    words: for each word the positions of its pieces. Returns float [head, word].
    Worked value: a [CLS] row [0.5, 0.1, 0.3, 0.1] and words [[1, 2], [3]] give [0.2, 0.1].
    """
    raise NotImplementedError("Exercise 7.1: write cls_attention")


# 7.2  difficulty 2 of 5, 15 minutes, 2 points
def attention_by_idf(attention: list[np.ndarray], idf: list[np.ndarray]) -> float:
    """Mean over queries of the Spearman correlation between [CLS] attention and IDF inside the query.

    Goal: compare words of the same query only, and know when a correlation says nothing.

    attention, idf: for each query a float array [word]. Queries of fewer than three words are left out.
    Equal values share the mean of their ranks. Where one side is the same for all words there is no correlation: leave
    such a query out, or let the result be NaN.
    Returns one number from -1 to 1.
    Worked value: attention [[0.1, 0.2, 0.3]] and idf [[1.0, 5.0, 9.0]] give 1.0.
    """
    raise NotImplementedError("Exercise 7.2: write attention_by_idf")


# 7.3  difficulty 3 of 5, 20 minutes, 2 points
def head_contribution(z: np.ndarray, weight: np.ndarray, head: int, n_heads: int) -> np.ndarray:
    """What one head adds to the residual stream, before the bias.

    Goal: W_O mixes the heads, so a head is its columns of z times its columns of the weight.

    z: float [position, head * d_head], the heads side by side.
    weight: of the linear layer W_O, float [d_model, head * d_head]; the layer computes z @ weight.T + bias.
    Returns float [position, d_model]. Summed over the heads it is z @ weight.T.
    Worked value: z [[1, 2]], weight [[3, 4], [5, 6]] and two heads: head 0 writes [[3, 5]], head 1 writes [[8, 12]].
    """
    raise NotImplementedError("Exercise 7.3: write head_contribution")


# 7.4  difficulty 3 of 5, 20 minutes, 2 points
def cut_document(logits: np.ndarray, document_span: tuple[int, int]) -> np.ndarray:
    """Attention of heads in which [CLS] cannot look at the document; all other positions look as before.

    Goal: test whether the score needs a direct look from [CLS] into the document.

    logits: attention before the softmax, float [head, position (looks), position (looked at)]; [CLS] at position 0.
    document_span: (start, stop), without [SEP]. Returns attention after the softmax, the same shape; each row adds up to 1.
    Worked value: a [CLS] row of logits [0, 0, 0, 0] with document_span (2, 3) becomes [1/3, 1/3, 0, 1/3].
    """
    raise NotImplementedError("Exercise 7.4: write cut_document")
