"""The process in which a student's files run: `python -I -m semanticbm.grading.child`, started by the runner.

It imports the libraries, then locks itself, then imports the student's files and records what their functions return.
The lock is an audit hook, which Python code cannot take off: no other process, no network, no signals, no file outside
the working copy and the installed libraries. It is a fence for Python code, not a prison: code that calls C functions
through ctypes gets around it. Where the system allows it, the runner adds a network and a process namespace.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

FORBIDDEN = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "pty.",
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.gethostby",
    "socket.sendto",
    "socket.sendmsg",
    "os.kill",
    "signal.pthread_kill",
    "resource.setrlimit",
    "resource.prlimit",
    "urllib.Request",
)
WRITING = (
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "shutil.rmtree",
    "shutil.move",
    "shutil.copyfile",
)
READING = ("os.listdir", "os.scandir", "os.chdir")
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class CappedOutput:
    """A text stream that keeps nothing and refuses more than a given number of characters."""

    encoding, errors, closed = "utf-8", "replace", False

    def __init__(self, limit: int):
        self.limit, self.left = limit, limit

    def write(self, text: str) -> int:
        """Count the text; refuse it if it is too much."""
        self.left -= len(text)
        if self.left < 0:
            raise OSError(f"printed more than {self.limit} characters")
        return len(text)

    def flush(self) -> None:
        """Nothing is kept, so there is nothing to do."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False


def _inside(path, roots: list[str]) -> bool:
    with suppress(TypeError, ValueError):
        place = os.path.realpath(os.fsdecode(path))
        return any(place == root or place.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
    return False


def lock(scratch: Path) -> None:
    """From now on this process touches nothing but its scratch folder, and reads nothing but that and the libraries."""
    import semanticbm

    own = [os.path.realpath(scratch)]
    readable = [
        *own,
        *(os.path.realpath(place) for place in {sys.prefix, sys.base_prefix, *_library_folders()}),
        os.path.realpath(Path(semanticbm.__file__).parent),
        "/dev/null",
        "/dev/urandom",
        "/proc/self",
        f"/proc/{os.getpid()}",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/sys/devices/system",
        "/usr/share/zoneinfo",
    ]

    def hook(event: str, arguments: tuple) -> None:
        refuse_unless(not event.startswith(FORBIDDEN), event)
        if event == "open":
            path, _, flags = arguments
            roots = [*own, os.devnull] if (flags or 0) & WRITE_FLAGS else readable
            refuse_unless(isinstance(path, int) or _inside(path, roots), f"open {path!r}")
        elif event in WRITING:
            refuse_unless(all(_inside(path, own) for path in arguments if isinstance(path, (str, bytes, Path))), event)
        elif event in READING:
            refuse_unless(
                arguments[0] is None or isinstance(arguments[0], int) or _inside(arguments[0], readable), event
            )

    sys.addaudithook(hook)


def refuse_unless(allowed: bool, what: str) -> None:
    """Raise PermissionError with the name of what was tried."""
    if not allowed:
        raise PermissionError(f"not allowed while grading: {what}")


def _library_folders() -> list[str]:
    """Folders from which this interpreter imports, without any that holds the project's own sources."""
    return [
        place for place in sys.path if place and Path(place).name in ("site-packages", "dist-packages", "lib-dynload")
    ]


def limit_resources(memory_bytes: int, file_bytes: int) -> None:
    """Cap the memory on top of what the libraries take, and the size of any file. Without effect where unsupported."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))


def warm_up(names: list[str]) -> dict:
    """Import the checks of the files, and everything that opens files or libraries when first used. {id: exercise}."""
    from semanticbm.grading.case import Case
    from semanticbm.grading.registry import chapter_number, of_chapter

    exercises = {one.id: one for name in names for one in of_chapter(chapter_number(name))}
    if {"ex2_cross_encoder", "ex4_patching", "ex7_scoring"} & set(names):
        import torch

        torch.set_num_threads(1)
        model, (inputs, _) = Case(0).model(), Case(0).pairs()
        model.hf(**inputs)
        with torch.no_grad(), model.traced.trace(**inputs):
            model.traced.output.logits.save()
    if "ex8_semanticbm" in names:
        from sklearn.linear_model import Ridge

        Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
    return exercises


def run_student_file(path: Path, exercises: list, recorder, settings: dict) -> None:
    """Import one file of a student and record the answers to its exercises."""
    from semanticbm.grading.answer import Raised
    from semanticbm.grading.report import run_checks
    from semanticbm.grading.student import Live, function_of, load_file

    recorder.write(file=path.stem)
    try:
        module = load_file(path, settings["seconds"])
    except Raised as problem:
        recorder.write(broken_file=str(problem)[:4000])
        return
    for exercise in exercises:
        recorder.write(start=exercise.id)
        sys.stdout = sys.stderr = CappedOutput(settings["output"])
        try:
            source = recorder.listen(Live(function_of(module, exercise), path, settings["seconds"]))
            run_checks(exercise, source, settings["variants"])
        except Raised as problem:
            recorder.write(raised=str(problem)[:4000])
        except Exception as problem:  # the student's file broke the checks in its own process
            recorder.write(raised=f"  The checks broke in this process: {type(problem).__name__}"[:4000])
        recorder.write(end=exercise.id)


def main() -> None:
    """Arguments: the scratch folder, the descriptor to write to, and the settings as JSON."""
    scratch, descriptor, settings = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    wanted = settings["exercises"]
    names = list(dict.fromkeys(name.partition(".")[0] for name in wanted))
    from semanticbm.grading.records import Recorder

    exercises, recorder = warm_up(names), Recorder(descriptor)
    os.chdir(scratch)
    sys.path.append(str(scratch))  # at the end: a student's torch.py does not hide the real one
    sys.dont_write_bytecode = True
    sys.argv = ["grading"]
    limit_resources(settings["memory"], settings["file_size"])
    lock(scratch)
    sys.stdout = sys.stderr = CappedOutput(settings["output"])
    recorder.write(ready=True)
    for name in names:
        run_student_file(
            scratch / f"{name}.py",
            [exercises[one] for one in wanted if exercises[one].file == name],
            recorder,
            settings,
        )
    recorder.write(done=True)
    os._exit(0)


if __name__ == "__main__":
    main()
