"""BM25 against rank-bm25 and bm25s, and the properties that the book states about it."""

import bm25s
import numpy as np
import pytest
import rank_bm25
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from semanticbm.bm25 import BM25, length_norm, lucene_idf, rank_bm25_idf, robertson_idf, tf_factor
from semanticbm.collection import words
from semanticbm.errors import UserError

WORDS = ["ant", "bee", "cow", "dog", "eel", "fox"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
corpora = st.lists(texts, min_size=1, max_size=8)
queries = st.lists(st.sampled_from([*WORDS, "yak"]), min_size=1, max_size=5).map(" ".join)
k1s, bs = st.floats(0.01, 5), st.floats(0, 1)


@given(corpora, queries, k1s, bs)
@settings(max_examples=200, deadline=None)
def test_equals_rank_bm25_okapi(corpus, query, k1, b):
    theirs = rank_bm25.BM25Okapi([words(text) for text in corpus], k1=k1, b=b).get_scores(words(query))
    ours = BM25(corpus, k1, b, idf=rank_bm25_idf).scores(query)
    np.testing.assert_allclose(ours, theirs, atol=1e-9, rtol=0)


@given(corpora, queries, k1s, bs)
@settings(max_examples=100, deadline=None)
def test_equals_rank_bm25_plus_without_its_constant(corpus, query, k1, b):
    theirs = rank_bm25.BM25Plus([words(text) for text in corpus], k1=k1, b=b, delta=0).get_scores(words(query))
    ours = BM25(corpus, k1, b, idf=lambda n, total: np.log((total + 1) / np.maximum(n, 1))).scores(query)
    np.testing.assert_allclose(ours, theirs, atol=1e-9, rtol=0)


@given(corpora, queries, k1s, bs)
@settings(max_examples=50, deadline=None)
def test_equals_rank_bm25_with_lucene_idf(corpus, query, k1, b):
    oracle = rank_bm25.BM25Okapi([words(text) for text in corpus], k1=k1, b=b)
    ours = BM25(corpus, k1, b)
    oracle.idf = {word: float(lucene_idf(n, len(corpus))) for word, n in ours.document_frequency.items()}
    np.testing.assert_allclose(ours.scores(query), oracle.get_scores(words(query)), atol=1e-9, rtol=0)


@given(corpora, queries, st.floats(0.1, 5), bs)
@settings(max_examples=50, deadline=None)
def test_ranks_as_bm25s(corpus, query, k1, b):
    retriever = bm25s.BM25(method="lucene", k1=k1, b=b)
    retriever.index([words(text) for text in corpus], show_progress=False)
    known = [word for word in words(query) if any(word in words(text) for text in corpus)]
    assume(known)
    theirs = retriever.get_scores(known).astype(float)
    ours = BM25(corpus, k1, b).scores(query)
    np.testing.assert_allclose(ours / (k1 + 1), theirs, rtol=1e-5, atol=1e-6)
    clear = np.subtract.outer(ours, ours) > 1e-4  # pairs that float32 can tell apart
    assert (np.subtract.outer(theirs, theirs)[clear] > 0).all()


def test_worked_example_by_hand():
    # Two documents of 4 and 2 words: avgdl 3. "cow": n = 1, N = 2: ln(1 + 1.5/1.5) = ln 2.
    # tf 2 in 4 words: 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 4/3)) = 4.4 / 3.5.
    scores = BM25(["cow cow bee ant", "bee fox"]).scores("cow")
    np.testing.assert_allclose(scores, [np.log(2) * 4.4 / 3.5, 0.0])


def test_robertson_trap():
    corpus = ["cow grass", "cow milk", "fox den"]
    assert robertson_idf(1, 2) == 0
    robertson, lucene = BM25(corpus, idf=robertson_idf), BM25(corpus)
    assert robertson.scores("cow")[0] < robertson.scores("cow")[2] == 0  # a match ends up below no match
    assert lucene.scores("cow")[0] > lucene.scores("cow")[2] == 0


@given(st.integers(0, 50), st.integers(1, 200), st.floats(1, 300), k1s, bs)
def test_factor_saturates_and_shrinks_with_length(tf, length, avgdl, k1, b):
    one, two, three = tf_factor([tf, tf + 1, tf + 2], length, avgdl, k1, b)
    assert 0 <= one <= two <= three <= k1 + 1 + 1e-12
    assert two - one >= three - two - 1e-12
    assert tf_factor(tf, length + 1, avgdl, k1, b) <= one + 1e-12


def test_length_norm_is_one_at_the_mean():
    np.testing.assert_allclose(length_norm([50, 100, 200], 100, 0.75), [0.625, 1.0, 1.75])


def test_zero_k1_is_binary():
    np.testing.assert_array_equal(tf_factor([0, 1, 7], 10, 10, k1=0), [0, 1, 1])


def test_repeated_query_words_count_again():
    bm25 = BM25({"x": "cow bee", "y": "fox fox"})
    assert bm25.ids == ["x", "y"]
    np.testing.assert_allclose(bm25.scores("cow Cow"), 2 * bm25.scores("cow"))
    assert bm25.term_scores("cow cow fox").shape == (3, 2)


def test_score_text_agrees_inside_the_collection():
    corpus = ["the cow ate the grass", "a fox", "grass grows"]
    bm25 = BM25(corpus, 0.9, 0.4)
    one_by_one = [bm25.score_text("grass the cow", text) for text in corpus]
    np.testing.assert_allclose(one_by_one, bm25.scores("grass the cow"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BM25([]), "no documents"),
        (lambda: BM25(["..."]), "no document has a word"),
        (lambda: BM25("cow"), "not a list of texts"),
        (lambda: BM25(["cow"], k1=-1), "k1"),
        (lambda: BM25(["cow"], b=1.5), "b = 1.5"),
        (lambda: BM25(["cow"]).scores("?!"), "no word"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
