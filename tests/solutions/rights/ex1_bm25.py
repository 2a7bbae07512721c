"""Right answers for chapter 1, written another way. Named exercise__how."""

import math
from collections import Counter

import numpy as np


def idf__difference_of_logarithms(n_documents, document_frequency):
    return math.log(n_documents + 1) - math.log(document_frequency + 0.5)


def mended_idf__loop(document_frequencies, n_documents, epsilon=0.25):
    raw = [math.log(n_documents - n + 0.5) - math.log(n + 0.5) for n in document_frequencies]
    mean = sum(raw) / len(raw)
    return [value if value >= 0 else epsilon * mean for value in raw]


def tf_factor__reciprocal(tf, length, avgdl, k1=1.2, b=0.75):
    if tf == 0:
        return 0
    return (k1 + 1) / (1 + k1 * (1 + b * (length / avgdl - 1)) / tf)


def bm25__matrix(query, documents, idf, k1, b):
    lengths = np.array([len(document) for document in documents], dtype=float)
    total = np.zeros(len(documents))
    for word, times in Counter(query).items():
        tf = np.array([Counter(document)[word] for document in documents])
        total = total + times * idf.get(word, 0.0) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * lengths / lengths.mean()))
    return total.tolist()


def ndcg__loop(grades, depth):
    def dcg(values):
        return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(values[:depth], start=1))

    best = dcg(sorted(grades)[::-1])
    return dcg(grades) / best if best else 0
