"""Odd return values: whatever an answer returns, a reader gets a message in words and never a traceback of ours."""

import collections
import datetime
import decimal
import fractions

import numpy as np
import pandas as pd
import pytest
import torch

from semanticbm.grading import all_exercises
from semanticbm.grading.case import VISIBLE
from semanticbm.grading.report import ERROR, NOT_YET, SOLVED, describe, run_checks
from semanticbm.grading.student import Live

NESTED: list = []
NESTED.append(NESTED)
Pair = collections.namedtuple("Pair", "first second")
VALUES = [
    None, True, False, 0, 1, -1, 2, 10**30, 10**400, 0.5, -0.0, float("nan"), float("inf"), 1e308, 3j,
    "", "a", "0.5", "\ud800", "x" * 10**5, b"x", ..., NotImplemented, object(), object, len, int,
    (), (1,), (1, 2), (1, 2, 3), ("a", "b"), ((1, 2), (3, 4)), (None, None), ([1], [2]), ([], []), (np.ones(2), None),
    [], [1], [1, 2], [1, [2]], [[1, 2], [3]], [None], ["a"], [()], [[[1]]], list(range(1000)), NESTED, Pair(1, 2),
    {}, {1: 2}, {"a": [1]}, {"input_ids": 3}, {"input_ids": [1]}, set(), {1, 2}, frozenset([1]), range(3), iter([1]),
    np.array(1.0), np.array([]), np.ones(1), np.ones(3), np.ones((2, 2)), np.zeros((0, 3)), np.ones((1, 2, 3)),
    np.array(["a"]), np.array([None]), np.array([1j]), np.array([np.nan]), np.array([True]), np.ma.masked,
    np.float32(1), np.int8(-1), np.datetime64("2020-01-01"), np.random.default_rng(0),
    torch.tensor(1.0), torch.tensor([]), torch.ones(2, 2), torch.ones(3, dtype=torch.bfloat16), torch.tensor([True]),
    torch.tensor([1j]), torch.nn.Linear(1, 1), pd.Series([1.0, 2.0]), pd.Series(["a"]), pd.DataFrame({"a": [1]}),
    decimal.Decimal("0.1"), fractions.Fraction(1, 3), datetime.date(2020, 1, 1),
]  # fmt: skip
STEP = 8  # `make test` tries every eighth value on each exercise, other ones on each


def ask(exercise, value):
    result = run_checks(exercise, Live(lambda *_, **__: value, __file__), VISIBLE)
    text = describe(result, 9)
    assert result.status in (NOT_YET, ERROR, SOLVED) and "Traceback" not in text and text.isprintable() is False
    assert all(line.isprintable() for line in text.splitlines()), text
    return result


@pytest.mark.parametrize("number", range(len(all_exercises())), ids=[one.id for one in all_exercises()])
def test_a_sample_of_odd_values_is_judged(number):
    exercise = all_exercises()[number]
    for value in VALUES[number % STEP :: STEP]:
        assert ask(exercise, value).points < exercise.max_points


@pytest.mark.long
@pytest.mark.parametrize("number", range(len(all_exercises())), ids=[one.id for one in all_exercises()])
def test_every_odd_value_is_judged(number):
    exercise = all_exercises()[number]
    for value in VALUES:
        assert ask(exercise, value).points < exercise.max_points


def test_there_are_eighty_odd_values():
    assert len(VALUES) >= 80


def test_a_broken_check_is_not_taken_for_a_wrong_answer():
    """The net under odd values must not hide a mistake of ours: before the first answer an error stays an error."""
    from semanticbm.grading.registry import Exercise

    exercise = Exercise("ex1_bm25", "idf", "1.1", "goal", 1, 5, 2)

    @exercise.check(1, "hint", "hint")
    def broken(answer, case):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_checks(exercise, Live(lambda: 1, __file__))
