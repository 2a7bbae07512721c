"""The compiled model against BM25: random corpora, the classroom collection, the limits, and what it must refuse."""

import hashlib
import string
import warnings

import numpy as np
import pytest
import torch
from builders import CAT_QUERIES, CAT_TEXTS, with_queries
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, pearsonr
from transformers import BertForSequenceClassification

from semanticbm import compiled
from semanticbm.bm25 import BM25, tf_factor
from semanticbm.collection import Collection, words
from semanticbm.compiled import UnknownWordWarning, build_tokenizer, compile_bm25, match_logits, weight_bytes
from semanticbm.errors import UserError

TEXTS = CAT_TEXTS | {"e": "Nothing here at all matches."}
QUERIES = CAT_QUERIES | {"q4": "cat cat fuel"}
SYNONYMS = {"car": ["automobile", "automobiles"], "automobile": ["car"]}
TINY = Collection("tiny", TEXTS, QUERIES, {}, SYNONYMS)
GRID = [(k1, b) for k1 in (0.1, 0.9, 1.2, 5.0) for b in (0.0, 1e-4, 0.01, 0.4, 0.75, 0.99, 1 - 1e-4, 1.0)]


def scores_and_reference(model, collection, queries, documents):
    """Scores and BM25: two float arrays [query, document]."""
    column = {identifier: place for place, identifier in enumerate(model.bm25.ids)}
    chosen = [column[identifier] for identifier in documents]
    texts = [collection.documents[identifier] for identifier in documents]
    found = np.stack([model.score(query, texts) for query in queries])
    return found, np.stack([model.bm25.scores(query)[chosen] for query in queries])


def assert_meets_the_bars(found, reference, relative_error):
    """Pearson >= 0.99999 and Kendall >= 0.999 in each query, relative error below the bar, no match scored as 0.

    Kendall takes scores that agree to 4 decimals as tied: documents with equal BM25 differ by rounding in both columns.
    """
    matched = reference > 0
    assert np.abs(found[matched] / reference[matched] - 1).max() < relative_error
    assert np.abs(found[~matched]).max(initial=0) < 1e-9
    for ours, theirs in zip(found, reference, strict=True):
        if np.ptp(theirs) > 0:
            assert pearsonr(ours, theirs).statistic > 0.99999
            assert kendalltau(ours.round(4), theirs.round(4)).statistic > 0.999


def test_it_is_a_stock_bert():
    model = compile_bm25(TINY)
    assert type(model.hf) is BertForSequenceClassification
    assert (model.n_layers, model.n_heads, model.name) == (2, 1, "compiled")


@pytest.mark.parametrize(("k1", "b"), GRID)
@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-2), (torch.float64, 1e-3)])
def test_equals_bm25_over_the_grid(k1, b, dtype, bar):
    model = compile_bm25(TINY, k1, b, dtype=dtype)
    found, reference = scores_and_reference(model, TINY, QUERIES.values(), TEXTS)
    assert reference.max() > 1
    assert_meets_the_bars(found, reference, bar)


def test_k1_zero_counts_presence_only():
    model = compile_bm25(TINY, k1=0)
    found, reference = scores_and_reference(model, TINY, QUERIES.values(), TEXTS)
    assert_meets_the_bars(found, reference, 1e-2)


words_of_corpus = st.lists(st.sampled_from(["ant", "bee", "cow", "dog", "eel", "fox"]), min_size=1, max_size=10)


@given(
    st.lists(words_of_corpus, min_size=1, max_size=5),
    words_of_corpus,
    st.integers(0, 2),
    st.floats(0.1, 5, exclude_min=True),
    st.floats(0.01, 0.99),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_equals_bm25_on_random_corpora(corpus, query, unknown, k1, b):
    documents = {str(number): " ".join(text) for number, text in enumerate(corpus)}
    asked = " ".join(query[:5])
    collection = Collection("random", documents, {"q": asked}, {})
    model = compile_bm25(collection, k1, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownWordWarning)
        found = model.score(asked + " yak" * unknown, list(documents.values()))
    np.testing.assert_allclose(found, BM25(documents, k1, b).scores(asked), rtol=1e-3, atol=1e-9)


@pytest.mark.long
def test_classroom_sample_meets_the_bars(classroom):
    model = compile_bm25(classroom)
    documents = list(classroom.documents)[::12]
    found, reference = scores_and_reference(model, classroom, list(classroom.queries.values())[::14], documents)
    assert_meets_the_bars(found, reference, 1e-2)


@pytest.mark.parametrize("start", [0, *(pytest.param(start, marks=pytest.mark.long) for start in range(10, 100, 10))])
def test_classroom_meets_the_bars_ten_queries_at_a_time(classroom, start):
    """100 queries x 100 documents: each model knows ten queries, so it is small."""
    part = with_queries(classroom, list(classroom.queries)[start : start + 10])
    documents = list(classroom.documents)[::4][:100]
    assert len(part.queries) == 10 and len(documents) == 100
    found, reference = scores_and_reference(compile_bm25(part), part, part.queries.values(), documents)
    assert_meets_the_bars(found, reference, 1e-2)


@pytest.mark.long
def test_classroom_meets_the_bars_on_100_queries_x_100_documents(classroom):
    model = compile_bm25(classroom)
    queries, documents = list(classroom.queries.values())[:100], list(classroom.documents)[::4][:100]
    assert len(queries) == len(documents) == 100
    assert_meets_the_bars(*scores_and_reference(model, classroom, queries, documents), 1e-2)


def test_score_does_not_depend_on_padding():
    model = compile_bm25(TINY)
    together = model.score("cat cat fuel", list(TEXTS.values()))
    alone = [model.score("cat cat fuel", [text])[0] for text in TEXTS.values()]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-9)


def test_a_document_that_fills_the_window():
    long = " ".join(["cat"] * 3 + ["filler"] * (512 - 3 - 4))
    model = compile_bm25(TINY)
    assert int(model.encode([("cat", long)]).lengths[0]) == 512
    np.testing.assert_allclose(model.score("cat", [long]), [model.bm25.score_text("cat", long)], rtol=1e-3)


# --------------------------------------------------------------------------------------------------------------------
# The semantic variant


def soft_bm25(bm25, query, document, weight):
    """The plain definition: BM25 with tf + weight x occurrences of synonyms in place of tf."""
    text = words(document)
    total = 0.0
    for word in words(query):
        tf = text.count(word) + weight * sum(text.count(other) for other in SYNONYMS.get(word, []))
        total += bm25.word_idf(word) * tf_factor(tf, len(text), bm25.avgdl, bm25.k1, bm25.b)
    return float(total)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_semantic_variant_is_bm25_with_soft_tf(weight):
    model = compile_bm25(TINY, semantic=True, synonym_weight=weight)
    assert "automobiles" in model.vocabulary
    for query in QUERIES.values():
        expected = [soft_bm25(model.bm25, query, text, weight) for text in TEXTS.values()]
        np.testing.assert_allclose(model.score(query, list(TEXTS.values())), expected, rtol=1e-3, atol=1e-9)


def test_synonyms_alone_score_between_nothing_and_the_word():
    model = compile_bm25(TINY, semantic=True)
    nothing, synonym, exact = model.score("car", ["a bike needs air", "an automobile needs fuel", "a car needs fuel"])
    assert abs(nothing) < 1e-9 < 0.1 < synonym < 0.9 * exact
    assert abs(compile_bm25(TINY).score("car", ["an automobile needs fuel"])[0]) < 1e-9


# --------------------------------------------------------------------------------------------------------------------
# Tokenizer, words, size


@given(st.text(alphabet=string.ascii_letters + string.digits + " '-.,\n\té", max_size=60))
@settings(max_examples=200, deadline=None)
def test_tokenizer_splits_as_words_does(text):
    ids = build_tokenizer(["cat"])(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(words(text))


def test_encoding_has_spans_and_word_ids():
    model = compile_bm25(TINY)
    encoding = model.encode([("Cat on mat", "A dog; the CAT's cat")])
    assert " ".join(model.tokens(encoding)) == "[CLS] cat on mat [SEP] [OTHER] dog the cat [OTHER] cat [SEP]"
    assert (encoding.query_spans, encoding.document_spans) == ([(1, 4)], [(5, 11)])
    assert encoding.token_type_ids.tolist() == [[0] * 5 + [1] * 7]
    assert encoding.word_ids[0][5:11] == [0, 1, 2, 3, 4, 5]


def test_unknown_query_word_that_matters_is_refused():
    with pytest.raises(UserError, match="driver"):
        compile_bm25(TINY).score("car driver", [TEXTS["d"]])
    model = compile_bm25(TINY, words=["driver"])
    expected = model.bm25.score_text("car driver", TEXTS["d"])
    np.testing.assert_allclose(model.score("car driver", [TEXTS["d"]]), [expected], rtol=1e-3)


def test_unknown_query_word_that_adds_nothing_is_reported():
    model = compile_bm25(TINY)
    with pytest.warns(UnknownWordWarning, match="zebra"):
        found = model.score("car zebra", [TEXTS["d"]])
    np.testing.assert_allclose(found, [model.bm25.score_text("car zebra", TEXTS["d"])], rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: compile_bm25(TINY, k1=-1), "k1"),
        (lambda: compile_bm25(TINY, b=2), "b = 2"),
        (lambda: compile_bm25(TINY, semantic=True, synonym_weight=2), "synonym_weight"),
        (lambda: compile_bm25(TINY, words=[f"w{number}" for number in range(20_000)]), "2 GB"),
        (lambda: compile_bm25(Collection("none", TEXTS, {}, {})), "no queries"),
        (lambda: compile_bm25(TINY).score("?!", ["cat"]), "no word"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_stated_memory_is_the_memory():
    model = compile_bm25(TINY)
    actual = sum(parameter.numel() * 4 for parameter in model.hf.parameters())
    stated = weight_bytes(len(model.vocabulary), 2, model.d_model, 4)
    assert 0.8 < stated / actual <= 1
    assert weight_bytes(1000, 2, compiled.Layout(1000).width, 4) < 300e6


def test_same_input_same_weights():
    def digest(model):
        return hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.hf.state_dict().values())).hexdigest()

    state = torch.random.get_rng_state()
    first = digest(compile_bm25(TINY))
    torch.manual_seed(5)
    assert digest(compile_bm25(TINY)) == first != digest(compile_bm25(TINY, k1=1.3))
    torch.random.set_rng_state(state)
    compile_bm25(TINY)
    assert torch.equal(torch.random.get_rng_state(), state)


@given(st.floats(0.05, 8), st.floats(0.001, 0.999), st.integers(1, 30), st.integers(30, 400), st.floats(5, 500))
def test_the_identity_behind_it(k1, b, tf, length, avgdl):
    logits = match_logits(k1, b, avgdl)
    match, others, sink = tf * np.exp(logits.beta), length - tf, np.exp(logits.sink)
    mass = match / (match + others + sink)
    np.testing.assert_allclose(logits.gain * mass, tf_factor(tf, length, avgdl, k1, b), rtol=1e-9)
