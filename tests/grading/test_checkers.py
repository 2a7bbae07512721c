"""The graders, graded: stubs, reference answers, differently written right answers, and plausible wrong ones."""

import importlib.util
import inspect
import re
from functools import lru_cache
from pathlib import Path

import pytest

from semanticbm.grading import CHAPTERS, all_exercises, of_chapter
from semanticbm.grading.answer import Failed
from semanticbm.grading.case import HELD_OUT, VISIBLE
from semanticbm.grading.report import NOT_YET, SOLVED, TO_DO, describe, run_checks, run_file
from semanticbm.grading.student import Live

ROOT = Path(__file__).parents[2]
SOLUTIONS = ROOT / "tests" / "solutions"
EVERY = (*VISIBLE, *HELD_OUT)
NEAREST = 10  # tolerances


@lru_cache
def functions(folder: str, file: str) -> dict:
    """The functions of a file in tests/solutions, by name, without helpers."""
    path = SOLUTIONS / folder / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"{folder or 'reference'}_{file}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def ask(exercise, function, variants=VISIBLE):
    return run_checks(exercise, Live(function, inspect.getsourcefile(function)), variants)


def cases(folder: str):
    """(exercise, name of the answer) for every answer of a folder."""
    found = []
    for chapter in CHAPTERS.values():
        for name in functions(folder, chapter.file):
            exercise = next(one for one in of_chapter(chapter.number) if one.function == name.split("__")[0])
            found.append(pytest.param(exercise, name, id=f"{chapter.file}.{name}"))
    return found


EXERCISES = [pytest.param(exercise, id=exercise.id) for exercise in all_exercises()]


def test_the_set_is_complete():
    exercises = all_exercises()
    assert len(exercises) >= 44
    assert sum(exercise.max_points for exercise in exercises) == 100
    rates = [exercise.max_points / exercise.minutes * 10 for exercise in exercises]
    assert all(1 <= rate <= 2 for rate in rates)
    assert all(3 <= len(of_chapter(chapter)) <= 7 for chapter in CHAPTERS)
    assert len({exercise.function for exercise in exercises}) == len(exercises)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_every_exercise_is_well_formed(exercise):
    assert all(check.share > 0 and len(check.hints) >= 2 and all(check.hints) for check in exercise.checks)
    assert exercise.goal and 1 <= exercise.difficulty <= 5 and 5 <= exercise.minutes <= 60
    names = [name for name in functions("wrongs", exercise.file) if name.split("__")[0] == exercise.function]
    assert len(names) >= 4
    assert {name.split("__")[2] for name in names} <= {check.name for check in exercise.checks}
    assert any(name.split("__")[0] == exercise.function for name in functions("rights", exercise.file))


@pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=lambda chapter: chapter.file)
def test_the_stub_scores_0_and_reads_to_do(chapter):
    for result in run_file(ROOT / "exercises" / f"{chapter.file}.py", of_chapter(chapter.number), EVERY):
        assert (result.status, result.points) == (TO_DO, 0)
        assert "to do" in describe(result) and "Traceback" not in describe(result)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_stub_tells_what_the_registry_knows(exercise):
    text = (ROOT / "exercises" / f"{exercise.file}.py").read_text(encoding="utf-8")
    header = (
        f"# {exercise.number}  difficulty {exercise.difficulty} of 5, {exercise.minutes} minutes, "
        f"{exercise.max_points:g} points\ndef {exercise.function}("
    )
    assert header in text
    stub = text[text.index(header) :].split("\n# ")[0]
    assert "Goal:" in stub and "Worked value" in stub and "Returns" in stub
    assert f'raise NotImplementedError("Exercise {exercise.number}: write {exercise.function}")' in stub


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_reference_scores_full(exercise):
    result = ask(exercise, functions("", exercise.file)[exercise.function], EVERY)
    assert result.status == SOLVED, describe(result)
    assert result.points == exercise.max_points


@pytest.mark.parametrize(("exercise", "name"), cases("rights"))
def test_other_right_answers_score_full(exercise, name):
    result = ask(exercise, functions("rights", exercise.file)[name], EVERY)
    assert result.status == SOLVED, describe(result)


@pytest.mark.parametrize(("exercise", "name"), cases("wrongs"))
@pytest.mark.parametrize("variants", [VISIBLE, HELD_OUT], ids=["visible", "held_out"])
def test_wrong_answers_fail_where_they_must_and_are_named(exercise, name, variants):
    result = ask(exercise, functions("wrongs", exercise.file)[name], variants)
    assert result.status == NOT_YET, describe(result)
    assert result.points < exercise.max_points
    assert result.check.name == name.split("__")[2], describe(result)
    assert isinstance(result.problem, Failed)
    assert result.problem.distance >= NEAREST
    assert result.problem.mistake, f"the mistake was not recognised:\n{describe(result)}"


@pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=lambda chapter: chapter.file)
def test_chapter_and_exercises_link_to_each_other(chapter):
    stub = (ROOT / "exercises" / f"{chapter.file}.py").read_text(encoding="utf-8")
    assert f"{chapter.page}, #{chapter.label}" in stub
    page = (ROOT / chapter.page).read_text(encoding="utf-8")
    assert f"{{#{chapter.label}}}" in page
    shown = re.search(r"exercise_table\(([^)]*)\)", page)
    assert shown and shown[1].strip("\"'") in (str(chapter.number), chapter.file), "the chapter shows no exercise table"
    assert f"exercises/{chapter.file}.py" in page
