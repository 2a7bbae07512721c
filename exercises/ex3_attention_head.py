"""Exercises for chapter 3, "BM25 is an attention head": book/03-bm25-is-an-attention-head.qmd, #sec-compiled.

Replace each `raise NotImplementedError` by your code, then run `semanticbm check`. No exercise needs another one.
"""

import numpy as np


# 3.1  difficulty 1 of 5, 10 minutes, 1 points
def match_share(tf: int, length: int, beta: float, sink: float) -> float:
    """The share of a query token's attention that falls on the copies of its word (@eq-mass).

    Goal: see that a softmax saturates.

        a = tf e^beta / (tf e^beta + (|d| - tf) + e^sink)

    tf: copies in the document. length: |d| in tokens. beta, sink: logits of a copy and of the sink; another word has 0.
    Returns one number from 0 to 1.
    Worked value: match_share(1, 2, 0.0, 0.0) = 1 / (1 + 1 + 1) = 0.3333.
    """
    raise NotImplementedError("Exercise 3.1: write match_share")


# 3.2  difficulty 3 of 5, 20 minutes, 2 points
def logits_for(k1: float, b: float, avgdl: float) -> tuple[float, float]:
    """The logits with which a head computes BM25's TF factor.

    Goal: solve for beta and sink so that for every tf and |d|

        (k1 + 1) (1 - e^-beta) a(tf, |d|) = tf (k1 + 1) / (tf + k1 (1 - b + b |d| / avgdl))

    with a(tf, |d|) of exercise 3.1. The chapter has the result (@eq-logits); derive it once by hand.
    k1 > 0, 0 < b <= 1. At b = 1 the sink is -inf. Returns (beta, sink).
    Worked value: logits_for(1.0, 0.5, 50.0) = (ln 101, ln 50) = (4.6151, 3.9120).
    """
    raise NotImplementedError("Exercise 3.2: write logits_for")


# 3.3  difficulty 2 of 5, 15 minutes, 2 points
def read_k1_b(beta: float, sink: float, avgdl: float) -> tuple[float, float]:
    """The k1 and b that a head with these logits behaves like.

    Goal: turn the two equations of exercise 3.2 around.

    beta: logit of a copy against another document token. sink: logit of the sink against another document token.
    Returns (k1, b).
    Worked value: read_k1_b(ln 101, ln 50, 50.0) = (1.0, 0.5).
    """
    raise NotImplementedError("Exercise 3.3: write read_k1_b")


# 3.4  difficulty 3 of 5, 30 minutes, 4 points
def attention_row(query_id: int, document: list[int], k1: float, b: float, avgdl: float) -> np.ndarray:
    """The attention of one query token in a head that computes BM25 with the given k1 and b.

    Goal: build the head. Give each token its logit, then take the softmax.

    query_id: id of the query token. document: ids of the document tokens. 0 < b < 1.
    Returns float array [1 + document]: first the sink ([CLS]), then the document tokens. It adds up to 1.
    Worked value: attention_row(7, [7, 8], 1.0, 0.5, 2.0) = [0.25, 0.625, 0.125]: weights 2, 5 and 1.
    """
    raise NotImplementedError("Exercise 3.4: write attention_row")


# 3.5  difficulty 3 of 5, 20 minutes, 2 points
def scoring_head(idf: np.ndarray, share: np.ndarray, sink: float) -> float:
    """What [CLS] reads in a head that attends to the query tokens with logits ln(idf).

    Goal: see that attention by IDF adds up IDF times soft TF.

    idf: float array [query], all positive. share: the value at each query token, float array [query].
    sink: logit of a sink with value 0. Returns one number: the sum of attention times value.
    Worked value: scoring_head(np.array([2.0, 1.0]), np.array([0.5, 1.0]), 0.0) = 2 / (3 + 1) = 0.5.
    """
    raise NotImplementedError("Exercise 3.5: write scoring_head")


# 3.6  difficulty 3 of 5, 15 minutes, 2 points
def soft_match(weight: float, beta: float) -> tuple[float, float]:
    """How a synonym counts as a part of an occurrence: its logit, and the weight with which its attention is read.

    Goal: soft matches are a third logit, between that of another word and that of a copy.

        logit = ln(1 + g (e^beta - 1))        read = g e^beta / (1 + g (e^beta - 1))

    weight: g, from 0 (another word) to 1 (a copy). beta: the logit of a copy. Returns (logit, read).
    Worked value: soft_match(0.5, ln 3) = (ln 2, 0.75).
    """
    raise NotImplementedError("Exercise 3.6: write soft_match")
