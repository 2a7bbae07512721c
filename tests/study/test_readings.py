"""Readings of chapter 9: the small pieces on numbers whose answer is known, the whole on the compiled model."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from semanticbm.collection import Collection, load_collection
from semanticbm.compiled import compile_bm25
from semanticbm.idf import idf_values
from semanticbm.semantic_bm import collect_features
from semanticbm.study import causes
from semanticbm.study.readings import (
    deal_again,
    layerwise_draws,
    random_directions,
    read_all,
    weight_times_signal,
    written_own,
)
from semanticbm.study.side_by_side import Subject, between_pieces, difference, features_of, own_share, reach

# Numbers


def test_own_share_of_signals_that_move_together_and_of_signals_that_do_not():
    together = np.array([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]])
    apart = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]])
    assert own_share(together) == pytest.approx(0.0) and between_pieces(together) == pytest.approx(1.0)
    assert own_share(apart) == pytest.approx(1.0) and between_pieces(apart) == pytest.approx(-1.0)
    assert np.isnan(own_share(together[:, :1])) and np.isnan(between_pieces(together[:, :1]))


def test_draws_stay_in_their_layers_and_leave_the_excluded_out():
    found, excluded = [(0, 1), (2, 0), (2, 3)], [(2, 1)]
    draws = layerwise_draws(found, excluded, n_heads=6, n=30, seed=1)
    for draw in draws:
        assert Counter(layer for layer, _ in draw) == {0: 1, 2: 2} and len(set(draw)) == 3
        assert not set(draw) & {*found, *excluded}
    assert len({tuple(draw) for draw in draws}) > 5
    assert draws == layerwise_draws(found, excluded, 6, 30, 1) != layerwise_draws(found, excluded, 6, 30, 2)


def test_no_draw_where_no_other_head_is():
    assert layerwise_draws([(0, 0)], [], n_heads=1) == []


def test_random_directions_are_isotropic_unit_vectors():
    drawn = random_directions(50, 400, seed=0)
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1)
    cosines = (drawn @ drawn.T)[np.triu_indices(400, 1)]
    assert abs(cosines.mean()) < 0.01 and cosines.std() == pytest.approx(1 / np.sqrt(50), rel=0.1)


def test_weights_are_dealt_to_other_pieces():
    rng, weights = np.random.default_rng(0), np.array([0.1, 0.2, 0.7])
    for _ in range(20):
        dealt = deal_again(weights, rng)
        assert sorted(dealt) == sorted(weights) and not np.array_equal(dealt, weights)
    assert deal_again(np.array([1.0]), rng).tolist() == [1.0]


def test_difference_and_reach():
    found, draws = {"a": 0.9, "b": 0.7}, [{"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.9}]
    assert difference(found, draws) == pytest.approx([0.2, 0.0]) and difference(found, []) == []
    assert reach(found, draws) == 0.5 and reach(found, []) is None


def test_explained_is_a_share_with_a_given_scale():
    cause = causes.Cause(np.array([[1.0, -1.0]]), np.array([[2.0, -2.0]]))
    assert cause.explained(2.0) == pytest.approx(1.0) and cause.explained(0.0) == pytest.approx(0.0)
    assert cause.explained(-2.0) == pytest.approx(-3.0)
    assert causes.common_scale(
        [cause, causes.Cause(np.array([[2.0, -2.0]]), np.array([[4.0, -4.0]]))]
    ) == pytest.approx(2.0)


def test_words_of_a_query_and_a_query_without_one(tiny):
    found = causes.query_words(tiny, "Antidisestablishment of rivers")
    assert [len(pieces) > 1 for _, pieces in found] == [True, False, False]
    assert sorted(piece for _, pieces in found for piece in pieces) == list(range(sum(len(p) for _, p in found)))
    assert causes.without("red house river", slice(4, 9)) == "red river"


def test_features_of_some_pairs_are_rows_of_the_features_of_more(tiny):
    collection = Collection(
        "three",
        {"a": "the deep blue sea", "b": "a red house by the river", "c": "blue water"},
        {"q1": "blue river", "q2": "deep water of the sea"},
        {"q1": {"a": 1, "b": 1, "c": 0}, "q2": {"a": 1, "c": 0}},
    )
    run = {"q2": ["c", "a"], "q1": ["b", "a"]}
    more = {query: {document: float(n) for n, document in enumerate("abc")} for query in ("q1", "q2")}
    subject = Subject(tiny, collection, [(0, 0)], [], {}, run, idf_values("collection", collection))
    known = collect_features(tiny, collection, more, 3, subject.idf)
    direct, taken = features_of(subject), features_of(replace(subject, features=known))
    assert list(taken.document_ids) == ["c", "a", "b", "a"] and len(known) == 6
    for name, values in vars(direct).items():
        same = np.testing.assert_array_equal if name.endswith("ids") else np.testing.assert_allclose
        same(getattr(taken, name), values, **({} if name.endswith("ids") else {"atol": 1e-5}))


# The whole, where the truth is known


@pytest.fixture(scope="module")
def compiled():
    """A few queries of the classroom collection, and BM25 compiled for their words."""
    collection = load_collection("classroom")
    queries = list(collection.judged_queries)[:5]
    run = {query: list(collection.judgements[query])[:6] for query in queries}
    model = compile_bm25(collection)
    choose, measure = dict(list(run.items())[:2]), dict(list(run.items())[2:])
    return collection, model, measure, read_all(model, collection, choose, measure)


def test_the_compiled_models_reading_is_its_score(compiled):
    _, _, _, readings = compiled
    assert min(readings.correlations(written_own([(0, 0)])).values()) > 0.999
    assert min(readings.correlations(weight_times_signal).values()) > 0.999


def test_on_the_compiled_model_a_term_costs_its_share(compiled):
    collection, model, measure, readings = compiled
    for query, documents in measure.items():
        row, texts = readings.of[query], [collection.documents[document] for document in documents]
        cause = causes.removals(model, collection.queries[query], texts, row.weights, row.signals)
        assert cause is None or cause.correlation() > 0.999


def test_moving_a_signal_to_its_mean_moves_the_score_as_read(compiled):
    collection, model, measure, readings = compiled
    query, documents = next(iter(measure.items()))
    row, texts = readings.of[query], [collection.documents[document] for document in documents]
    step = causes.unit_step(readings.direction.state)
    steps = np.stack([step, np.zeros_like(step)])
    moved, still = causes.mean_signals(model, collection.queries[query], texts, row.weights, row.signals, steps)
    assert moved.correlation() > 0.9
    assert np.abs(still.actual).max() < 1e-4


def test_mean_signals_are_what_a_hook_on_the_last_layer_gives(tiny):
    """The last layer alone sees a copy for each piece; the plain way is a whole run for each piece, with PyTorch's hook."""
    query, documents = "deep blue sea", ["the sea is deep and blue", "a river", "the wide blue sea of the north"]
    rng = np.random.default_rng(0)
    encoding = tiny.encode([(query, document) for document in documents])
    start, stop = encoding.query_spans[0]
    signals, step = rng.normal(size=(3, stop - start)), rng.normal(size=tiny.d_model)
    _, found = causes.mean_signals(tiny, query, documents, np.ones(stop - start), signals, np.stack([step * 0, step]))
    plain, changes = tiny.logits(encoding).numpy(), []
    for piece in range(stop - start):
        move = torch.tensor(np.outer(signals[:, piece].mean() - signals[:, piece], step), dtype=torch.float32)

        def moved(module, inputs, piece=piece, move=move):
            state = inputs[0].clone()
            state[:, start + piece] += move
            return (state, *inputs[1:])

        handle = tiny.hf.bert.encoder.layer[-1].register_forward_pre_hook(moved)
        changes.append(tiny.logits(encoding).numpy() - plain)
        handle.remove()
    assert np.abs(found.actual).max() > 1e-3
    assert np.allclose(found.actual, causes.centred(np.array(changes)), atol=1e-5)
