"""Grading as a teacher and a student meet it: reports, commands, and where reference answers may be."""

import ast
import csv
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semanticbm.errors import UserError
from semanticbm.grading import exercise_table, find, of_chapter
from semanticbm.grading.answer import Answer, Failed, distance
from semanticbm.grading.commands import check_command, grade_command
from semanticbm.grading.folders import Submission
from semanticbm.grading.notebook import check
from semanticbm.grading.outputs import Files
from semanticbm.grading.report import NOT_YET, SOLVED, describe, run_file
from semanticbm.grading.runner import grade_student

ROOT = Path(__file__).parents[2]
SOLUTIONS = ROOT / "tests" / "solutions"
GOOD = (SOLUTIONS / "ex1_bm25.py").read_text(encoding="utf-8")


def test_held_out_inputs_see_what_the_visible_ones_cannot(tmp_path):
    seen = {(20, 10): 0.69, (20, 1): 2.6, (10, 4): 0.8938178760220965, (7, 7): 0.06453852113757118}
    seen |= {(99, 1): 4.199705077879927}
    learned = f"def idf(n, df):\n    return {seen}.get((n, df), 0.0)\n"
    (tmp_path / "ex1_bm25.py").write_text(GOOD + "\n\n" + learned, encoding="utf-8")
    plain, held_out = (grade_student(Submission("x", tmp_path), flag).results[0] for flag in (False, True))
    assert plain.status == SOLVED and held_out.status == NOT_YET and held_out.held_out
    assert "held-out" in describe(held_out)


# --------------------------------------------------------------------------------------------------------------------
# Commands


@pytest.fixture
def folder(tmp_path):
    """A student's folder: chapter 1 with a wrong idf."""
    text = (ROOT / "exercises" / "ex1_bm25.py").read_text(encoding="utf-8")
    text = text.replace(
        'raise NotImplementedError("Exercise 1.1: write idf")',
        "return float(np.log2(1 + (n_documents - document_frequency + 0.5) / (document_frequency + 0.5)))",
    )
    (tmp_path / "ex1_bm25.py").write_text(text, encoding="utf-8")
    return tmp_path


def test_check_tells_called_returned_expected_and_names_the_mistake(folder, capsys):
    assert check_command("ex1_bm25.idf", 1, folder) == 0
    text = capsys.readouterr().out
    assert "called    idf(10, 4)" in text and "returned  1.28951" in text and "expected  0.893818" in text
    assert "base 2" in text and "hint 1 of 4" in text and "Traceback" not in text
    check_command("1.1", 3, folder)
    text = capsys.readouterr().out
    assert "hint 3 of 4" in text and "attempt 2" in text
    assert json.loads((folder / ".semanticbm" / "attempts.json").read_text()) == {"ex1_bm25.idf": 2}


def test_check_shows_progress_for_a_chapter_and_to_do_for_a_stub(folder, capsys):
    check_command("ex1_bm25", 1, folder)
    text = capsys.readouterr().out
    assert "0 of  5 solved" in text and "0.5 of 7 points" in text
    check_command("tf_factor", 1, folder)
    text = capsys.readouterr().out
    assert "to do" in text and "hint" not in text


@pytest.mark.parametrize(
    ("name", "hint", "place", "word"),
    [("nothing", 1, "here", "no exercise"), ("idf", 0, "here", "--hint"), ("idf", 1, "away", "no exercises in")],
)
def test_check_refuses_bad_input_in_one_line(folder, name, hint, place, word):
    with pytest.raises(UserError, match=word):
        check_command(name, hint, folder if place == "here" else folder / "away")


def test_only_the_students_own_lines_are_shown(tmp_path):
    (tmp_path / "ex1_bm25.py").write_text(
        "def idf(n, df):\n    return helper(n)\n\n\ndef helper(n):\n    return n / {}\n"
    )
    text = describe(run_file(tmp_path / "ex1_bm25.py", of_chapter(1)[:1])[0])
    assert "line 2, in idf" in text and "line 6, in helper" in text and "TypeError" in text
    assert "student.py" not in text and "Traceback" not in text


def test_grade_writes_json_csv_and_gradescope(folder, tmp_path, capsys):
    places = [tmp_path / name for name in ("points.json", "points.csv", "results.json")]
    assert grade_command(folder, False, Files(*places)) == 0
    assert "not run" in capsys.readouterr().out
    points, rows = json.loads(places[0].read_text()), list(csv.reader(places[1].open()))
    assert (points["points"], points["max_points"], len(points["exercises"])) == (0.5, 100, 48)
    assert points["exercises"][0]["points"] == 0.5 and points["exercises"][0]["max_points"] == 1
    assert rows[1][1:6] == ["0.5", "100", "0 of 48 solved", "", "0.5"] and len(rows) == 2
    scope = json.loads(places[2].read_text())
    assert scope["score"] == 0.5 and sum(test["max_score"] for test in scope["tests"]) == 100


def test_grade_gives_a_list_for_a_folder_of_students(tmp_path):
    for name in ("ada", "bob"):
        (tmp_path / "course" / name).mkdir(parents=True)
    (tmp_path / "course" / "ada" / "ex1_bm25.py").write_text(GOOD, encoding="utf-8")
    grade_command(tmp_path / "course", False, Files(tmp_path / "out.json"), trusted=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert [(one["student"], one["points"]) for one in found["students"]] == [("ada", 7), ("bob", 0)]


def test_grade_refuses_bad_input(tmp_path, folder):
    for place, word in ((tmp_path / "nowhere", "not a folder"), (ROOT / "book" / "theme", "no exercises")):
        with pytest.raises(UserError, match=word):
            grade_command(place, False, Files())
    with pytest.raises(UserError, match="cannot be written"):
        grade_command(folder, False, Files(tmp_path / "missing" / "x.json"))


def test_pytest_gives_the_same_feedback(folder):
    shutil.copy(ROOT / "exercises" / "conftest.py", folder)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(folder), "-p", "no:cacheprovider", "-q"],
        text=True,
        capture_output=True,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
        cwd=folder,
    )
    assert "1 failed, 4 skipped" in done.stdout and "base 2" in done.stdout and "progress" in done.stdout
    assert "Traceback" not in done.stdout and "run_checks" not in done.stdout


def test_check_in_a_notebook(capsys):
    def idf(n_documents, document_frequency):
        return np.log(1 + (n_documents - document_frequency + 0.5) / (document_frequency + 0.5))

    check(idf)
    assert "solved, 1 of 1 points" in capsys.readouterr().out
    with pytest.raises(UserError):
        check(3.5)


def test_the_table_for_the_book():
    for name in (1, "ex1_bm25"):
        text = exercise_table(name).data
        assert text.count("\n") == 1 + len(of_chapter(1)) and "| exercise " in text
    with pytest.raises(UserError):
        exercise_table(12)


def test_exercises_are_found_by_every_name():
    assert find("1.1") == find("idf") == find("ex1_bm25.idf") == of_chapter(1)[:1]
    assert find("ex5_matching") == find(5) == of_chapter(5)


# --------------------------------------------------------------------------------------------------------------------
# Parts


def test_distance_is_in_tolerances_and_strict_about_shape():
    assert distance(1.0, 1.0) == 0 and distance(1.0 + 1e-5, 1.0, 1e-6) == pytest.approx(10, rel=1e-3)
    assert distance([1.0], 1.0) == np.inf and distance(None, 1.0) == np.inf and distance("1", 1.0) == np.inf
    assert distance((1, "a"), (1, "a")) == 0 and distance((1, "b"), (1, "a")) == np.inf
    assert distance(float("nan"), float("nan")) == 0 and distance(float("inf"), 1.0) == np.inf


def test_an_answer_that_changes_its_input_is_told_so(tmp_path):
    text = "def edit_u0(matrix, u0, s0, v0, token_ids, s):\n    matrix[0] = 0\n    return matrix\n"
    (tmp_path / "ex6_idf.py").write_text(text, encoding="utf-8")
    result = run_file(tmp_path / "ex6_idf.py", find("edit_u0"))[0]
    assert "in place" in result.problem.mistake


def test_a_failure_without_a_known_mistake_shows_the_first_hint():
    with pytest.raises(Failed) as caught:
        Answer("f", lambda args, kwargs: 5.0).gives((1,), 2.0, {"named": 3.0})
    assert caught.value.mistake is None and caught.value.expected == "2"


# --------------------------------------------------------------------------------------------------------------------
# Where reference answers may be


def reference_bodies() -> dict[str, str]:
    """{exercise: source of the body without spaces}, for bodies of more than one line."""
    found = {}
    for path in SOLUTIONS.glob("ex*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and len(node.body) > 1:
                found[f"{path.stem}.{node.name}"] = re.sub(r"\s", "", "".join(map(ast.unparse, node.body)))
    return found


def plain(path: Path) -> str:
    """A file without spaces; Python in the normal form of `ast.unparse`, HTML without its tags."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".py":
        text = ast.unparse(ast.parse(text))
    return re.sub(r"\s", "", re.sub(r"<[^>]+>", "", text) if path.suffix == ".html" else text)


def public_files() -> list[Path]:
    """What goes into the wheel, the exercises, the chapters, and the rendered book if it is there."""
    places = [("semanticbm", "*.py"), ("exercises", "*.py"), ("book", "*.qmd"), ("_book", "*.html")]
    return [path for folder, pattern in places for path in (ROOT / folder).rglob(pattern)]


def test_no_reference_answer_can_be_found():
    bodies = reference_bodies()
    assert len(bodies) >= 20
    texts = {path: plain(path) for path in public_files()}
    leaks = [(str(path), name) for path, text in texts.items() for name, body in bodies.items() if body in text]
    assert not leaks


def test_the_wheel_has_only_the_package():
    import tomllib

    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setup["packages"]["find"]["include"] == ["semanticbm*"]
    package = Path(inspect.getfile(of_chapter)).parents[1]
    assert not list(package.rglob("solutions")) and not list(package.rglob("wrongs"))


def test_checks_do_not_import_the_answers():
    for path in (ROOT / "semanticbm" / "grading").rglob("*.py"):
        assert "solutions" not in path.read_text(encoding="utf-8"), path
