"""Exercises for chapter 9, What the heads write: book/09-what-the-heads-write.qmd, #sec-written.

Replace each `raise NotImplementedError` by your code, then run `semanticbm check`. No exercise needs another one.
"""

import numpy as np


# 9.1  difficulty 2 of 5, 15 minutes, 2 points
def written(attention: np.ndarray, values: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """What a head writes at each query piece, in logits.

    Goal: from where a head looks to what it tells the later layers.

        written(i) = sum over document pieces j of A_ij (v_j . slope)

    attention: from query pieces to document pieces, float [query piece, document piece]; the rest of each row goes elsewhere.
    values: the head's values at the document pieces, float [document piece, d_head]. slope: dS/dz, float [d_head].
    Returns float [query piece].
    Worked value: written(np.array([[0.5, 0.1]]), np.array([[2.0, 0.0], [1.0, -1.0]]), np.array([1.0, 3.0])) = [0.8].
    """
    raise NotImplementedError("Exercise 9.1: write written")


# 9.2  difficulty 1 of 5, 10 minutes, 1 points
def term_weights(cls_attention: np.ndarray, heads: list[int]) -> np.ndarray:
    """The term weight that the model uses: attention of [CLS] to each query piece, in the scoring heads.

    Goal: a weight of the query, as IDF is one: averaged over the documents, so that it knows none of them.

    cls_attention: float [document, head, query piece], of one layer. heads: which heads score, by number.
    Returns float [query piece], the mean over documents and over the chosen heads.
    Worked value: term_weights(np.array([[[0.2], [0.9]], [[0.4], [0.9]]]), [0]) = [0.3].
    """
    raise NotImplementedError("Exercise 9.2: write term_weights")


# 9.3  difficulty 2 of 5, 10 minutes, 1 points
def leave_one_out(slopes: np.ndarray) -> np.ndarray:
    """For each document the mean slope of the query's other documents.

    Goal: a slope of the document at hand would know its score. So it must not count.

    slopes: float [document, piece, d_head], at least two documents. Returns the same shape.
    Worked value: slopes of three documents [[[3.0]], [[5.0]], [[10.0]]] give [[[7.5]], [[6.5]], [[4.0]]].
    """
    raise NotImplementedError("Exercise 9.3: write leave_one_out")


# 9.4  difficulty 3 of 5, 15 minutes, 2 points
def own_share(signals: np.ndarray) -> float:
    """How much of the match signals is each piece's own, and not common to all pieces of the query.

    Goal: BM25 adds terms that know nothing of each other. Does the model?

    Take each piece's mean over documents off. What is common in a document is then the mean over its pieces.

        1 - (mean of common^2 over documents) / (mean of signal^2 over documents and pieces)

    signals: float [document, query piece], at least two pieces. Returns a number from 0 to 1.
    Worked value: own_share(np.array([[1.0, 1.0], [-1.0, -1.0]])) = 0.0: both pieces say the same.
    """
    raise NotImplementedError("Exercise 9.4: write own_share")
