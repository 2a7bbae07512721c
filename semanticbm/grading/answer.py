"""A reader's answer under examination: call it, compare what came back, say what went wrong.

A failure has four parts: what was called, what came back, what was expected, and, if the value is one that a usual
mistake gives, the name of that mistake. A check lists the usual mistakes beside the value each would give.

Distances are measured in tolerances: up to 1 passes. The tests of this package demand that the nearest wrong answer is
10 or more away, so no mistake slips through a loose tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Number

import numpy as np

from semanticbm.grading.child.protocol import Described

TOLERANCE = 1e-6  # relative to values above 1, absolute below


class Failed(Exception):
    """A check failed: what was called, returned and expected; the mistake, if it was recognised."""

    def __init__(self, called: str, returned: str, expected: str, mistake: str | None = None, distance: float = np.inf):
        super().__init__(f"called {called}, returned {returned}, expected {expected}")
        self.called, self.returned, self.expected = called, returned, expected
        self.mistake, self.distance = mistake, distance


class ToDo(Exception):
    """The exercise is not begun: the stub raised NotImplementedError."""


class Raised(Exception):
    """The reader's code raised. The text has only the reader's own lines."""


# --------------------------------------------------------------------------------------------------------------------
# Showing values


def shape_text(shape: Sequence[int]) -> str:
    """A shape as the book writes it: [2, 3]."""
    return "[" + ", ".join(map(str, shape)) + "]"


def _array_text(array: np.ndarray) -> str:
    if array.ndim == 0:
        return show(array.item())
    if array.size <= 8:
        return np.array2string(array, precision=4, separator=", ", suppress_small=True).replace("\n", "")
    return f"{array.dtype.name.rstrip('0123456789')} array {shape_text(array.shape)}"


def show(value) -> str:
    """A short text for a value: small arrays in full, large ones by their shape, models by their kind."""
    if isinstance(value, Described):
        return f"<{value.kind}>"
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return _array_text(value)
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.6g}"
    if isinstance(value, dict) and "input_ids" in value:
        return f"<inputs {shape_text(value['input_ids'].shape)}>"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(show, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, list) and len(value) <= 12:
        return "[" + ", ".join(map(show, value)) + "]"
    if value is None or isinstance(value, (Number, str, list, dict, set)):
        text = repr(value)
        return text if len(text) <= 90 else text[:87] + "..."
    return f"<{type(value).__name__}>"


def call_text(name: str, args: tuple, kwargs: Mapping) -> str:
    """A call as one would write it, with long values shortened."""
    return f"{name}({', '.join([*map(show, args), *(f'{key}={show(value)}' for key, value in kwargs.items())])})"


# --------------------------------------------------------------------------------------------------------------------
# Comparing values


def as_array(value) -> np.ndarray | None:
    """A number, array, tensor or list of numbers as a float array; None for anything else."""
    if isinstance(value, (str, dict, set)) or value is None:
        return None
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None


def _distance_of_arrays(value, expected: np.ndarray, tolerance: float) -> float:
    value = as_array(value)
    if value is None or value.shape != expected.shape:
        return np.inf
    if not value.size:
        return 0.0
    with np.errstate(invalid="ignore"):  # infinities: equal ones are caught below
        difference = np.abs(value - expected) / (tolerance * np.maximum(1, np.abs(expected)))
    same = (value == expected) | (np.isnan(value) & np.isnan(expected))
    return float(np.nan_to_num(np.where(same, 0, difference), nan=np.inf, posinf=np.inf).max())


def distance(value, expected, tolerance: float = TOLERANCE) -> float:
    """How far a value is from the expected one, in tolerances; infinite if the shape or the kind is another."""
    if isinstance(expected, dict):
        if not isinstance(value, dict) or value.keys() != expected.keys():
            return np.inf
        return max((distance(value[key], expected[key], tolerance) for key in expected), default=0.0)
    array = as_array(expected)
    if array is not None and not isinstance(expected, tuple):
        return _distance_of_arrays(value, array, tolerance)
    if isinstance(expected, (tuple, list)):
        if not isinstance(value, (tuple, list)) or len(value) != len(expected):
            return np.inf
        return max((distance(one, other, tolerance) for one, other in zip(value, expected, strict=True)), default=0.0)
    return 0.0 if type(value) is type(expected) and value == expected else np.inf


# --------------------------------------------------------------------------------------------------------------------
# The answer


class Answer:
    """A reader's function, as the checks use it. `source(args, kwargs)` has it called, in this process or in another one.

    The function gets copies: only `source.changed` tells which of its arguments, by position, it edited in place.
    """

    def __init__(self, name: str, source: Callable):
        self.name, self.source = name, source
        self.called, self.returned, self.answered = f"{name}(...)", None, False

    def __call__(self, *args, **kwargs):
        """Call the function and remember call and result for the report."""
        self.called, self.returned = call_text(self.name, args, kwargs), None
        self.returned = self.source(args, kwargs)
        self.answered = True
        return self.returned

    def fail(self, expected: str, mistake: str | None = None, far: float = np.inf) -> None:
        """End the exercise with a failure about the last call."""
        returned = show(self.returned)
        array = as_array(self.returned)
        if array is not None and array.size > 8:
            returned = f"an array {shape_text(array.shape)}"
        raise Failed(self.called, returned, expected, mistake, far)

    def number(self, *args, **kwargs) -> float:
        """Call the function; the result must be one finite number."""
        value = as_array(self(*args, **kwargs))
        if value is None or value.size != 1 or not np.isfinite(value).all():
            self.fail("one number", _kind_mistake(self.returned))
        return float(value.reshape(()))

    def array(self, *args, shape: Sequence[int], **kwargs) -> np.ndarray:
        """Call the function; the result must be numbers of the given shape."""
        value = as_array(self(*args, **kwargs))
        if value is None or value.shape != tuple(shape):
            self.fail(f"an array {shape_text(shape)}", _kind_mistake(self.returned))
        return value

    def gives(
        self, args: tuple, expected, mistakes: Mapping | Callable | None = None, tolerance: float = TOLERANCE, **kwargs
    ):
        """Call the function; the result must be `expected`.

        `mistakes`: {what went wrong: the value it would give}. The dictionary, or a value in it, may be a function without
        arguments, called only after a failure.
        """
        value = self(*args, **kwargs)
        far = distance(value, expected, tolerance)
        if far > 1:
            mistakes = mistakes() if callable(mistakes) else mistakes or {}
            self.fail(_expected_text(value, expected), self._recognise(mistakes, tolerance), far)
        return value

    def leaves(self, position: int, name: str) -> None:
        """The last call must not have edited the argument at a position in place."""
        if position in getattr(self.source, "changed", ()):
            self.fail(f"{name} as it was", f"The function changed its argument {name} in place. Work on a copy.")

    def holds(self, condition: bool, expected: str, mistakes: Mapping[str, bool] | None = None) -> None:
        """A property of the last result must hold. `mistakes`: {what went wrong: True if it looks like that}."""
        if not condition:
            self.fail(expected, next((name for name, seen in (mistakes or {}).items() if seen), None))

    def _recognise(self, mistakes: Mapping, tolerance: float) -> str | None:
        if self.returned is None:
            return _kind_mistake(None)
        for name, wrong in mistakes.items():
            with np.errstate(all="ignore"):
                wrong = wrong() if callable(wrong) else wrong
            if distance(self.returned, wrong, tolerance) <= 1:
                return name
        return None


def _kind_mistake(value) -> str | None:
    return "The function returned nothing: does each path through it end in `return`?" if value is None else None


def _expected_text(value, expected) -> str:
    array, got = as_array(expected), as_array(value)
    if array is None or array.size <= 8 or isinstance(expected, tuple):
        return show(expected)
    if got is None or got.shape != array.shape:
        return f"an array {shape_text(array.shape)}"
    place = np.unravel_index(np.nanargmax(np.abs(got - array)), array.shape)
    return f"{array[place]:.6g} at {shape_text(place)}, where yours is {got[place]:.6g}"
