"""Every right form passes: the reference's results as NumPy, PyTorch, pandas, lists and tuples, in float32 and float64."""

import numpy as np
import pandas as pd
import pytest
import torch
from references import reference
from sources import direct

from semanticbm.grading.answer import FLOAT32, TOLERANCE, distance, kind_of
from semanticbm.grading.case import HELD_OUT, VISIBLE
from semanticbm.grading.registry import all_exercises, find
from semanticbm.grading.report import NOT_YET, SOLVED, describe, run_checks

EVERY = (*VISIBLE, *HELD_OUT)
KEEPS_ITS_ARGUMENT = ("edit_u0", "random_edit")  # the stub says so
EXERCISES = [pytest.param(exercise, id=exercise.id) for exercise in all_exercises()]
PLAIN = (float, int, np.floating, np.integer)


def numbers(convert):
    """A form that converts arrays and numbers, also inside a tuple or list of them."""

    def form(value):
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        if isinstance(value, (tuple, list)) and not all(isinstance(one, PLAIN) for one in value):
            return type(value)(map(form, value))
        if isinstance(value, (np.ndarray, list, tuple, *PLAIN)):
            array = np.asarray(value)
            return convert(array) if array.dtype.kind in "iuf" else value
        return value

    return form


def sequences(convert):
    """A form that converts one-dimensional arrays, lists and tuples, also inside a tuple."""

    def form(value):
        if isinstance(value, tuple):
            return tuple(map(form, value))
        return convert(value) if np.ndim(value) == 1 and isinstance(value, (list, np.ndarray)) else value

    return form


def outer(kind):
    """A form that converts the outermost tuple or list."""
    return lambda value: kind(value) if isinstance(value, (tuple, list)) else value


FORMS = {
    "float32": numbers(lambda array: array.astype(np.float32)),
    "float64": numbers(lambda array: array.astype(np.float64)),
    "torch": numbers(torch.as_tensor),
    "torch float32": numbers(lambda array: torch.as_tensor(array, dtype=torch.float32)),
    "lists": numbers(lambda array: array.tolist()),
    "lists of float32": numbers(lambda array: array.astype(np.float32).tolist()),
    "numpy": sequences(np.asarray),
    "pandas": sequences(pd.Series),
    "tuples inside": sequences(tuple),
    "tuple": outer(tuple),
    "list": outer(list),
}


@pytest.mark.parametrize("exercise", EXERCISES)
def test_every_form_of_a_right_result_scores_full(exercise):
    function = reference(exercise)
    for name, form in FORMS.items():
        result = run_checks(exercise, direct(lambda *args, form=form: form(function(*args))), VISIBLE)
        assert result.status == SOLVED, f"{name}\n{describe(result)}"


def spoil(value) -> None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        value[...] = 0
    elif isinstance(value, list):
        value.clear()


@pytest.mark.parametrize("exercise", EXERCISES)
def test_editing_an_argument_in_place_costs_points_only_where_the_stub_forbids_it(exercise):
    function = reference(exercise)

    def edits(*args):
        value = function(*args)
        for one in args:
            spoil(one)
        return value

    result = run_checks(exercise, direct(edits), VISIBLE)
    assert (result.status == SOLVED) == (exercise.function not in KEEPS_ITS_ARGUMENT), describe(result)


def test_numbers_are_compared_at_the_precision_that_they_have():
    assert distance(np.float32(10 / 7), 10 / 7, 1e-8) < 1 < distance(10 / 7 + 5e-7, 10 / 7, 1e-8)
    assert distance(float(np.float32(0.1)), 0.1, 1e-9) < 1  # a float32 in disguise, as from .item()
    assert distance(np.float32(0.1 + 20 * FLOAT32), 0.1) > 10 and distance(0.1 + 20 * TOLERANCE, 0.1) > 10


@pytest.mark.parametrize(("value", "words"), [(np.zeros(3, int), "int64"), ([0.0, 1.0], "float64")])
def test_the_kind_that_came_is_named(value, words):
    assert words in kind_of(np.asarray(value))
    exercise = find("split_by_query")[0]
    result = run_checks(exercise, direct(lambda ids, share, rng: np.resize(value, len(ids))))
    assert result.status == NOT_YET and "True and False" in result.problem.mistake and words in result.problem.mistake


def test_a_set_is_no_list_and_is_named():
    result = run_checks(find("choose_heads")[0], direct(lambda *args: {"0.1"}))
    assert "a list of names" in result.problem.mistake.lower() and "a set came" in result.problem.mistake


@pytest.mark.parametrize("exercise", ["mended_idf", "matching_score", "features", "u0", "cls_attention"])
def test_a_wrong_shape_is_named_as_a_shape(exercise):
    found = find(exercise)[0]
    function = reference(found)
    result = run_checks(found, direct(lambda *args: np.asarray(function(*args))[..., None]))
    assert "shape" in describe(result).lower(), describe(result)
