"""Exercises for chapter 1, "BM25: three ideas and one sum": book/01-bm25.qmd, #sec-bm25.

Replace each `raise NotImplementedError` by your code, then run `semanticbm check`. No exercise needs another one.
"""

import numpy as np


# 1.1  difficulty 1 of 5, 5 minutes, 1 points
def idf(n_documents: int, document_frequency: int) -> float:
    """Lucene's IDF of a word that is in n of N documents (@eq-idf).

    Goal: rare words weigh more, and no word weighs less than 0.

        idf = ln(1 + (N - n + 0.5) / (n + 0.5))

    n_documents: N. document_frequency: n. Returns one number.
    Worked value: idf(10, 5) = ln 2 = 0.6931.
    """
    raise NotImplementedError("Exercise 1.1: write idf")


# 1.2  difficulty 2 of 5, 10 minutes, 1 points
def mended_idf(document_frequencies: np.ndarray, n_documents: int, epsilon: float = 0.25) -> np.ndarray:
    """Robertson's IDF of each word of a vocabulary, with rank-bm25's mending of negative values.

    Goal: know the trap. A word in more than half of the documents gets a negative IDF.

        raw = ln((N - n + 0.5) / (n + 0.5))
        mended = raw where raw >= 0, else epsilon * (mean of raw over the whole vocabulary)

    document_frequencies: n of each word, int array [word]. Returns float array [word].
    Worked value: mended_idf(np.array([1, 3]), 4) = [0.8473, 0.0]: the second is -0.8473, the mean of both is 0.
    """
    raise NotImplementedError("Exercise 1.2: write mended_idf")


# 1.3  difficulty 1 of 5, 10 minutes, 1 points
def tf_factor(tf: float, length: float, avgdl: float, k1: float = 1.2, b: float = 0.75) -> float:
    """BM25's TF factor (@eq-tf-factor).

    Goal: saturation and length normalisation in one line.

        factor = tf (k1 + 1) / (tf + k1 (1 - b + b |d| / avgdl))

    tf: occurrences of the word. length: |d| in words. avgdl: mean length. Returns one number.
    Worked value: tf_factor(1, 80, 80) = 2.2 / 2.2 = 1.0.
    """
    raise NotImplementedError("Exercise 1.3: write tf_factor")


# 1.4  difficulty 2 of 5, 20 minutes, 2 points
def bm25(query: list[str], documents: list[list[str]], idf: dict[str, float], k1: float, b: float) -> np.ndarray:
    """BM25 of every document for a query (@eq-bm25).

    Goal: add idf times TF factor over the words of the query.

    query: words, perhaps with repeats; each repeat counts. documents: the words of each document.
    idf: {word: value}; a query word that is not in it counts 0. Returns float array [document].
    Worked value: bm25(["a"], [["a"], ["b"]], {"a": 2.0, "b": 1.0}, 1.2, 0.75) = [2.0, 0.0].
    """
    raise NotImplementedError("Exercise 1.4: write bm25")


# 1.5  difficulty 2 of 5, 15 minutes, 2 points
def ndcg(grades: list[int], depth: int) -> float:
    """How good a ranking is: nDCG at a depth.

    Goal: good documents first. A grade counts less the lower it stands, and 1 is the best possible order.

        DCG = sum over ranks r = 1 ... depth of  grade_r / log2(r + 1)        nDCG = DCG / DCG of the best order

    grades: of all documents, in the order of the ranking. depth: ranks that count; the ranking may be shorter.
    Returns one number from 0 to 1, and 0.0 where no grade is above 0.
    Worked value: ndcg([0, 1], 10) = (1 / log2(3)) / (1 / log2(2)) = 0.6309.
    """
    raise NotImplementedError("Exercise 1.5: write ndcg")
