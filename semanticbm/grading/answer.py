"""A reader's answer under examination: call it, compare what came back, say what went wrong.

A failure has four parts: what was called, what came back, what was expected, and, if the value is one that a usual
mistake gives, the name of that mistake. A check lists the usual mistakes beside the value each would give.

Distances are measured in tolerances: up to 1 passes. The tests of this package demand that the nearest wrong answer is
10 or more away, so no mistake slips through a loose tolerance. Numbers in float32 carry seven digits, so they are
compared at `FLOAT32`, however strict the check is; whole numbers, lists and pandas columns count as what they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Number

import numpy as np

from semanticbm.grading.child.protocol import Described
from semanticbm.grading.known_errors import NOTHING_SAVED, TRACED

TOLERANCE = 1e-6  # relative to values above 1, absolute below
FLOAT32 = 2e-5  # what a short computation in float32 may be off by
MAX_TEXT = 160  # characters of an argument in a report


class Failed(Exception):
    """A check failed: what was called, returned and expected; the mistake, if it was recognised."""

    def __init__(self, called: str, returned: str, expected: str, mistake: str | None = None, distance: float = np.inf):
        super().__init__(f"called {called}, returned {returned}, expected {expected}")
        self.called, self.returned, self.expected = called, returned, expected
        self.mistake, self.distance = mistake, distance


class ToDo(Exception):
    """The exercise is not begun: the stub raised NotImplementedError."""


class Raised(Exception):
    """The reader's code raised. The text has only the reader's own lines; `mistake`: what to do about a known error."""

    def __init__(self, text: str, mistake: str | None = None):
        super().__init__(text)
        self.mistake = mistake


# --------------------------------------------------------------------------------------------------------------------
# Plain values


def plain(value):
    """The same value as NumPy and Python know it: tensors and pandas columns become arrays."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    return value.to_numpy() if hasattr(value, "to_numpy") else value


def as_array(value) -> np.ndarray | None:
    """A number, array, tensor, pandas column or list of numbers as a float array; None for anything else."""
    value = plain(value)
    if isinstance(value, (str, dict, set)) or value is None:
        return None
    if isinstance(value, (list, tuple)):
        value = [plain(one) for one in value]
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        return None


def as_sequence(value) -> list | None:
    """The items of a list, tuple, array, tensor or pandas column as a list; None for anything without an order."""
    value = plain(value)
    if isinstance(value, np.ndarray):
        return list(value.tolist()) if value.ndim else None
    return list(value) if isinstance(value, (list, tuple, range)) else None


def kind_of(value) -> str:
    """What came, in words: "a list", "a float32 array [3]", "a set"."""
    value = plain(value)
    if value is None:
        return "nothing"
    if isinstance(value, Described):
        return value.kind if value.kind.startswith("a ") else _article(value.kind)
    if isinstance(value, np.ndarray):
        return f"{_article(value.dtype.name)} array {shape_text(value.shape)}"
    return _article(type(value).__name__)


def _article(word: str) -> str:
    return f"an {word}" if word[:1].lower() in "aeiou" else f"a {word}"


def is_float32(value: np.ndarray) -> bool:
    """Whether every number fits into float32, as numbers do that were computed there."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.array_equal(value.astype(np.float32).astype(float), value, equal_nan=True))


# --------------------------------------------------------------------------------------------------------------------
# Showing values


def shape_text(shape: Sequence[int]) -> str:
    """A shape as the book writes it: [2, 3]."""
    return "[" + ", ".join(map(str, shape)) + "]"


def cut(text: str, most: int = MAX_TEXT) -> str:
    """One line of at most so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


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
    value = plain(value)
    if isinstance(value, np.ndarray):
        return _array_text(value)
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.6g}"
    if isinstance(value, dict) and "input_ids" in value:
        return f"<inputs {shape_text(np.shape(value['input_ids']))}>"
    if isinstance(value, tuple):
        return cut("(" + ", ".join(map(show, value)) + ("," if len(value) == 1 else "") + ")")
    if isinstance(value, list):
        shown = ", ".join(map(show, value[:12])) + (f", ... {len(value)} items" if len(value) > 12 else "")
        return cut(f"[{shown}]")
    if value is None or isinstance(value, (Number, str, dict, set)):
        return cut(repr(value), 90)
    return f"<{type(value).__name__}>"


def call_text(name: str, args: tuple, kwargs: Mapping) -> str:
    """A call as one would write it, with long values shortened."""
    return f"{name}({', '.join([*map(show, args), *(f'{key}={show(value)}' for key, value in kwargs.items())])})"


# --------------------------------------------------------------------------------------------------------------------
# Comparing values


def _distance_of_arrays(value, expected: np.ndarray, tolerance: float) -> float:
    value = as_array(value)
    if value is None or value.shape != expected.shape:
        return np.inf
    if not value.size:
        return 0.0
    tolerance = max(tolerance, FLOAT32) if is_float32(value) else tolerance
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
        items = as_sequence(value)
        if items is None or len(items) != len(expected):
            return np.inf
        return max((distance(one, other, tolerance) for one, other in zip(items, expected, strict=True)), default=0.0)
    return 0.0 if isinstance(value, type(expected)) and value == expected else np.inf


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

    def fail(self, expected: str, mistake: str | None = None, far: float = np.inf, returned: str | None = None) -> None:
        """End the exercise with a failure about the last call."""
        if returned is None:
            returned, array = show(self.returned), as_array(self.returned)
            if array is not None and array.size > 8:
                returned = f"an array {shape_text(array.shape)}"
        raise Failed(self.called, returned, expected, mistake, far)

    def number(self, *args, **kwargs) -> float:
        """Call the function; the result must be one finite number."""
        value = as_array(self(*args, **kwargs))
        if value is None or value.size != 1 or not np.isfinite(value).all():
            self.fail("one number", _kind_mistake(self.returned, 0.0))
        return float(value.reshape(()))

    def array(self, *args, shape: Sequence[int], **kwargs) -> np.ndarray:
        """Call the function; the result must be numbers of the given shape."""
        value = as_array(self(*args, **kwargs))
        if value is None or value.shape != tuple(shape):
            self.fail(f"an array {shape_text(shape)}", _kind_mistake(self.returned, np.zeros(shape)))
        return value

    def mask(self, *args, shape: Sequence[int], **kwargs) -> np.ndarray:
        """Call the function; the result must be True or False at each place of the given shape."""
        self(*args, **kwargs)
        value = np.asarray(plain(self.returned))
        if value.shape != tuple(shape):
            self.fail(f"a bool array {shape_text(shape)}", _kind_mistake(self.returned, np.zeros(shape)))
        if value.dtype.kind != "b":
            kind = kind_of(value)
            self.fail(
                f"a bool array {shape_text(shape)}", f"True and False are asked for; {kind} came. Use a comparison."
            )
        return value

    def sequence(self, *args, of: str = "a list", **kwargs) -> list:
        """Call the function; the result must be a list, or anything that holds items in order."""
        items = as_sequence(self(*args, **kwargs))
        if items is None:
            self.fail(of, f"{of[:1].upper()}{of[1:]} is asked for; {kind_of(self.returned)} came.")
        return items

    def parts(self, *args, names: Sequence[str], **kwargs) -> list:
        """Call the function; the result must be as many values as there are names: a tuple, or a list of them."""
        items, wanted = as_sequence(self(*args, **kwargs)), f"({', '.join(names)})"
        if items is None or len(items) != len(names):
            came = kind_of(self.returned) + (f" of {len(items)}" if items is not None else "")
            self.fail(wanted, f"{len(names)} values are asked for, {wanted}; {came} came.")
        return [plain(one) for one in (self.returned if isinstance(self.returned, (list, tuple)) else items)]

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
            shown, wanted = _compared(value, expected)
            self.fail(wanted, self._named(value, expected, mistakes, tolerance), far, shown)
        return value

    def part(
        self, value, expected, label: str, mistakes: Mapping | Callable | None = None, tolerance: float = TOLERANCE
    ) -> None:
        """A part of the last result, called `label` in the report, must be `expected`; else as in `gives`."""
        far = distance(value, expected, tolerance)
        if far > 1:
            mistakes = mistakes() if callable(mistakes) else mistakes or {}
            named = self._named(value, expected, mistakes, tolerance)
            shown, wanted = _compared(value, expected)
            self.fail(f"{label} {wanted}", named, far, f"{label} {shown}")

    def _named(self, value, expected, mistakes: Mapping, tolerance: float) -> str | None:
        if value is None and TRACED in self.called:
            return NOTHING_SAVED
        return _recognised(value, mistakes, tolerance) or _kind_mistake(value, expected, tolerance)

    def holds(self, condition: bool, expected: str, mistakes: Mapping[str, bool] | None = None) -> None:
        """A property of the last result must hold. `mistakes`: {what went wrong: True if it looks like that}."""
        if not condition:
            self.fail(expected, next((name for name, seen in (mistakes or {}).items() if seen), None))

    def leaves(self, position: int, name: str) -> None:
        """The last call must not have edited the argument at a position in place."""
        if position in getattr(self.source, "changed", ()):
            self.fail(f"{name} as it was", f"The function changed its argument {name} in place. Work on a copy.")


def _recognised(value, mistakes: Mapping, tolerance: float) -> str | None:
    for name, wrong in mistakes.items():
        with np.errstate(all="ignore"):
            wrong = wrong() if callable(wrong) else wrong
        if wrong is not None and distance(value, wrong, tolerance) <= 1:
            return name
    return None


def _kind_mistake(value, expected, tolerance: float = TOLERANCE) -> str | None:
    """Nothing, another kind, another shape, or too few digits: what can be said without knowing the exercise."""
    if value is None:
        return "The function returned nothing: does each path through it end in `return`?"
    if isinstance(expected, tuple):
        return _tuple_mistake(value, expected, tolerance)
    got, wanted = as_array(value), as_array(expected)
    if isinstance(expected, (str, dict)) or wanted is None:
        return None
    asked = f"an array {shape_text(wanted.shape)}" if wanted.ndim else "one number"
    if got is None:
        return f"{asked[:1].upper()}{asked[1:]} is asked for; {kind_of(value)} came."
    if got.shape != wanted.shape:
        came = f"an array {shape_text(got.shape)}" if got.ndim else "one number"
        return f"The shape is wrong: {asked} is asked for; {came} came."
    if np.asarray(plain(value)).dtype == np.float16:
        return "float16 keeps three digits: compute in float32 or float64."
    return None


def _tuple_mistake(value, expected: tuple, tolerance: float) -> str | None:
    """How many values are asked for, or which of them are wrong."""
    items = as_sequence(value)
    if items is None or len(items) != len(expected):
        came = kind_of(value) + (f" of {len(items)}" if items is not None else "")
        return f"{len(expected)} values are asked for; {came} came."
    pairs = enumerate(zip(items, expected, strict=True), start=1)
    wrong = [str(place) for place, (one, other) in pairs if distance(one, other, tolerance) > 1]
    return f"Of the {len(expected)} values, wrong: number {', '.join(wrong)}." if len(wrong) < len(expected) else None


def _compared(value, expected) -> tuple[str, str]:
    """The returned and the expected value, as far as a reader must see them to find the difference."""
    wanted, got = as_array(expected), as_array(value)
    if wanted is None or got is None or isinstance(expected, tuple):
        return show(value), show(expected)
    if got.shape != wanted.shape:
        return _shape_and_value(value, got), _shape_and_value(expected, wanted)
    if wanted.ndim == 0:
        return _digits(float(got), float(wanted))
    if wanted.size <= 8 and show(got) != show(wanted):
        return show(got), show(wanted)
    return _first_difference(got, wanted)


def _shape_and_value(value, array: np.ndarray) -> str:
    return show(value) if array.size <= 8 else f"an array {shape_text(array.shape)}"


def _digits(got: float, wanted: float) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to see the difference, six at least."""
    for digits in range(6, 18):
        if f"{got:.{digits}g}" != f"{wanted:.{digits}g}":
            break
    return f"{got:.{digits}g}", f"{wanted:.{digits}g}"


def _first_difference(got: np.ndarray, wanted: np.ndarray) -> tuple[str, str]:
    with np.errstate(invalid="ignore"):
        far = np.abs(got - wanted) / np.maximum(1, np.abs(wanted)) > FLOAT32
    far |= np.isnan(got) != np.isnan(wanted)
    place = np.unravel_index(np.argmax(far if far.any() else got != wanted), got.shape)
    one, other = _digits(float(got[place]), float(wanted[place]))
    return f"an array {shape_text(got.shape)} with {one} at {shape_text(place)}", f"{other} at {shape_text(place)}"
