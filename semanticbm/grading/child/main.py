"""The loop of the student's process: read a question, call the student's function, send the answer.

Questions: {"open": file} imports a file; {"call": function, "args", "kwargs"} calls a function of the opened file;
{"arguments": True} asks how the arguments of the last call look now. Each carries a number that the answer repeats.
Before the student's code runs, {"began": True} is sent: until then the time goes to libraries (`libraries`), which are slow
to import on a busy machine, and is not the student's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from semanticbm.grading.child.calls import Broken, CappedOutput, call, load_file
from semanticbm.grading.child.libraries import LateFinder, import_libraries, load_used
from semanticbm.grading.child.protocol import receive, send


def limit_resources(memory: int, file_size: int) -> None:
    """Cap memory, file size and open files for good. Without effect where the system has no such limits."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        for name, most in (("CORE", 0), ("FSIZE", file_size), ("NOFILE", 256), ("DATA", memory)):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


class Answering:
    """What the student's process keeps between two questions. `began()` is called before the student's code runs."""

    def __init__(self, folder: Path, seconds: float, began: Callable):
        self.folder, self.seconds, self.began = folder, seconds, began
        self.path, self.module, self.args = folder, None, ()

    def answer(self, question: dict) -> dict:
        """The answer to one question."""
        if "open" in question:
            return self._open(question["open"])
        if "arguments" in question:
            return {"arguments": self.args}
        self.args = question["args"]
        load_used(self.module, question["call"])
        self.began()
        function = getattr(self.module, question["call"], None)
        if not callable(function):
            return {"missing": True}
        return call(function, self.args, question["kwargs"], self.path, self.seconds)

    def _open(self, file: str) -> dict:
        self.path, self.module = self.folder / f"{file}.py", None
        import_libraries(self.path)
        self.began()
        try:
            self.module = load_file(self.path, self.seconds)
        except Broken as problem:
            return {"broken": str(problem)}
        return {"opened": file}


def build(recipe):
    """The model of a recipe; PyTorch is imported when the first one is asked for."""
    import torch

    from semanticbm.grading.child import models

    torch.set_num_threads(1)
    return models.build(recipe)


def _take_pipes():
    """The two pipes to the judge; the student's own input is empty, and its raw output goes nowhere."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    return questions, answers


def main() -> None:
    """Argument: the settings as JSON: folder, seconds, output, memory, file_size."""
    settings = json.loads(sys.argv[1])
    questions, answers = _take_pipes()
    sys.argv, sys.dont_write_bytecode = ["grading"], True
    sys.path.append(settings["folder"])  # at the end: a student's torch.py does not hide the real one
    os.chdir(settings["folder"])
    limit_resources(settings["memory"], settings["file_size"])
    output = CappedOutput(settings["output"])
    sys.stdout = sys.stderr = output
    sys.meta_path.insert(0, LateFinder())
    answering = Answering(Path(settings["folder"]), settings["seconds"], lambda: send(answers, {"began": True}))
    send(answers, {"ready": True})
    while True:
        try:
            question = receive(questions, build)
        except EOFError:
            os._exit(0)
        answer = answering.answer(question)
        send(answers, {"number": question["number"], **answer, "printed": output.take()[-4000:]})
