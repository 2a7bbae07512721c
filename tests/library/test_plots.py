"""Figures: the right cells, labels, intervals and parts are drawn, and bad input is refused with one clear line."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from semanticbm import plots
from semanticbm.errors import UserError


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_heads_heatmap_names_the_strongest_heads_and_centres_signed_values_at_zero():
    values = np.zeros((3, 4))
    values[1, 2], values[2, 0] = 0.5, -0.8
    ax = plots.heads_heatmap(values, label="direct effect", label_extremes=2, mark=[(1, 2)])
    assert isinstance(ax, Axes)
    assert sorted(texts(ax)) == ["1.2", "2.0"]
    assert ax.collections[0].get_clim() == (-0.8, 0.8)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("head", "layer")
    assert any(patch.get_xy() == (2, 1) for patch in ax.patches), "the marked head is framed at (head, layer)"


def test_heads_heatmap_of_positive_values_starts_at_zero():
    assert plots.heads_heatmap(np.array([[0.2, 0.4]])).collections[0].get_clim() == (0.0, 0.4)


def test_heads_heatmap_survives_missing_values():
    assert texts(plots.heads_heatmap(np.array([[np.nan, 0.4]]), label_extremes=1)) == ["0.1"]


def test_heads_heatmap_refuses_a_vector():
    with pytest.raises(UserError, match="two axes"):
        plots.heads_heatmap(np.zeros(3))


def test_curves_draws_each_line_with_its_own_marker_and_band():
    ax = plots.curves([0, 1, 2], {"a": [0, 1, 2], "b": [2, 1, 0]}, "count", "mass", bands={"a": ([0, 0, 1], [1, 2, 3])})
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert ax.lines[0].get_marker() != ax.lines[1].get_marker()
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    assert len(ax.collections) == 1
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [2, 1, 0])


def test_curves_refuses_a_line_of_another_length():
    with pytest.raises(UserError, match="'a' has 2 values for 3 points"):
        plots.curves([0, 1, 2], {"a": [0, 1]}, "x", "y")


def test_bars_draw_the_interval_and_the_reference():
    ax = plots.bars_with_intervals({"bm25": (0.4, 0.3, 0.55), "model": (0.6, 0.5, 0.7)}, "nDCG@10", reference=0.4)
    assert [bar.get_width() for bar in ax.patches] == [0.4, 0.6]
    segments = [segment for collection in ax.collections for segment in collection.get_segments()]
    assert any(np.allclose(segment[:, 0], [0.3, 0.55]) for segment in segments)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["bm25", "model"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first entry stands on top"


def test_bars_refuse_nothing():
    with pytest.raises(UserError, match="no values"):
        plots.bars_with_intervals({}, "x")


def test_scatter_names_the_dot_that_is_far_away_and_draws_the_trend():
    values = [0, 1, 2, 30]
    ax = plots.scatter(values, values, "idf", "U0", names=["a", "b", "c", "far"], name_extremes=1, trend=True)
    assert texts(ax) == ["far"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0, 30], atol=1e-9)


def test_scatter_groups_get_different_markers():
    ax = plots.scatter([0, 1], [1, 0], "x", "y", groups=["matching", "other"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["matching", "other"]


def test_scatter_refuses_lists_of_different_length():
    with pytest.raises(UserError, match="same length"):
        plots.scatter([1, 2], [1], "x", "y")


def test_token_layer_map_puts_layer_0_at_the_bottom():
    ax = plots.token_layer_map(np.eye(2, 3), ["[CLS]", "cat", "[SEP]"])
    assert ax.get_ylim() == (0, 2)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["[CLS]", "cat", "[SEP]"]
    with pytest.raises(UserError, match="3 positions and 1 tokens"):
        plots.token_layer_map(np.eye(2, 3), ["[CLS]"])


def test_circuit_lights_only_what_it_is_told_to():
    ax = plots.circuit(lit={"matching"}, heads={"matching": "1.3"})
    boxes = [patch for patch in ax.patches if hasattr(patch, "get_boxstyle")]
    edges = [matplotlib.colors.to_hex(box.get_edgecolor()).upper() for box in boxes]
    assert edges.count(plots.BLUE.upper()) == 1 and edges.count(plots.FAINT.upper()) == 4
    assert "1.3" in texts(ax) and "Matching heads" in texts(ax)


def test_circuit_refuses_an_unknown_part():
    with pytest.raises(UserError, match="'decoder'"):
        plots.circuit(lit={"decoder"})


def test_flow_draws_a_box_for_each_stage_and_lights_the_chosen_one():
    ax = plots.flow([("documents", "448"), ("re-ranker", "10")], lit=[1])
    assert texts(ax) == ["documents", "448", "re-ranker", "10"]
    boxes = [patch for patch in ax.patches if hasattr(patch, "get_boxstyle")]
    assert [matplotlib.colors.to_hex(box.get_edgecolor()).upper() == plots.BLUE for box in boxes] == [False, True]


def test_attention_map_has_a_row_and_a_column_for_each_token():
    ax = plots.attention_map(np.full((2, 2), 0.5), ["[CLS]", "cat"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["[CLS]", "cat"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("looks", "is looked at")
    with pytest.raises(UserError, match="2 x 2 matrix for 1 tokens"):
        plots.attention_map(np.eye(2), ["[CLS]"])


def test_functions_draw_into_the_axes_they_are_given():
    _, ax = plt.subplots()
    assert plots.curves([0, 1], {"a": [0, 1]}, "x", "y", ax=ax) is ax
    assert plots.scatter([0, 1], [0, 1], "x", "y", ax=ax) is ax


def test_backgrounds_are_transparent():
    figure = plots.curves([0, 1], {"a": [0, 1]}, "x", "y").figure
    assert figure.get_facecolor()[3] == 0
