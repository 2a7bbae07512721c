"""Loading a reader's file and calling its functions. Errors are told with the reader's own lines only."""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

CALL_SECONDS = 20.0
FRAMES = 3  # shown at the end of a long traceback


class TimeUp(BaseException):
    """The reader's code ran too long. Not an Exception, so that `except Exception` does not swallow it."""


class TooMuchOutput(Exception):
    """The reader's code printed without end."""


class CappedOutput:
    """A text stream that keeps what is printed, and refuses more than a given number of characters."""

    encoding, errors, closed = "utf-8", "replace", False

    def __init__(self, limit: int):
        self.limit, self.left, self.parts = limit, limit, []

    def write(self, text: str) -> int:
        """Keep the text; refuse it if it is too much."""
        if len(text) > self.left:
            raise TooMuchOutput(f"printed more than {self.limit} characters")
        self.left -= len(text)
        self.parts.append(text)
        return len(text)

    def flush(self) -> None:
        """Nothing waits to be written."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False

    def take(self) -> str:
        """What was printed since the last time."""
        text = "".join(self.parts)
        self.parts, self.left = [], self.limit
        return text


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
    """The error with those frames of the traceback that lie in the reader's folder: of many, the last few."""
    folder = str(Path(file).parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    lines = [f"  {Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames]
    if len(lines) > 2 * FRAMES:
        lines = [*lines[:1], f"  ... {len(lines) - 1 - FRAMES} more calls ...", *lines[-FRAMES:]]
    if isinstance(error, SyntaxError) and error.lineno:
        lines = [f"  {Path(error.filename or file).name}, line {error.lineno}: {(error.text or '').strip()}"]
    return "\n".join([*(line[:300] for line in lines), f"  {type(error).__name__}: {_message(error)}".rstrip(": ")])


def _message(error: BaseException) -> str:
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # a reader's own exception may be odd
        return ""
    return lines[0][:300] if lines else ""


class Broken(Exception):
    """A file does not import; the text says why."""


def load_file(path: Path, seconds: float = CALL_SECONDS):
    """Import a file of exercises as a module of its own; `Broken` if it does not import within so many seconds.

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
        raise Broken(f"  {path.name} did not finish importing within {seconds:.0f} seconds.") from None
    except (Exception, SystemExit) as error:
        raise Broken(f"  {path.name} does not import:\n{own_lines(error, path)}") from None
    return module


def call(function: Callable, args: tuple, kwargs: dict, file: str | Path, seconds: float = CALL_SECONDS) -> dict:
    """Call a reader's function. Gives a message: {"value"}, {"to_do"}, {"raised"} or {"slow"}."""
    try:
        with time_limit(seconds):
            return {"value": function(*args, **kwargs)}
    except NotImplementedError as error:
        return {"to_do": _message(error)}
    except TimeUp:
        return {"slow": seconds}
    except (Exception, SystemExit) as error:
        return {"raised": own_lines(error, file)}
