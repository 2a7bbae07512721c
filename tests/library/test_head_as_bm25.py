"""Effective k1 and b: what went into the compiled model must come out."""

import numpy as np
import pytest
from builders import CAT_QUERIES, CAT_TEXTS, random_bert

from semanticbm.collection import Collection
from semanticbm.compiled import build_tokenizer, compile_bm25, match_logits
from semanticbm.errors import UserError
from semanticbm.head_as_bm25 import (
    _beta_in_other_documents,
    attention_masses,
    bm25_parameters,
    heads_as_bm25,
    predicted_mass,
)
from semanticbm.heads import parse_head
from semanticbm.study.planted import plant_circuit

TINY = Collection("tiny", CAT_TEXTS, CAT_QUERIES, {})
PAIRS = [(query, text) for query in CAT_QUERIES.values() for text in CAT_TEXTS.values()]


@pytest.mark.parametrize("k1", [0.1, 0.5, 1.2, 2.0, 5.0])
@pytest.mark.parametrize("b", [1e-4, 0.01, 0.3, 0.75, 0.99])
def test_recovers_what_went_in(k1, b):
    model = compile_bm25(TINY, k1, b)
    [found] = heads_as_bm25(model, [(0, 0)], PAIRS, model.bm25.avgdl)
    np.testing.assert_allclose([found.k1[0], found.b[0]], [k1, b], rtol=0.01)
    assert found.r2 > 0.999 and found.r2_words > 0.999 and found.mean_error < 1e-3
    assert found.k1[1] <= found.k1[0] * 1.0001 and found.k1[2] >= found.k1[0] * 0.9999


@pytest.mark.parametrize("b", [0.0, 1.0])
def test_limits_of_b(b):
    model = compile_bm25(TINY, 1.2, b)
    [found] = heads_as_bm25(model, [(0, 0)], PAIRS, model.bm25.avgdl)
    np.testing.assert_allclose([found.k1[0], found.b[0]], [1.2, b], rtol=0.01, atol=1e-9)


def test_recovers_each_planted_head_of_the_planted_model():
    model, heads = plant_circuit(TINY, seed=3)
    found = heads_as_bm25(model, [parse_head(head) for head in heads["matching"]], PAIRS, model.bm25.avgdl)
    for one in found:
        np.testing.assert_allclose([one.k1[0], one.b[0]], model.parameters[one.head], rtol=0.01)


def test_parameters_invert_the_logits():
    for k1, b, avgdl in [(0.4, 0.2, 50), (1.2, 0.75, 70), (3.0, 0.95, 300)]:
        logits = match_logits(k1, b, avgdl)
        np.testing.assert_allclose(bm25_parameters(logits.beta, logits.sink, avgdl), (k1, b), rtol=1e-9)


def test_no_preference_for_matches_gives_no_k1():
    k1, b = bm25_parameters([0.0, -1.0], 0.0, 50)
    assert np.isnan(k1).all() and 0 < b < 1


def test_random_model_has_a_reading_and_a_poor_fit():
    tokenizer = build_tokenizer(sorted({word for query in CAT_QUERIES.values() for word in query.split()}))
    model = random_bert(tokenizer, n_layers=2, n_heads=2, d_head=12, d_mlp=24, spread=1.0)
    [found] = heads_as_bm25(model, [(1, 1)], PAIRS)
    assert found.r2 < 0.9
    assert found.beta[1] < found.beta[0] < found.beta[2]
    assert (found.head, found.n_queries) == ("1.1", 3)


def test_masses_are_a_whole_row():
    masses, mean_length = attention_masses(compile_bm25(TINY), [(0, 0), (1, 0)], PAIRS)
    np.testing.assert_allclose(masses.match + masses.other + masses.sink, 1, atol=1e-6)
    assert masses.match.shape == (2, len(masses.tf))
    assert mean_length == np.mean([15, 5, 9, 23])


def test_a_words_beta_comes_from_the_other_documents():
    beta, query, token = np.array([1.0, 2.0, 6.0, 9.0, 5.0]), np.array([0, 0, 0, 0, 1]), np.array([7, 7, 7, 8, 7])
    np.testing.assert_array_equal(_beta_in_other_documents(beta, query, token), [4.0, 3.5, 1.5, np.nan, np.nan])


def test_predicted_mass_by_hand():
    # Two matches of weight 3, four others of weight 1, a sink of weight 5: 6 / 15.
    np.testing.assert_allclose(predicted_mass(2, 6, np.log(3), np.log(5)), 0.4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda model: heads_as_bm25(model, [(7, 0)], PAIRS), "no head 7.0"),
        (lambda model: heads_as_bm25(model, [(0, 0)], [("dog", "fuel is dear")]), "no query token"),
        (lambda model: heads_as_bm25(model, [(0, 0)], []), "no pair"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make(compile_bm25(TINY))
