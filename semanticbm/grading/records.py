"""Recorded answers: what a student's functions returned, written in one process and judged in another.

The student's process runs the checks only to find out which calls to make. Each value that a function returns is
written down as one line of JSON. The grader's process runs the same checks on the same inputs, which it makes itself,
and takes the recorded values for the answers. So a file that changes pytest, NumPy or this package inside its own
process changes nothing that counts, and the only way to a point is the right value.

No pickle: numbers, texts, lists, tuples, dictionaries and float arrays are written; anything else becomes its name.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable

import numpy as np

from semanticbm.grading.answer import Failed, Raised, ToDo

MAX_NUMBERS, MAX_TEXT, MAX_DEPTH, MAX_ITEMS = 200_000, 4_000, 6, 10_000


class Opaque:
    """Stands for a returned value of a kind that no exercise asks for."""

    def __init__(self, name: str):
        self.__class__ = type(str(name)[:60], (Opaque,), {})


def _encode_array(array: np.ndarray):
    if array.size > MAX_NUMBERS or array.dtype.kind not in "biuf":
        return {"other": "array"}
    return {
        "array": base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode(),
        "shape": array.shape,
    }


def encode(value, depth: int = 0):
    """A returned value as JSON."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if depth < MAX_DEPTH and isinstance(value, (list, tuple)) and len(value) <= MAX_ITEMS:
        return {"tuple" if isinstance(value, tuple) else "list": [encode(one, depth + 1) for one in value]}
    if depth < MAX_DEPTH and isinstance(value, dict) and len(value) <= MAX_ITEMS:
        return {"dict": [[encode(key, depth + 1), encode(one, depth + 1)] for key, one in value.items()]}
    return {"other": type(value).__name__}


def decode(value):
    """The value behind `encode`'s JSON. Anything malformed raises ValueError."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.frombuffer(base64.b64decode(value["array"]), dtype="<f8").reshape(value["shape"])
    for name, make in (("list", list), ("tuple", tuple)):
        if name in value:
            return make(map(decode, value[name]))
    if "dict" in value:
        return {decode(key): decode(one) for key, one in value["dict"]}
    return Opaque(value.get("other", "object"))


# --------------------------------------------------------------------------------------------------------------------
# Writing, in the student's process


class Recorder:
    """Writes one line for each event to a file descriptor."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def write(self, **event) -> None:
        """Write an event as one line, at once."""
        os.write(self.descriptor, (json.dumps(event) + "\n").encode())

    def listen(self, source: Callable) -> Callable:
        """A source of answers that writes down what `source` returns or raises."""

        def recorded(args: tuple, kwargs: dict):
            try:
                value = source(args, kwargs)
            except ToDo as problem:
                self.write(todo=str(problem)[:MAX_TEXT])
                raise
            except Raised as problem:
                self.write(raised=str(problem)[:MAX_TEXT])
                raise
            except Failed as problem:
                self.write(failed=[problem.called, problem.returned, problem.expected, problem.mistake])
                raise
            self.write(value=encode(value))
            return value

        return recorded


# --------------------------------------------------------------------------------------------------------------------
# Reading, in the grader's process


def parse(line: bytes) -> dict:
    """One line as an event; an empty one if it makes no sense."""
    try:
        event = json.loads(line)
        return event if isinstance(event, dict) else {}
    except (ValueError, RecursionError):
        return {}


def replay(events: list[dict], ending: str) -> Callable:
    """A source of answers that gives back the recorded ones in order. `ending`: why there are no more."""
    left = iter(events)

    def source(_args: tuple, _kwargs: dict):
        event = next(left, {})
        if "todo" in event:
            raise ToDo(str(event["todo"]))
        if "raised" in event:
            raise Raised(str(event["raised"]))
        if isinstance(event.get("failed"), list) and len(event["failed"]) == 4:
            raise Failed(*event["failed"])
        if "value" not in event:
            raise Raised(f"  {ending}")
        try:
            return decode(event["value"])
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise Raised("  The recorded answer cannot be read.") from None

    return source
