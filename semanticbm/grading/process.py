"""The student's process, seen by the judge: start it, ask it, stop it.

A student's files are answered by one process after the other: if one ends or hangs in a call, that call has failed, and the
next question starts a new one.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from semanticbm.errors import UserError
from semanticbm.grading.answer import Raised, call_text
from semanticbm.grading.child.protocol import Malformed, receive, send
from semanticbm.grading.plain import inert
from semanticbm.grading.sandbox import Sandbox
from semanticbm.grading.student import changed_places, value_in

CRASHES_PER_FILE = 3
JUDGING = threading.Lock()  # one check at a time in this process; let go while a student's process works


@dataclass(frozen=True)
class Limits:
    """What a student's process may use. Seconds: of one call or import; beyond that until it is stopped from outside; to
    start and import libraries; of all exercises together. Memory and file size in bytes, output in characters.
    """

    seconds: float = 10
    grace: float = 3
    start: float = 300
    total: float = 600
    memory: int = 3_000_000_000
    file_size: int = 50_000_000
    output: int = 100_000


class Ended(Exception):
    """The process is no more; the text says why."""


class Process:
    """One running process, and a thread that reads what it sends: at most a few messages ahead."""

    def __init__(self, folder: Path, sandbox: Sandbox, limits: Limits):
        self.limits, self.number, self.ready = limits, 0, False
        self.popen = sandbox.start(folder, limits)
        self.answers: queue.Queue = queue.Queue(maxsize=2)
        threading.Thread(target=self._read, daemon=True).start()

    def wait_until_ready(self) -> None:
        """Wait for the first word of the process, which comes before any of the student's code. `UserError` if it fails."""
        if self.ready:
            return
        try:
            self.ready = bool(self._next(self.limits.start).get("ready"))
        except Ended:
            raise UserError("the student's process does not start: run `semanticbm doctor`.") from None

    def _read(self) -> None:
        try:
            while True:
                self.answers.put(receive(self.popen.stdout))
        except (EOFError, OSError, ValueError):
            self.answers.put(Ended("The process ended in the middle of this call."))
        except Malformed:
            self.answers.put(Ended("The process sent something that is no answer."))

    def _next(self, seconds: float) -> dict:
        try:
            answer = self.answers.get(timeout=max(seconds, 0.01))
        except queue.Empty:
            self._end("The process was stopped: it ran too long.")
        if isinstance(answer, Ended):
            self._end(str(answer))
        return answer

    def _end(self, why: str) -> None:
        self.stop()
        raise Ended(why)

    def ask(self, question: dict, most: float) -> dict:
        """Send a question and wait for its answer, `most` seconds at the longest. `Ended` if the process is no more."""
        self.wait_until_ready()
        self.number += 1
        watchdog = threading.Timer(most, self.stop)  # for a process that does not even read
        watchdog.start()
        try:
            send(self.popen.stdin, {"number": self.number, **question}, strict=True)
        except OSError:
            self._end("The process ended in the middle of this call.")
        finally:
            watchdog.cancel()
        answer = self._next(min(self.limits.start, most))
        if "began" in answer:
            answer = self._next(min(self.limits.seconds + self.limits.grace, most))
        if answer.get("number") != self.number:
            self._end("The process sent something that is no answer.")
        return answer

    def stop(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.kill()
        self.popen.wait()
        with suppress(queue.Empty):  # the reading thread may wait for room
            while True:
                self.answers.get_nowait()


class Student:
    """The answers of one student. `folder`: a copy of the exercise files. `echo(text)` gets what the code prints."""

    def __init__(self, folder: Path, sandbox: Sandbox, limits: Limits | None = None, echo=None):
        self.folder, self.sandbox, self.limits, self.echo = folder, sandbox, limits or Limits(), echo
        self.process, self.opened, self.stopped = None, "", False
        self.broken: dict[str, str] = {}
        self.crashes: Counter = Counter()
        self.until = time.monotonic() + self.limits.total

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Stop the process. Questions that are asked now or later get no answer."""
        self.stopped = True
        self._forget()

    def _forget(self) -> None:
        process, self.process, self.opened = self.process, None, ""
        if process:
            process.stop()

    def ask(self, file: str, question: dict) -> dict:
        """The answer to a question about a file. `Raised` if there is none, with the reason.

        The caller holds `JUDGING`.
        """
        with _letting_go(JUDGING):
            self._open(file)
            try:
                return self._answer(question)
            except Ended as ending:
                self.crashes[file] += 1
                self._forget()
                raise Raised(f"  {ending}") from None

    def _answer(self, question: dict) -> dict:
        answer = self.process.ask(question, self.until - time.monotonic())
        if self.echo and answer.get("printed"):
            self.echo(str(answer["printed"]))
        return answer

    def _open(self, file: str) -> None:
        if file not in self.broken and self.opened != file:
            self._open_now(file)
        if file in self.broken:
            raise Raised(self.broken[file])

    def _open_now(self, file: str) -> None:
        if self.crashes[file] >= CRASHES_PER_FILE:
            raise Raised("  Not run: this file had ended the process too often.")
        if self.stopped or time.monotonic() > self.until:
            raise Raised(f"  Not run: all exercises together took more than {self.limits.total:.0f} seconds.")
        try:
            self.start()
            answer = self._answer({"open": file})
            self.opened = file
        except Ended as ending:
            self._forget()
            answer = {"broken": f"  {file}.py does not import: {ending}"}
        if "broken" in answer:
            self.broken[file] = inert(answer["broken"])

    def start(self) -> None:
        """Start the process if it does not run. It imports its libraries while the caller does something else."""
        if self.process:
            return
        self.process = Process(self.folder, self.sandbox, self.limits)
        if self.stopped:  # by another thread, while it started
            self._forget()
            raise Raised("  Not run: the grading was stopped.")


@contextmanager
def _letting_go(lock: threading.Lock):
    lock.release()
    try:
        yield
    finally:
        lock.acquire()


class Asked:
    """One function of a student as a source of answers."""

    def __init__(self, student: Student, file: str, function: str):
        self.student, self.file, self.function, self.asked = student, file, function, ()

    def __call__(self, args: tuple, kwargs: dict):
        """What the function returns; `ToDo` or `Raised` if it gives nothing."""
        self.asked = args
        answer = self.student.ask(self.file, {"call": self.function, "args": args, "kwargs": kwargs})
        if "missing" in answer:
            raise Raised(f"  {self.file}.py has no function {self.function}. Did you rename it?")
        if "raised" in answer:
            answer["raised"] = inert(answer["raised"])
        if "slow" in answer:
            answer["slow"] = self.student.limits.seconds
        return value_in(answer, call_text(self.function, args, kwargs))

    @property
    def changed(self) -> set[int]:
        """The positions of the arguments that the last call edited in place."""
        return changed_places(self.asked, self.student.ask(self.file, {"arguments": True}).get("arguments"))
