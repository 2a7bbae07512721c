"""What an exercise is: a function to write, and checks in order, each with points and hints.

The checks of a file stand in `semanticbm.grading.checks`, one module for each file of exercises. They never see a
reference answer: what they expect is a number written down, a property (a rare word weighs more than a common one), or
the result of independent code (rank-bm25, plain PyTorch hooks).

Checks run in order and the first failure ends the exercise, so a reader meets one problem at a time. The points of an
exercise are given in one place, `ExerciseFile.exercise`; its checks divide them by their shares, and an answer gets
those of the checks that it passed until the first failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from semanticbm.errors import UserError


@dataclass(frozen=True)
class Chapter:
    """A chapter of the book and its file of exercises."""

    number: int
    file: str
    page: str
    label: str


CHAPTERS = {
    chapter.number: chapter
    for chapter in (
        Chapter(1, "ex1_bm25", "book/01-bm25.qmd", "sec-bm25"),
        Chapter(2, "ex2_cross_encoder", "book/02-cross-encoder.qmd", "sec-cross-encoder"),
        Chapter(3, "ex3_attention_head", "book/03-bm25-is-an-attention-head.qmd", "sec-compiled"),
        Chapter(4, "ex4_patching", "book/04-cutting-wires.qmd", "sec-patching"),
        Chapter(5, "ex5_matching", "book/05-matching-heads.qmd", "sec-matching"),
        Chapter(6, "ex6_idf", "book/06-idf-in-u0.qmd", "sec-idf"),
        Chapter(7, "ex7_scoring", "book/07-relaying-and-scoring.qmd", "sec-scoring"),
        Chapter(8, "ex8_semanticbm", "book/08-semanticbm.qmd", "sec-semanticbm"),
        Chapter(9, "ex9_written", "book/09-what-the-heads-write.qmd", "sec-written"),
    )
}


@dataclass(frozen=True)
class Check:
    """One question to an answer. `run(answer, case)` raises `Failed`; `hints` go from vague to exact.

    `share`: what it is worth beside the other checks of its exercise.
    """

    name: str
    share: float
    hints: tuple[str, ...]
    run: Callable


@dataclass
class Exercise:
    """A function that a reader writes: `file.function`, with its checks in order."""

    file: str
    function: str
    number: str
    goal: str
    difficulty: int
    minutes: int
    max_points: float
    checks: list[Check] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The name on the command line, such as "ex1_bm25.idf"."""
        return f"{self.file}.{self.function}"

    @property
    def chapter(self) -> Chapter:
        """The chapter that teaches what the exercise asks."""
        return CHAPTERS[int(self.number.partition(".")[0])]

    def points_for(self, n_passed: int) -> float:
        """The points for the first checks, as many as were passed, to two decimals."""
        shares = [check.share for check in self.checks]
        return round(self.max_points * sum(shares[:n_passed]) / sum(shares), 2)

    def check(self, share: float, *hints: str) -> Callable:
        """Decorator: add a check, named like the function below, with hints from vague to exact."""

        def register(run: Callable) -> Callable:
            self.checks.append(Check(run.__name__.strip("_"), share, hints, run))
            return run

        return register


class ExerciseFile:
    """The exercises of one chapter, in order."""

    def __init__(self, chapter: int):
        self.chapter, self.exercises = CHAPTERS[chapter], []

    def exercise(self, function: str, goal: str, difficulty: int, minutes: int, points: float) -> Exercise:
        """Add an exercise; its number follows from its place. The points of all exercises add up to 100."""
        number = f"{self.chapter.number}.{len(self.exercises) + 1}"
        self.exercises.append(Exercise(self.chapter.file, function, number, goal, difficulty, minutes, points))
        return self.exercises[-1]


def of_chapter(chapter: int) -> list[Exercise]:
    """The exercises of a chapter. Its checks are imported on first use: chapter 1 needs no PyTorch."""
    return import_module(f"semanticbm.grading.checks.{CHAPTERS[chapter].file}").FILE.exercises


def all_exercises() -> list[Exercise]:
    """Every exercise of the book, in order."""
    return [exercise for chapter in CHAPTERS for exercise in of_chapter(chapter)]


def chapter_number(name: str | int) -> int | None:
    """The chapter meant by 5, "5" or "ex5_matching"; None if it names no chapter."""
    text = str(name).removesuffix(".py")
    return next((chapter.number for chapter in CHAPTERS.values() if text in (str(chapter.number), chapter.file)), None)


@lru_cache
def names_of(chapter: int) -> tuple[str, ...]:
    """The functions of a chapter, read from the text of its checks: nothing is imported."""
    text = Path(__file__).parent.joinpath("checks", f"{CHAPTERS[chapter].file}.py").read_text(encoding="utf-8")
    return tuple(re.findall(r'FILE\.exercise\(\s*"(\w+)"', text))


def _known() -> dict[str, tuple[int, int]]:
    """{every name of an exercise: (chapter, place in it)}."""
    known = {}
    for chapter in CHAPTERS.values():
        for place, function in enumerate(names_of(chapter.number)):
            for name in (function, f"{chapter.file}.{function}", f"{chapter.number}.{place + 1}"):
                known[name] = (chapter.number, place)
    return known


def meant(name: str | int) -> tuple[int, int | None]:
    """The chapter and place of an exercise, or the chapter and None for all of a file; nothing is imported.

    `name`: "ex1_bm25.idf", "idf", "1.1", "ex1_bm25", "exercises/ex1_bm25.py" or "1". `UserError` with the nearest name if
    there is none.
    """
    text = Path(str(name)).name
    chapter, known = chapter_number(text), _known()
    if chapter:
        return chapter, None
    if text in known:
        return known[text]
    files = [chapter.file for chapter in CHAPTERS.values()]
    near = get_close_matches(text.removesuffix(".py"), [*files, *known], 1)
    usual = "use a name such as ex1_bm25.idf, a number such as 1.1, or a file such as ex1_bm25."
    raise UserError(f"no exercise is called {str(name)!r}: " + (f"did you mean {near[0]}?" if near else usual))


def find(name: str | int) -> list[Exercise]:
    """The exercises that a name means (see `meant`). Only the checks of one chapter are imported."""
    chapter, place = meant(name)
    return of_chapter(chapter) if place is None else [of_chapter(chapter)[place]]
