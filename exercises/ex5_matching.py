"""Exercises for chapter 5, "Matching heads": book/05-matching-heads.qmd, #sec-matching.

Replace each `raise NotImplementedError` by your code, then run `semanticbm check`. No exercise needs another one.
"""

import numpy as np


# 5.1  difficulty 2 of 5, 20 minutes, 2 points
def matching_score(attention: np.ndarray, query_span: tuple[int, int], document_span: tuple[int, int]) -> np.ndarray:
    """How much attention each query token sends to the document, for every head.

    Goal: the matching score, from raw attention.

        MS(q_i, d) = sum over document tokens j of A[i, j]

    attention: A, float [layer, head, position (looks), position (looked at)]; each row adds up to 1.
    query_span, document_span: (start, stop) as in slices, without [CLS] and [SEP].
    Returns float [layer, head, query token].
    Worked value: a row [0.1, 0.2, 0.1, 0.3, 0.2, 0.1] with document_span (3, 5) gives 0.5.
    """
    raise NotImplementedError("Exercise 5.1: write matching_score")


# 5.2  difficulty 2 of 5, 15 minutes, 2 points
def mean_curve(curves: list[np.ndarray]) -> np.ndarray:
    """A head's mean response to 0, 1, 2, ... copies of the query word.

    Goal: queries are the unit. Average the documents inside each query first, then the queries.

    curves: for each query a float array [document, number of copies]; queries may have different numbers of documents.
    Returns float [number of copies].
    Worked value: mean_curve([np.array([[0.0, 1.0]]), np.array([[0.0, 0.0], [0.0, 1.0]])]) = [0.0, 0.75].
    """
    raise NotImplementedError("Exercise 5.2: write mean_curve")


# 5.3  difficulty 3 of 5, 20 minutes, 2 points
def same_token_auc(attention: np.ndarray, document_ids: list[int], query_id: int) -> float:
    """The chance that a copy of the query token gets more attention than another document token.

    Goal: a number that is 0.5 for a head without preference and 1 for a perfect matching head.

    attention: of one query token to the document tokens, float [document]. document_ids: their ids. A tie counts one half.
    Returns one number from 0 to 1, or NaN if there are no copies or only copies.
    Worked value: same_token_auc(np.array([0.3, 0.1, 0.2, 0.4]), [7, 5, 7, 6], 7) = 2 of 4 pairs = 0.5.
    """
    raise NotImplementedError("Exercise 5.3: write same_token_auc")


# 5.4  difficulty 2 of 5, 15 minutes, 2 points
def choose_heads(rise: np.ndarray, low: np.ndarray, auc: np.ndarray, min_rise: float, min_auc: float) -> list[str]:
    """The matching heads of a model by a rule that was fixed before looking.

    Goal: a head is chosen if rise >= min_rise, low > 0 and auc >= min_auc; the strongest rise comes first.

    rise: growth of the matching score from 0 to 5 copies. low: lower end of its interval. auc: same-token AUC.
    Three float arrays [layer, head]. Returns names "layer.head", both counted from 0.
    Worked value: rise [[0.1, 0.4]], low [[0.05, 0.3]], auc [[0.99, 0.95]], limits 0.2 and 0.9 give ["0.1"].
    """
    raise NotImplementedError("Exercise 5.4: write choose_heads")


# 5.5  difficulty 2 of 5, 15 minutes, 2 points
def tfc1_pair(document: list[int], term: list[int], filler: int) -> tuple[list[int], list[int]]:
    """A document without and with one more occurrence of a term, of equal length (axiom TFC1).

    Goal: two documents that differ in one thing only. The filler takes the place of the term in the baseline.

    document: token ids. term: ids of the term's pieces, appended in the perturbed document. filler: id of a filler word.
    Returns (baseline, perturbed), two lists of equal length.
    Worked value: tfc1_pair([5, 6], [8], 1) = ([5, 6, 1], [5, 6, 8]).
    """
    raise NotImplementedError("Exercise 5.5: write tfc1_pair")


# 5.6  difficulty 1 of 5, 10 minutes, 1 points
def tdc_pair(document: list[int], words: list[int], idf: list[float]) -> tuple[list[int], list[int]]:
    """A document with the commoner of two query words at its end, and with the rarer one (axiom TDC).

    Goal: a second axiom. Of two documents that differ in one query word, the one with the rarer word should score higher.

    document: token ids. words: ids of two query words. idf: of these words, in the same order; the two values differ.
    Returns (baseline, perturbed): the document with the commoner word appended, and with the rarer one.
    Worked value: tdc_pair([5, 6], [8, 9], [1.0, 4.0]) = ([5, 6, 8], [5, 6, 9]).
    """
    raise NotImplementedError("Exercise 5.6: write tdc_pair")
