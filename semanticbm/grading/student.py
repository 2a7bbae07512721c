"""A reader's function as a source of answers: asked in this process (`Live`), with the errors in words.

`semanticbm.grading.process.Asked` is the same for a function in another process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from semanticbm.errors import UserError
from semanticbm.grading.answer import Raised, ToDo, as_array, call_text
from semanticbm.grading.child.calls import CALL_SECONDS, call
from semanticbm.grading.child.protocol import Described, again
from semanticbm.grading.known_errors import explained
from semanticbm.grading.registry import CHAPTERS


def exercise_folder(folder: Path) -> Path:
    """The folder that holds the exercise files: the given one, or `exercises` in it. `UserError` if there is none."""
    folder = Path(folder)
    for place in (folder, folder / "exercises"):
        if any((place / f"{chapter.file}.py").is_file() for chapter in CHAPTERS.values()):
            return place
    raise UserError(f"no exercises in {folder}: pass the folder that holds ex1_bm25.py with --folder.")


def value_in(answer: dict, called: str):
    """The value in an answer; `ToDo` or `Raised` if the function gave none."""
    if "value" in answer:
        return answer["value"]
    if "to_do" in answer:
        raise ToDo(str(answer["to_do"]))
    if "slow" in answer:
        raise Raised(f"  {called} took more than {answer['slow']:.0f} seconds.")
    text = f"  {called} raised:\n{answer.get('raised', '')}"
    raise Raised(text, explained(text))


def same(before, now) -> bool:
    """Whether an argument looks as before the call. What is not sent back, such as a model, counts as the same."""
    if isinstance(now, Described):
        return True
    if isinstance(before, dict):
        return isinstance(now, dict) and before.keys() == now.keys() and all(same(before[key], now[key]) for key in now)
    if isinstance(before, (list, tuple)):
        return isinstance(now, (list, tuple)) and len(before) == len(now) and all(map(same, before, now))
    if isinstance(before, np.ndarray) or hasattr(before, "detach"):
        before, now = as_array(before), as_array(now)
        return now is not None and np.array_equal(before, now, equal_nan=True)
    return type(before) is type(now) and bool(before == now)


def changed_places(before: tuple, now) -> set[int]:
    """The positions of the arguments that a call edited in place."""
    now = now if isinstance(now, tuple) else ()
    return {place for place, pair in enumerate(zip(before, now, strict=False)) if not same(*pair)}


def build(recipe):
    """The model of a recipe, for an answer in this process."""
    from semanticbm.grading.child import models

    return models.build(recipe)


class Live:
    """Calls a reader's function in this process: for a notebook, and for tests. It gets copies of the arguments."""

    def __init__(self, function: Callable, file: str | Path, seconds: float = CALL_SECONDS):
        self.function, self.file, self.seconds, self.asked, self.sent = function, file, seconds, (), ()
        self.name = getattr(function, "__name__", "function")

    def __call__(self, args: tuple, kwargs: dict):
        self.asked, self.sent, own_kwargs = args, again(args, True, build), again(kwargs, True, build)
        answer = call(self.function, self.sent, own_kwargs, self.file, self.seconds)
        return again(value_in(answer, call_text(self.name, args, kwargs)))

    @property
    def changed(self) -> set[int]:
        """The positions of the arguments that the last call edited in place."""
        return changed_places(self.asked, again(self.sent))
