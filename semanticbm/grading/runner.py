"""Grading files that nobody has read: each student in a process of their own, judged in this one.

What is promised, for code written in Python:

- the points come from this process, which never runs a student's code (see `semanticbm.grading.records`);
- a loop, a crash, a flood of output or of memory ends the exercise in which it happens, and only for that student;
- the student's code works on a copy, in a folder that is deleted afterwards, and cannot read or write elsewhere;
- no network, no other processes; checks, pytest, torch and this package are the installed ones.

What is not: a determined attacker who calls C functions gets around the audit hook; the memory limit needs Linux. For
work from people whom you do not trust at all, grade inside a container. And the checks are public: an answer can be
copied from the library's source, so read the code of those who pass an examination.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from semanticbm.errors import UserError
from semanticbm.grading.answer import Raised
from semanticbm.grading.case import HELD_OUT, VISIBLE
from semanticbm.grading.records import parse, replay
from semanticbm.grading.registry import CHAPTERS, Exercise, all_exercises
from semanticbm.grading.report import ERROR, TO_DO, Result, run_checks

MAX_SOURCE = 1_000_000  # bytes of one file
CRASHES_PER_FILE = 3


@dataclass(frozen=True)
class Limits:
    """What a student's process may use. Seconds: of one call; without any sign of life; to start; of the whole process."""

    seconds: float = 10
    silent: float = 30
    start: float = 300
    total: float = 600
    memory: int = 2_000_000_000
    file_size: int = 50_000_000
    output: int = 100_000


@dataclass
class Grade:
    """The results of a student, in the order of the exercises."""

    student: str
    results: list[Result]
    held_out: bool
    note: str = ""

    @property
    def points(self) -> float:
        """The sum over the exercises."""
        return sum(result.points for result in self.results)

    @property
    def max_points(self) -> float:
        """What a perfect answer gets."""
        return sum(result.exercise.max_points for result in self.results)


@dataclass
class Recording:
    """What a student's processes wrote: events of each exercise, files that do not import, why an exercise ended early."""

    events: dict[str, list[dict]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)


# --------------------------------------------------------------------------------------------------------------------
# Finding and copying


def _exercises_in(folder: Path) -> Path | None:
    for place in (folder, folder / "exercises"):
        if any((place / f"{chapter.file}.py").is_file() for chapter in CHAPTERS.values()):
            return place
    return None


def students_in(path: Path) -> dict[str, Path | None]:
    """{student: folder with exercises, or None}: one student, or one for each folder inside `path`."""
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is not a folder: pass a student's folder, or a folder of such folders.")
    own = _exercises_in(path)
    if own:
        return {path.resolve().name: own}
    folders = sorted(place for place in path.iterdir() if place.is_dir() and not place.name.startswith((".", "_")))
    found = {place.name: _exercises_in(place) for place in folders}
    if not any(found.values()):
        raise UserError(f"no exercises in {path}: a student's folder holds ex1_bm25.py and the other files.")
    return found


def copy_files(source: Path, scratch: Path) -> None:
    """Copy a student's Python files: no links, nothing above a megabyte."""
    for path in sorted(source.glob("*.py")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_SOURCE:
            shutil.copyfile(path, scratch / path.name)


# --------------------------------------------------------------------------------------------------------------------
# Running


@cache
def isolation() -> tuple[str, ...]:
    """The command that takes network and other processes away, or nothing where the system does not allow it."""
    if not sys.platform.startswith("linux") or not shutil.which("unshare"):
        return ()
    prefix = ("unshare", *(() if os.geteuid() == 0 else ("-r",)), "--net", "--pid", "--fork", "--kill-child", "--")
    done = subprocess.run([*prefix, "true"], capture_output=True, timeout=20)
    return prefix if done.returncode == 0 else ()


def _environment(scratch: Path) -> dict[str, str]:
    """Nothing of the teacher's environment but what Python needs to start."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "SYSTEMROOT") if name in os.environ}
    return kept | {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MPLCONFIGDIR": str(scratch),
    }


def _start(scratch: Path, descriptor: int, exercises: list[str], variants: tuple[int, ...], limits: Limits):
    settings = json.dumps(asdict(limits) | {"exercises": exercises, "variants": variants})
    command = [
        *isolation(),
        sys.executable,
        "-I",
        "-m",
        "semanticbm.grading.child",
        str(scratch),
        str(descriptor),
        settings,
    ]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[descriptor],
        env=_environment(scratch),
        start_new_session=True,
    )


def _stop(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()


class Listener(threading.Thread):
    """Collects what a process writes into a pipe. What was read cannot be taken back by the one who wrote it."""

    def __init__(self, descriptor: int, most: int):
        super().__init__(daemon=True)
        self.descriptor, self.most, self.size, self.parts = descriptor, most, 0, []

    def run(self) -> None:
        """Read to the end; keep the first `most` bytes."""
        with os.fdopen(self.descriptor, "rb", buffering=0) as pipe:
            while part := pipe.read(65536):
                if self.size < self.most:
                    self.parts.append(part)
                self.size += len(part)

    def lines(self) -> list[bytes]:
        """What came, line by line."""
        self.join(timeout=5)
        return b"".join(self.parts).splitlines()


def _watch(process: subprocess.Popen, listener: Listener, limits: Limits) -> str:
    """Wait for the end of a process; stop it if it is silent or takes too long. Why it ended."""
    began = last = time.monotonic()
    size = 0
    while process.poll() is None:
        time.sleep(0.05)
        now, grown = time.monotonic(), listener.size
        if grown != size:
            last, size = now, grown
        if now - last > (limits.silent if size else limits.start) or now - began > limits.total:
            _stop(process)
            return "The process was stopped: it ran too long."
    _stop(process)
    return "The process ended in the middle of this exercise."


def run_once(
    scratch: Path, exercises: list[str], variants: tuple[int, ...], limits: Limits, recording: Recording
) -> bool:
    """One process for some exercises. True if it got to the end; else `recording.endings` tells where it stopped."""
    reading, writing = os.pipe()
    listener = Listener(reading, limits.file_size)
    try:
        process = _start(scratch, writing, exercises, variants, limits)
    finally:
        os.close(writing)
        listener.start()
    ending = _watch(process, listener, limits)
    events = [parse(line) for line in listener.lines()]
    if not events:  # the first line is written before any of the student's code runs
        raise UserError("the grading process did not start: run `semanticbm doctor`.")
    stopped_in, finished = _sort(events, recording, set(exercises))
    if not finished:
        recording.endings[stopped_in] = ending
    return finished


def _sort(events: list[dict], recording: Recording, wanted: set[str]) -> tuple[str, bool]:
    """Put events where they belong. Gives the exercise or file in which the process stopped, and whether it finished."""
    place, current = "", None
    for event in events:
        if "file" in event:
            place, current = str(event["file"]), None
        elif "broken_file" in event:
            recording.broken[place] = str(event["broken_file"])
        elif event.get("start") in wanted and event["start"] not in recording.ended:
            place = current = event["start"]
            recording.events[current] = []
        elif "end" in event and current:
            recording.ended.add(current)
            place, current = current.partition(".")[0], None
        elif current:
            recording.events[current].append(event)
        elif "done" in event:
            return place, True
    return place, False


def record(scratch: Path, exercises: list[Exercise], variants: tuple[int, ...], limits: Limits) -> Recording:
    """Run a student's exercises; start again after a crash with those that are left."""
    recording, left = Recording(), [one.id for one in exercises if (scratch / f"{one.file}.py").is_file()]
    while left and not run_once(scratch, left, variants, limits, recording):
        stopped_in = list(recording.endings)[-1]
        if "." not in stopped_in:  # while importing the file, or between two exercises
            recording.broken.setdefault(stopped_in, f"  {recording.endings[stopped_in]}")
        before, left = left, [one for one in left if _still_open(one, recording)]
        if left == before:  # the record was destroyed: the student's own loss
            recording.broken |= {one.partition(".")[0]: "  The record of the answers was destroyed." for one in left}
            break
    return recording


def _still_open(exercise: str, recording: Recording) -> bool:
    file = exercise.partition(".")[0]
    crashes = sum(place.partition(".")[0] == file for place in recording.endings)
    return not (
        exercise in recording.ended
        or exercise in recording.endings
        or file in recording.broken
        or crashes >= CRASHES_PER_FILE
    )


# --------------------------------------------------------------------------------------------------------------------
# Judging


def judge(exercise: Exercise, recording: Recording, variants: tuple[int, ...], present: bool) -> Result:
    """Ask the checks in this process, with the recorded answers."""
    if not present:
        return Result(exercise, TO_DO)
    if exercise.id not in recording.events:
        reason = recording.broken.get(exercise.file, "  Not run: this file had ended the process too often.")
        return Result(exercise, ERROR, 0, None, Raised(reason))
    ending = recording.endings.get(exercise.id, "No answer was recorded for this call.")
    try:
        return run_checks(exercise, replay(recording.events[exercise.id], ending), variants)
    except Exception as problem:  # a recorded value of a kind that the checks did not foresee
        return Result(exercise, ERROR, 0, None, Raised(f"  The answer cannot be judged: {type(problem).__name__}."))


def grade_student(name: str, folder: Path | None, held_out: bool = False, limits: Limits | None = None) -> Grade:
    """Grade the exercises in a folder; with None every exercise is to do."""
    exercises, variants = all_exercises(), (*VISIBLE, *HELD_OUT) if held_out else VISIBLE
    if folder is None:
        return Grade(name, [Result(one, TO_DO) for one in exercises], held_out, "no exercise files in this folder")
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as place:
        scratch = Path(place).resolve()
        copy_files(folder, scratch)
        present = {one.file for one in exercises if (scratch / f"{one.file}.py").is_file()}
        recording = record(scratch, exercises, variants, limits or Limits())
    return Grade(name, [judge(one, recording, variants, one.file in present) for one in exercises], held_out)


def grade_students(
    students: dict[str, Path | None], held_out: bool = False, console=None, limits: Limits | None = None
) -> list[Grade]:
    """Grade students one after the other, with a progress bar."""
    from rich.progress import track

    every: Iterable = students.items()
    if console is not None:
        every = track(list(every), "grading", console=console, transient=True)
    return [grade_student(name, folder, held_out, limits) for name, folder in every]
