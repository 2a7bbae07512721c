"""The graders under mutation, sampled: `make mutants` runs all. Every parameter of every stub counts."""

import ast
import copy
import inspect

import numpy as np
import pytest
from mutants import equivalents, judge, mutants_for
from mutator import mutants_of
from references import reference
from sources import direct

from semanticbm.grading.case import HELD_OUT, VISIBLE
from semanticbm.grading.registry import all_exercises
from semanticbm.grading.report import SOLVED, describe, run_checks

EVERY = (*VISIBLE, *HELD_OUT)
EXERCISES = [pytest.param(exercise, id=exercise.id) for exercise in all_exercises()]
STRIDE, SLOW_STRIDE = 23, 60  # every so many mutants; those of chapter 4 run a model each time


def changes(text: str) -> set[str]:
    return {mutant.change for mutant in mutants_of(ast.parse(text).body[0])}


def test_the_mutator_makes_the_usual_mistakes():
    found = changes("def f(x, k1=1.2):\n    return np.std([v for v in x if v >= k1], axis=0) + x[1:]")
    assert {
        "v >= k1  ->  v > k1",
        "1.2  ->  2.2 (default)",
        "0  ->  1",
        "x[1:]  ->  x" if "x[1:]  ->  x" in found else "1:  ->  :",
        "first k1 = 1.2",
    } <= found
    assert any("ddof=1" in change for change in found) and any("if v >= k1" in change for change in found)


def test_the_mutator_drops_statements_and_exchanges_arguments():
    found = changes("def f(a, b):\n    a = g(a, b)\n    for one in a:\n        break\n    return a - b")
    assert {
        "a = g(a, b)  ->  pass",
        "g(a, b)  ->  g(b, a)",
        "break  ->  continue",
        "a - b  ->  b - a",
        "a - b  ->  a",
    } <= found


@pytest.mark.parametrize("exercise", EXERCISES)
def test_every_listed_equivalent_is_a_mutant_and_has_a_reason(exercise):
    made = {(exercise.function, mutant.function, mutant.change) for mutant in mutants_for(exercise)}
    listed = {key: reason for key, reason in equivalents().items() if key[0] == exercise.function}
    assert listed.keys() <= made and all(len(reason) > 15 for reason in listed.values())


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_sample_of_the_mutants_loses_points(exercise, tmp_path):
    stride = SLOW_STRIDE if exercise.file == "ex4_patching" else STRIDE
    sample = mutants_for(exercise)[7::stride]
    assert sample
    for mutant in sample:
        judged = judge(exercise, mutant, tmp_path)
        assert judged.caught != (judged.key in equivalents()), judged.key


class Frozen:
    """Calls a function with one parameter always as in the first call: an answer that never reads it."""

    def __init__(self, function, name: str):
        self.source, self.signature, self.name, self.kept = direct(function), inspect.signature(function), name, None

    def __call__(self, args: tuple, kwargs: dict):
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if self.kept is None:
            value = bound.arguments[self.name]
            self.kept = [copy.deepcopy(value) if isinstance(value, (np.random.Generator, list, dict)) else value]
        bound.arguments[self.name] = self.kept[0]
        return self.source(bound.args, bound.kwargs)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_an_answer_that_never_reads_a_parameter_loses_points(exercise):
    function = reference(exercise)
    for name in inspect.signature(function).parameters:
        result = run_checks(exercise, Frozen(function, name), EVERY)
        assert result.status != SOLVED, f"{name} may stay as it was in the first call"


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_reference_solves_it_here(exercise):
    result = run_checks(exercise, direct(reference(exercise)), EVERY)
    assert result.status == SOLVED, describe(result)
