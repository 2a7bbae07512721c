"""BM25: the lexical score that the rest of the book looks for inside a neural model.

BM25 scores a document d for a query q by adding one number for each query word,

    BM25(q, d) = sum over the words q_i of q:  idf(q_i) * tf_factor(tf(q_i, d), |d|)

    tf_factor(tf, |d|) = tf (k1 + 1) / (tf + k1 (1 - b + b |d| / avgdl))

where tf is how often the word occurs in d, |d| the number of words of d and avgdl the mean of |d| over the collection
(Robertson and Zaragoza 2009, chapter 3; the constant k1 + 1 changes no ranking). Three ideas are in it:

- *rare words tell more*: idf falls with the number of documents that contain the word;
- *saturation*: the first occurrence counts most; the factor rises from 0 towards k1 + 1 and never beyond. k1 says how
  slowly;
- *length normalisation*: in a document twice as long the same tf means less. b says how much: 0 not at all, 1 fully.

A word that stands twice in the query counts twice. Words come from `semanticbm.collection.words`: as BERT sees them, no
stemming, no stop words.

**Which IDF?** Robertson's formula, ln((N - n + 0.5) / (n + 0.5)) for a word in n of N documents, is negative as soon as
the word is in more than half of the documents, and exactly 0 at one half. In a toy corpus of two to four documents that
happens to almost every word: scores are 0 or negative, and a matching document ends up *below* one that does not match.
Lucene adds 1 inside the logarithm, which keeps it positive; that is the default here.

**Other implementations.** rank-bm25's `BM25Okapi` uses Robertson's IDF and replaces its negative values by
epsilon times the mean IDF of the vocabulary: here `idf=rank_bm25_idf`. Its `BM25Plus` adds a constant delta to the
factor of every query word, matched or not; with delta = 0 it is this class with idf = ln((N + 1) / n).
Its `BM25L` cannot be had from this class: it changes the factor itself. bm25s (method "lucene") and Lucene since
version 8 leave out the constant k1 + 1: same ranking, other scale. Default values differ too: 1.2 and 0.75 here, 1.5
and 0.75 in rank-bm25 and bm25s. So name the variant when you report a BM25 score.

When it misleads: BM25 sees only exact words. "car" and "automobile" have nothing in common for it. And a score has no
meaning across queries: a long query collects more terms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from semanticbm.collection import words
from semanticbm.errors import UserError

Idf = Callable[[np.ndarray, int], np.ndarray]
RANK_BM25_EPSILON = 0.25  # share of the mean IDF


def length_norm(length, avgdl: float, b: float = 0.75):
    """How long a document counts, 1 at the mean length: 1 - b + b |d| / avgdl (Robertson and Zaragoza 2009).

    `length`: |d| in words, a number or an array; the result has its shape.
    Chapter 1, eq-tf-factor.
    """
    return 1 - b + b * np.asarray(length, dtype=float) / avgdl


def tf_factor(tf, length, avgdl: float, k1: float = 1.2, b: float = 0.75):
    """What `tf` occurrences of a word are worth in a document of `length` words: from 0 up to k1 + 1.

    `tf` and `length` are numbers or arrays that broadcast (Robertson and Zaragoza 2009, chapter 3). A word that is not there is
    worth 0, also where k1 = 0 would make the quotient 0 / 0.
    """
    tf = np.asarray(tf, dtype=float)
    competition = k1 * length_norm(length, avgdl, b)
    return np.where(tf > 0, tf * (k1 + 1) / np.where(tf > 0, tf + competition, 1), 0.0)


def lucene_idf(document_frequency, n_documents: int) -> np.ndarray:
    """ln(1 + (N - n + 0.5) / (n + 0.5)) for words in n of N documents: always positive. Takes and gives [word].

    Chapter 1, eq-idf.
    """
    n = np.asarray(document_frequency, dtype=float)
    return np.log1p((n_documents - n + 0.5) / (n + 0.5))


def robertson_idf(document_frequency, n_documents: int) -> np.ndarray:
    """ln((N - n + 0.5) / (n + 0.5)): 0 for a word in half of the documents, negative beyond. Takes and gives [word].

    Chapter 1.
    """
    n = np.asarray(document_frequency, dtype=float)
    return np.log((n_documents - n + 0.5) / (n + 0.5))


def rank_bm25_idf(document_frequency, n_documents: int) -> np.ndarray:
    """Robertson's IDF as rank-bm25's `BM25Okapi` mends it: negative values become epsilon times the mean of all values.

    The mean is over the words given, so give the whole vocabulary. If the mean is negative, so is the mended value.
    Chapter 1.
    """
    values = robertson_idf(document_frequency, n_documents)
    return np.where(values < 0, RANK_BM25_EPSILON * values.mean(), values)


idf = lucene_idf  # the default of this library


def check_parameters(k1: float, b: float) -> None:
    """Raise `UserError` unless k1 is finite and not negative and b is between 0 and 1 (chapter 1)."""
    if not (np.isfinite(k1) and k1 >= 0):
        raise UserError(f"k1 = {k1}: it must be 0 or more; 1.2 is usual.")
    if not 0 <= b <= 1:
        raise UserError(f"b = {b}: it must be between 0 and 1; 0.75 is usual.")


class BM25:
    """BM25 over a collection. `documents`: a list of texts, or {document id: text}.

    `idf`: a function (document frequencies [word], number of documents) -> float array [word].
    After construction: `ids` (document ids in order; 0, 1, ... for a list), `lengths` (int array [document], in words),
    `avgdl`, `document_frequency` ({word: documents that contain it}). Chapter 1.
    """

    def __init__(
        self, documents: Sequence[str] | Mapping[str, str], k1: float = 1.2, b: float = 0.75, idf: Idf = lucene_idf
    ):
        check_parameters(k1, b)
        self.k1, self.b, self.idf = k1, b, idf
        self.ids, texts = _ids_and_texts(documents)
        self.counts = [Counter(words(text)) for text in texts]
        self.lengths = np.array([counts.total() for counts in self.counts])
        if not self.lengths.sum():
            raise UserError("no document has a word in it: BM25 needs at least one.")
        self.avgdl = float(self.lengths.mean())
        self.document_frequency = Counter(word for counts in self.counts for word in counts)
        values = idf(np.array(list(self.document_frequency.values())), len(texts))
        self._idf = dict(zip(self.document_frequency, np.asarray(values, dtype=float).tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.ids)

    def word_idf(self, word: str) -> float:
        """IDF of a word; for a word in no document, the formula's value at n = 0."""
        return self._idf[word] if word in self._idf else float(self.idf(np.array([0]), len(self))[0])

    def term_scores(self, query: str) -> np.ndarray:
        """What each query word adds to each document's score: float array [query word, document]."""
        query_words = _query_words(query)
        rows = [
            self.word_idf(word)
            * tf_factor([counts[word] for counts in self.counts], self.lengths, self.avgdl, self.k1, self.b)
            for word in query_words
        ]
        return np.stack(rows)

    def scores(self, query: str) -> np.ndarray:
        """BM25 of each document: float array [document], in the order of `ids`."""
        return self.term_scores(query).sum(axis=0)

    def score_text(self, query: str, document: str) -> float:
        """BM25 of any text, with this collection's IDF and mean length; the text need not be in the collection."""
        document_words = words(document)
        counts, length = Counter(document_words), len(document_words)
        return float(
            sum(
                self.word_idf(word) * tf_factor(counts[word], length, self.avgdl, self.k1, self.b)
                for word in _query_words(query)
            )
        )


def _ids_and_texts(documents: Sequence[str] | Mapping[str, str]) -> tuple[list, list[str]]:
    if not documents:
        raise UserError("no documents: BM25 needs at least one.")
    by_id = documents if isinstance(documents, Mapping) else dict(enumerate(documents))
    return list(by_id), list(by_id.values())


def _query_words(query: str) -> list[str]:
    query_words = words(query)
    if not query_words:
        raise UserError(f"the query {query!r} has no word in it: give it at least one.")
    return query_words
