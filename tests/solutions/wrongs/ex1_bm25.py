"""Plausible wrong answers for chapter 1. Named exercise__mistake__check_that_must_fail."""

import numpy as np


def idf__swapped__rare_beats_common(n_documents, document_frequency):
    return float(np.log(1 + (document_frequency - n_documents + 0.5) / (n_documents + 0.5)))


def idf__upside_down__rare_beats_common(n_documents, document_frequency):
    return np.log(1 + (document_frequency + 0.5) / (n_documents - document_frequency + 0.5))


def idf__constant__rare_beats_common(n_documents, document_frequency):
    return float(np.log(1 + n_documents))


def idf__log2__value(n_documents, document_frequency):
    return float(np.log2(1 + (n_documents - document_frequency + 0.5) / (document_frequency + 0.5)))


def idf__no_plus_one__value(n_documents, document_frequency):
    return float(np.log((n_documents - document_frequency + 0.5) / (document_frequency + 0.5)))


def idf__no_half__value(n_documents, document_frequency):
    return float(np.log(1 + (n_documents - document_frequency) / document_frequency))


def _raw(n, n_documents):
    return np.log((n_documents - n + 0.5) / (n + 0.5))


def mended_idf__lucene__robertson(document_frequencies, n_documents, epsilon=0.25):
    return np.log(1 + (n_documents - document_frequencies + 0.5) / (document_frequencies + 0.5))


def mended_idf__upside_down__robertson(document_frequencies, n_documents, epsilon=0.25):
    return -_raw(document_frequencies, n_documents)


def mended_idf__not_mended__mended(document_frequencies, n_documents, epsilon=0.25):
    return _raw(document_frequencies, n_documents)


def mended_idf__zero__mended(document_frequencies, n_documents, epsilon=0.25):
    return np.maximum(_raw(document_frequencies, n_documents), 0)


def mended_idf__mean_of_positive__mended(document_frequencies, n_documents, epsilon=0.25):
    raw = _raw(document_frequencies, n_documents)
    return np.where(raw < 0, epsilon * raw[raw >= 0].mean(), raw)


def mended_idf__epsilon_alone__mended(document_frequencies, n_documents, epsilon=0.25):
    raw = _raw(document_frequencies, n_documents)
    return np.where(raw < 0, epsilon, raw)


def tf_factor__linear__saturates(tf, length, avgdl, k1=1.2, b=0.75):
    return tf * (k1 + 1) / (1 + k1 * (1 - b + b * length / avgdl))


def tf_factor__smoothed__saturates(tf, length, avgdl, k1=1.2, b=0.75):
    return (tf + 0.5) * (k1 + 1) / (tf + 0.5 + k1 * (1 - b + b * length / avgdl))


def tf_factor__no_length__value(tf, length, avgdl, k1=1.2, b=0.75):
    return tf * (k1 + 1) / (tf + k1)


def tf_factor__exchanged__value(tf, length, avgdl, k1=1.2, b=0.75):
    return tf * (b + 1) / (tf + b * (1 - k1 + k1 * length / avgdl))


def tf_factor__inverse_ratio__value(tf, length, avgdl, k1=1.2, b=0.75):
    return tf * (k1 + 1) / (tf + k1 * (1 - b + b * avgdl / length))


def tf_factor__no_k1_plus_1__value(tf, length, avgdl, k1=1.2, b=0.75):
    return tf / (tf + k1 * (1 - b + b * length / avgdl))


def _bm25(query, documents, idf, k1, b, count=list.count, avgdl=None):
    avgdl = avgdl or np.mean([len(document) for document in documents])

    def factor(tf, n):
        return tf * (k1 + 1) / (tf + k1 * (1 - b + b * n / avgdl))

    return np.array(
        [[idf.get(word, 0) * factor(count(document, word), len(document)) for word in query] for document in documents]
    )


def bm25__no_idf__one_word(query, documents, idf, k1, b):
    return _bm25(query, documents, dict.fromkeys(idf, 1), k1, b).sum(axis=1)


def bm25__present_or_not__one_word(query, documents, idf, k1, b):
    return _bm25(query, documents, idf, k1, b, lambda document, word: int(word in document)).sum(axis=1)


def bm25__avgdl_off__one_word(query, documents, idf, k1, b):
    return _bm25(query, documents, idf, k1, b, avgdl=np.mean([len(set(one)) for one in documents])).sum(axis=1)


def bm25__query_as_set__all_words(query, documents, idf, k1, b):
    return _bm25(sorted(set(query)), documents, idf, k1, b).sum(axis=1)


def bm25__best_word__all_words(query, documents, idf, k1, b):
    return _bm25(query, documents, idf, k1, b).max(axis=1)


def bm25__mean__all_words(query, documents, idf, k1, b):
    return _bm25(query, documents, idf, k1, b).mean(axis=1)


def _dcg(grades, depth, log=np.log2, shift=2):
    return sum(grade / log(place + shift) for place, grade in enumerate(grades[:depth]))


def ndcg__not_normalised__in_order(grades, depth):
    return _dcg(grades, depth)


def ndcg__ranks_from_0__in_order(grades, depth):
    best = sum(grade / (place + 1) for place, grade in enumerate(sorted(grades, reverse=True)[:depth]))
    return sum(grade / (place + 1) for place, grade in enumerate(grades[:depth])) / best


def ndcg__best_of_the_top__at_a_depth(grades, depth):
    best = _dcg(sorted(grades[:depth], reverse=True), depth)
    return _dcg(grades, depth) / best if best else 0.0


def ndcg__no_depth__at_a_depth(grades, depth):
    best = _dcg(sorted(grades, reverse=True), None)
    return _dcg(grades, None) / best if best else 0.0


def mended_idf__absolute_mean__edges(document_frequencies, n_documents, epsilon=0.25):
    raw = _raw(document_frequencies, n_documents)
    return np.where(raw < 0, epsilon * abs(raw.mean()), raw)


def mended_idf__zero_is_mended__edges(document_frequencies, n_documents, epsilon=0.25):
    raw = _raw(document_frequencies, n_documents)
    return np.where(raw <= 0, epsilon * raw.mean(), raw)


def bm25__part_of_a_word__one_word(query, documents, idf, k1, b):
    return _bm25(query, documents, idf, k1, b, lambda document, word: " ".join(document).count(word)).sum(axis=1)


def bm25__stops_at_an_unknown_word__all_words(query, documents, idf, k1, b):
    known = []
    for word in query:
        if word not in idf:
            break
        known.append(word)
    return _bm25(known, documents, idf, k1, b).sum(axis=1)
