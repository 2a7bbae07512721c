"""Tables and source as markdown, read back with pandoc."""

import pandas as pd
import pytest

from semanticbm.bm25 import tf_factor
from semanticbm.builder import pandoc
from semanticbm.plots.display import decimals_of, source, table


def cells_of(shown):
    """The rows of a table as pandoc reads them, header first."""
    (block,) = pandoc.parse(shown._repr_markdown_())["blocks"]
    assert block["t"] == "Table"
    head, bodies = block["c"][3], block["c"][4]
    rows = [*head[1], *bodies[0][3]]
    return [[pandoc.text_of(cell[4]) for cell in row[1]] for row in rows]


def test_a_column_of_numbers_has_the_same_decimals_everywhere():
    assert cells_of(table([{"x": 1.5}, {"x": 2.0}, {"x": 0.25}])) == [["x"], ["1.50"], ["2.00"], ["0.25"]]


@pytest.mark.parametrize(
    ("values", "places"), [([1.0, 2.0], 0), ([0.5], 1), ([1 / 3], 6), ([None, 0.25], 2), ([None], 0)]
)
def test_decimals(values, places):
    assert decimals_of(pd.Series(values, dtype=float)) == places


def test_decimals_are_counted_in_the_precision_of_the_column():
    values = pd.Series([0.1234, 0.003], dtype="float32").round(3)
    assert decimals_of(values) == 3 and cells_of(table(values.to_frame("x"))) == [["x"], ["0.123"], ["0.003"]]


def test_missing_values_are_a_dash_and_texts_may_hold_a_bar():
    rows = [{"name": "a|b", "value": None}, {"name": "c", "value": 2.5}]
    assert cells_of(table(rows)) == [["name", "value"], ["a|b", "-"], ["c", "2.5"]]


def test_an_interval_is_not_broken_between_lines():
    shown = table([{"a": "0.50 [-0.25, +0.75]"}]).data
    assert "0.50 [-0.25,\N{NO-BREAK SPACE}+0.75]" in shown


def test_the_index_is_shown_if_it_says_something():
    named = pd.DataFrame({"n": [1]}, index=pd.Index(["TFC1"], name="axiom"))
    assert cells_of(table(named)) == [["axiom", "n"], ["TFC1", "1"]]
    sorted_rows = pd.DataFrame({"n": [2, 1]}).sort_values("n")
    assert cells_of(table(sorted_rows)) == [["n"], ["1"], ["2"]]
    grid = pd.DataFrame([[1.0]], index=pd.Index([0.4], name="k1"), columns=pd.Index([0.75], name="b"))
    assert cells_of(table(grid))[0] == ["k1, b", "0.75"]


def test_a_series_becomes_two_columns():
    assert cells_of(table(pd.Series({"a": 1}, name="seconds").rename_axis("chapter"))) == [
        ["chapter", "seconds"],
        ["a", "1"],
    ]


def test_a_table_is_no_html():
    assert not hasattr(table([{"x": 1}]), "_repr_html_")


def test_source_is_a_block_of_python():
    (block,) = pandoc.parse(source(tf_factor)._repr_markdown_())["blocks"]
    assert block["t"] == "CodeBlock" and block["c"][0][1] == ["python"]
    assert block["c"][1].startswith("def tf_factor(")
