"""Loading and calling a reader's file: errors in it are reported with the reader's own lines only."""

from __future__ import annotations

import copy
import importlib.util
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from semanticbm.errors import UserError
from semanticbm.grading.answer import Failed, Raised, ToDo, call_text, show
from semanticbm.grading.registry import CHAPTERS, Exercise

CALL_SECONDS = 20.0


class TimeUp(BaseException):
    """The reader's code ran too long. Not an Exception, so that `except Exception` does not swallow it."""


@contextmanager
def time_limit(seconds: float = CALL_SECONDS):
    """Raise `TimeUp` after so many seconds. Works in the main thread of a Unix process; elsewhere it does nothing."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def own_lines(error: BaseException, file: str | Path) -> str:
    """The error with those frames of the traceback that lie in the reader's folder."""
    folder = str(Path(file).parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    lines = [f"  {Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames]
    if isinstance(error, SyntaxError) and error.lineno:
        lines = [f"  {Path(error.filename or file).name}, line {error.lineno}: {(error.text or '').strip()}"]
    message = str(error).strip().splitlines()
    return "\n".join([*lines, f"  {type(error).__name__}: {message[0] if message else ''}".rstrip(": ")])


def load_file(path: Path, seconds: float = CALL_SECONDS):
    """Import a file of exercises as a module of its own; `Raised` if it does not import within so many seconds.

    A real import from disk, since nnsight reads the source of the functions it traces.
    """
    name = f"_answers_{path.stem}_{abs(hash(str(path.resolve()))):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with time_limit(seconds):
            spec.loader.exec_module(module)
    except TimeUp:
        raise Raised(f"  {path.name} did not finish importing within {seconds:.0f} seconds.") from None
    except (Exception, SystemExit) as error:
        raise Raised(f"  {path.name} does not import:\n{own_lines(error, path)}") from None
    return module


def function_of(module, exercise: Exercise) -> Callable:
    """The reader's function for an exercise; `Raised` if it is not there."""
    function = getattr(module, exercise.function, None)
    if not callable(function):
        raise Raised(f"  {exercise.file}.py has no function {exercise.function}. Did you rename it?")
    return function


def exercise_folder(folder: Path) -> Path:
    """The folder that holds the exercise files: the given one, or `exercises` in it. `UserError` if there is none."""
    folder = Path(folder)
    for place in (folder, folder / "exercises"):
        if any((place / f"{chapter.file}.py").is_file() for chapter in CHAPTERS.values()):
            return place
    raise UserError(f"no exercises in {folder}: pass the folder that holds ex1_bm25.py with --folder.")


# --------------------------------------------------------------------------------------------------------------------
# Calling


def _snapshot(value):
    if hasattr(value, "detach"):
        return value.detach().clone()
    return copy.deepcopy(value) if isinstance(value, (np.ndarray, list, dict, set, tuple)) else None


def _same(before, now) -> bool:
    if before is None:
        return True
    if isinstance(before, dict):
        return before.keys() == now.keys() and all(_same(before[key], now[key]) for key in before)
    if hasattr(before, "detach"):
        return before.shape == now.shape and bool((before == now).all())
    if isinstance(before, np.ndarray):
        return before.shape == now.shape and np.array_equal(before, now, equal_nan=before.dtype.kind == "f")
    if isinstance(before, (list, tuple)):
        return len(before) == len(now) and all(map(_same, before, now))
    return bool(before == now)


class Live:
    """Calls a reader's function for the checks: turns its errors into `ToDo` and `Raised`, guards its inputs."""

    def __init__(self, function: Callable, file: str | Path, seconds: float = CALL_SECONDS):
        self.function, self.file, self.seconds = function, file, seconds
        self.name = getattr(function, "__name__", "function")

    def __call__(self, args: tuple, kwargs: dict):
        before = [_snapshot(value) for value in args]
        try:
            with time_limit(self.seconds):
                value = self.function(*args, **kwargs)
        except NotImplementedError as error:
            raise ToDo(str(error)) from None
        except TimeUp:
            raise Raised(f"  {call_text(self.name, args, kwargs)} took more than {self.seconds:.0f} seconds.") from None
        except (Exception, SystemExit) as error:
            raise Raised(f"  {call_text(self.name, args, kwargs)} raised:\n{own_lines(error, self.file)}") from None
        self._check_inputs(before, args, kwargs, value)
        return value

    def _check_inputs(self, before: list, args: tuple, kwargs: dict, value) -> None:
        for number, (old, new) in enumerate(zip(before, args, strict=True), start=1):
            if not _same(old, new):
                raise Failed(
                    call_text(self.name, args, kwargs),
                    show(value),
                    f"argument {number} unchanged",
                    f"The function changed its argument number {number} in place. Work on a copy.",
                )
