"""Reference answers for chapter 1."""

import numpy as np


def idf(n_documents, document_frequency):
    return float(np.log(1 + (n_documents - document_frequency + 0.5) / (document_frequency + 0.5)))


def mended_idf(document_frequencies, n_documents, epsilon=0.25):
    raw = np.log((n_documents - document_frequencies + 0.5) / (document_frequencies + 0.5))
    return np.where(raw < 0, epsilon * raw.mean(), raw)


def tf_factor(tf, length, avgdl, k1=1.2, b=0.75):
    return tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / avgdl))


def bm25(query, documents, idf, k1, b):
    avgdl = np.mean([len(document) for document in documents])
    return np.array(
        [
            sum(idf.get(word, 0) * tf_factor(document.count(word), len(document), avgdl, k1, b) for word in query)
            for document in documents
        ]
    )


def ndcg(grades, depth):
    discounts = 1 / np.log2(np.arange(len(grades)) + 2)
    gain = sum(grade * discount for grade, discount in list(zip(grades, discounts, strict=True))[:depth])
    ideal = sorted(grades, reverse=True)
    best = sum(grade * discount for grade, discount in list(zip(ideal, discounts, strict=True))[:depth])
    return float(gain / best) if best > 0 else 0.0
