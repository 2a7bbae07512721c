"""The small sums of the experiments, each against numbers worked out by hand or by another library."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from semanticbm.collection import Collection
from semanticbm.heads import HeadValues
from semanticbm.matching import Curves, Effects
from semanticbm.study.experiments import cuts, idf, matching, samples, scoring
from semanticbm.study.study import Study

VALUES = np.arange(24.0).reshape(2, 3, 4)  # [query, layer, head]


def study_of(**options) -> Study:
    model = SimpleNamespace(n_layers=3, n_heads=4, head_shape=(3, 4))
    return Study(model, SimpleNamespace(graded=True, **options), "nowhere")


def test_means_and_sums_over_heads():
    heads = [(0, 1), (2, 3)]
    assert scoring._summed(Effects(["a", "b"], VALUES, 2), heads).tolist() == [12.0, 36.0]
    assert scoring._by_query(HeadValues(["a", "b"], VALUES, 2), heads).tolist() == [6.0, 18.0]


def test_first_minus_last_step_and_first_to_last_point():
    curves = np.array([[0.0, 4.0, 7.0, 9.0, 10.0], [1.0, 2.0, 4.0, 8.0, 18.0]])
    assert matching._slowdown(curves).tolist() == [3.0, -9.0]
    assert matching._growth(curves).tolist() == [10.0, 17.0]


def test_weighted_r_squared_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    for scale in (1.0, 0.01):
        actual, weight = scale * rng.uniform(1, 2, 30), rng.integers(0, 4, 30)
        predicted = actual + 0.1 * scale * rng.standard_normal(30)
        expected = r2_score(actual, predicted, sample_weight=weight)
        assert matching.weighted_r_squared(actual, predicted, weight) == pytest.approx(expected)
    assert np.isnan(matching.weighted_r_squared(np.ones(3), np.zeros(3), np.ones(3)))


def test_means_over_drawn_queries():
    values, query = np.array([[1.0, 3.0, 10.0]]), np.array([0, 0, 2])
    counts = np.array([[1, 0, 1], [0, 0, 2], [3, 0, 1]])
    assert matching._mean_over_draws(values, query, counts)[0].tolist() == [6.0, 10.0, 4.0]
    drawn = matching.query_draws(SimpleNamespace(query=query), seed=0, n_draws=50)
    assert drawn[0].tolist() == [1, 0, 1] and (drawn.sum(axis=1) == 2).all() and (drawn[:, 1] == 0).all()


def test_a_missing_number_is_none():
    assert samples.mean_or_none([np.nan, 1.0, 3.0]) == 2.0
    assert samples.mean_or_none([]) is None and samples.mean_or_none([np.nan]) is None


def test_other_heads_of_the_same_layers():
    others = samples.others_in_same_layers(study_of(), [(1, 0)], exclude=[(1, 3), (2, 0)])
    assert others == [(1, 1), (1, 2)]


def test_the_strongest_slope_is_the_largest_mean_of_either_sign():
    assert idf._strongest(SimpleNamespace(slopes=np.array([[1.0, -4.0, 0.0], [3.0, -2.0, 0.0]]))) == 3.0


def test_the_widest_table_is_msmarco_where_it_is_there(monkeypatch):
    monkeypatch.setattr(idf, "idf_sources", lambda study: {"collection": {"a": 1.0}, "msmarco": {"a": 2.0}})
    assert idf.widest_idf(None) == ("msmarco", {"a": 2.0})
    monkeypatch.setattr(idf, "idf_sources", lambda study: {"collection": {"a": 1.0}})
    assert idf.widest_idf(None) == ("collection", {"a": 1.0})


def test_the_note_of_the_strongest_head_counts_heads_and_their_share():
    values = np.zeros((2, 3, 4))
    values[:, 2] = [0.6, 0.2, 0.1, 0.1]
    values[:, 1, :2] = [0.2, -0.5]
    found = SimpleNamespace(heads=[(2, 0), (2, 1), (1, 0), (2, 2), (2, 3)])
    finding = scoring._strongest(study_of(), found, Effects(["a", "b"], values, 2))
    assert finding.measured == pytest.approx(0.6) and finding.control == pytest.approx(0.1 / 11)
    assert "5 of 12 heads pass the rule, the first four of them carry 92% of all" in finding.note


def test_the_note_of_the_ablation_gives_the_matching_heads_alone():
    ndcg = {
        "found heads below the readers ablated": np.array([0.5, 0.6]),
        "as many other heads ablated": np.array([0.9, 0.8]),
        "matching heads ablated": np.array([0.7, 0.8]),
        "as many other heads as matching heads ablated": np.array([0.8, 0.9]),
    }
    finding = cuts._necessity(study_of(), ndcg)
    assert finding.measured == pytest.approx(-0.3) and finding.note.startswith("the matching heads alone: -0.100")


def test_circuits_keep_readers_apart():
    study = study_of()
    study.parts = {
        "matching_heads": {"heads": [[0, 1], [2, 3]]},
        "contextual_heads": {"heads": [[1, 2]]},
        "direct_effects": {"heads": [[2, 0], [1, 0]]},
    }
    circuit = cuts.circuit_of(study)
    assert circuit.readers == [(1, 0), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert (circuit.middle, circuit.matching) == ([(0, 1), (1, 2)], [(0, 1)])
    rows = cuts.cut_heads(study, circuit)
    assert rows["readers alone"] == [[head for head in np.ndindex(3, 4) if head not in circuit.readers]]
    assert set(rows["readers and found heads alone"][0]) == set(rows["readers alone"][0]) - set(circuit.middle)
    assert rows["all found heads ablated"] == [[(0, 1), (1, 0), (1, 2), (2, 0)]]
    assert all(len(draw) == 2 for draw in rows["as many other heads ablated"])
    assert all(not set(draw) & {*circuit.readers, *circuit.middle} for draw in rows["as many other heads ablated"])


def test_the_note_of_the_other_cut_gives_the_readers_alone():
    order = {
        "readers alone": np.array([0.1, 0.3]),
        "readers and found heads alone": np.array([0.8, 1.0]),
        "readers and as many other heads alone": np.array([0.4, 0.2]),
    }
    finding = cuts._sufficiency(study_of(), order)
    assert (finding.measured, finding.control) == (pytest.approx(0.9), pytest.approx(0.3))
    assert finding.note == "the readers alone: 0.200"


def curve(x, *points):
    """A curve of two queries in which the one head of interest, 0.0, has these points and the other has none."""
    values = np.zeros((2, 1, 2, len(points)))
    values[:, 0, 0] = points
    return Curves(tuple(x), "x", ["a", "b"], values, np.tile(np.arange(len(points)) * 0.5, (2, 1)), 2)


def test_notes_of_the_curves():
    similar = curve(("same", "synonym", "random", "filler"), 0.5, 0.3, 0.1, 0.0)
    finding = matching._semantic(study_of(), similar, [(0, 0)])
    assert finding.measured == pytest.approx(0.2) and finding.note.endswith("gives +0.400")
    assert matching._length(study_of(), curve((20, 40, 80), 0, 1, 2), [(0, 0)]).note.startswith(
        "the model's score changes by +1.00"
    )


def test_a_model_of_one_head_has_no_others():
    alone = curve((1, 2), 0.1, 0.2)
    alone = replace(alone, matching=alone.matching[:, :, :1])
    assert np.isnan(matching._of_others(alone, [(0, 0)])).all()


def test_judged_documents_are_filled_up():
    documents = {f"d{number}": f"river {'bank ' * number}" for number in range(1, 6)}
    collection = Collection("toy", documents, {"q": "bank", "new": "bank"}, {"q": {"d1": 1, "d2": 0}})
    study = Study(None, collection, "nowhere")

    def run(query, depth, least):
        return set(samples.judged_run(study, [query], depth, least)[query])

    assert run("q", 10, 1) == {"d1", "d2"} and len(run("q", 10, 4)) == 4 and {"d1", "d2"} <= run("q", 10, 4)
    assert len(run("new", 10, 3)) == 3 and len(run("q", 1, 1)) == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.6, 0.8, (0.6, 0.8)), (-0.8, -0.6, (0.6, 0.8)), (-0.1, 0.3, (0.0, 0.3)), (-0.3, 0.1, (0.0, 0.3))],
)
def test_the_size_of_a_correlation_has_the_interval_of_its_size(low, high, expected):
    u0_of_sizes(low, high, expected)


def u0_of_sizes(low, high, expected):
    row = {"quantity": "U0", "pearson": (low + high) / 2, "low": low, "high": high, "n_words": 9}
    tables = {"collection": {"c": 1.0}, "msmarco": {"m": 1.0}}

    def controls(model, idf, **options):
        return pd.DataFrame([row if idf == tables["msmarco"] else row | {"pearson": 0.123}])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idf, "idf_sources", lambda study: tables)
        patch.setattr(idf, "idf_controls", controls)
        raw = pd.DataFrame({"component": [0, 1, 2], "pearson": [0.7, -0.3, 0.2]})
        patch.setattr(idf, "idf_correlations", lambda *arguments, **options: raw)
        part = idf.u0(study_of())
    found = part["findings"]["pearson"]
    assert part["main_source"] == "msmarco" and found.measured == pytest.approx(abs(row["pearson"]))
    assert (found.low, found.high, found.control) == (*map(pytest.approx, expected), pytest.approx(0.3))


def test_sizes_of_correlations_without_parameters():
    u0_of_sizes(-0.8, -0.6, (0.6, 0.8))
    u0_of_sizes(-0.3, 0.1, (0.0, 0.3))
