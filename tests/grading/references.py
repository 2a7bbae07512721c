"""The reference answers, for the tests of the checks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from semanticbm.grading.registry import Exercise

SOLUTIONS = Path(__file__).parents[1] / "solutions"


@lru_cache
def _module(file: str):
    spec = importlib.util.spec_from_file_location(f"reference_{file}", SOLUTIONS / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reference(exercise: Exercise) -> Callable:
    """The reference answer of an exercise."""
    return getattr(_module(exercise.file), exercise.function)
