"""Run the graders against mutants of the reference answers: `python tests/grading/mutants.py [EXERCISE ...]`.

Every mutant of every function that an exercise's reference uses is judged by the checks of that exercise, visible and
held-out. One that gets full points and is not listed in equivalents.toml is a survivor: a mistake that no check sees.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path

from mutator import Mutant, mutants_of
from sources import direct

from semanticbm.grading.case import HELD_OUT, VISIBLE
from semanticbm.grading.registry import Exercise, all_exercises, find
from semanticbm.grading.report import SOLVED, run_checks

SOLUTIONS = Path(__file__).parents[1] / "solutions"
EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
_numbers = count()


@dataclass(frozen=True)
class Judged:
    """A mutant and an exercise whose checks it met. `caught`: it lost points. `check`: by which."""

    exercise: Exercise
    mutant: Mutant
    caught: bool
    check: str | None

    @property
    def key(self) -> tuple[str, str, str]:
        """How equivalents.toml names it."""
        return self.exercise.function, self.mutant.function, self.mutant.change


@lru_cache
def tree_of(file: str, folder: str = "") -> ast.Module:
    """The syntax tree of the reference answers of a chapter."""
    return ast.parse((SOLUTIONS / folder / f"{file}.py").read_text(encoding="utf-8"))


def used_functions(tree: ast.Module, name: str) -> list[ast.FunctionDef]:
    """The function `name` of a module and those of the same module that it calls, directly or not."""
    own = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found, waiting = {}, [name]
    while waiting:
        current = waiting.pop()
        if current in own and current not in found:
            found[current] = own[current]
            parameters = {one.arg for one in own[current].args.args}
            names = {node.id for node in ast.walk(own[current]) if isinstance(node, ast.Name)}
            waiting += sorted(names - parameters)
    return list(found.values())


def mutants_for(exercise: Exercise) -> list[Mutant]:
    """Every mutant that counts for an exercise."""
    functions = used_functions(tree_of(exercise.file), exercise.function)
    return [mutant for function in functions for mutant in mutants_of(function, function.name != exercise.function)]


def load_mutant(exercise: Exercise, mutant: Mutant, folder: Path):
    """The exercise's function, from a file on disk (nnsight reads the source) in which one function is the mutant."""
    path = folder / f"mutant_{next(_numbers)}.py"
    body = [
        mutant.source
        if mutant.source and isinstance(node, ast.FunctionDef) and node.name == mutant.function
        else ast.unparse(node)
        for node in tree_of(exercise.file).body
    ]
    path.write_text("import numpy as np\n" + "\n\n\n".join(body) + "\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return getattr(module, exercise.function)


def judge(exercise: Exercise, mutant: Mutant, folder: Path) -> Judged:
    """Meet the checks of the exercise with a mutant."""
    result = run_checks(exercise, direct(load_mutant(exercise, mutant, folder)), (*VISIBLE, *HELD_OUT))
    return Judged(exercise, mutant, result.status != SOLVED, result.check.name if result.check else None)


def judge_all(exercises: list[Exercise]) -> Iterator[Judged]:
    """Meet the checks of each exercise with each of its mutants."""
    with tempfile.TemporaryDirectory() as folder:
        for exercise in exercises:
            reference = judge(exercise, Mutant(exercise.function, "none", ""), Path(folder))
            assert not reference.caught, f"the reference of {exercise.id} fails in {reference.check}"
            for mutant in mutants_for(exercise):
                yield judge(exercise, mutant, Path(folder))


@lru_cache
def equivalents() -> dict[tuple[str, str, str], str]:
    """{(exercise, function, change): why no check can or should tell it from the reference}."""
    listed = tomllib.loads(EQUIVALENTS.read_text(encoding="utf-8"))["equivalent"]
    return {(one["exercise"], one.get("function", one["exercise"]), one["change"]): one["reason"] for one in listed}


def main(names: list[str]) -> int:
    """Print each survivor and their number. Returns 1 if there are any, or if a listed equivalent was caught."""
    exercises = [one for name in names for one in find(name)] if names else all_exercises()
    survivors, caught, n_equivalent = [], [], 0
    for judged in judge_all(exercises):
        listed = judged.key in equivalents()
        n_equivalent += listed and not judged.caught
        if not judged.caught and not listed:
            survivors.append(judged)
            print(f"survivor  {judged.exercise.id}  in {judged.mutant.function}:  {judged.mutant.change}", flush=True)
        caught += [judged] if judged.caught else []
        if judged.caught and listed:
            print(
                f"not equivalent  {judged.exercise.id}  {judged.mutant.change}  (caught by {judged.check})", flush=True
            )
    wrongly_listed = sum(judged.key in equivalents() for judged in caught)
    print(f"{len(caught)} mutants caught, {n_equivalent} equivalent, {len(survivors)} survivors")
    return int(bool(survivors or wrongly_listed))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
