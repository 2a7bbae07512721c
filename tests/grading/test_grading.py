"""Grading as a teacher and a student meet it: hostile files, reports, commands, and where reference answers may be."""

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
from semanticbm.grading.answer import Answer, Failed, distance, show
from semanticbm.grading.commands import check_command, grade_command
from semanticbm.grading.notebook import check
from semanticbm.grading.records import decode, encode
from semanticbm.grading.report import ERROR, NOT_YET, SOLVED, TO_DO, describe, run_file
from semanticbm.grading.runner import Limits, grade_student, grade_students, students_in

ROOT = Path(__file__).parents[2]
SOLUTIONS = ROOT / "tests" / "solutions"
GOOD = (SOLUTIONS / "ex1_bm25.py").read_text(encoding="utf-8")
LIMITS = Limits(seconds=1, silent=6, memory=500_000_000, output=10_000)

# Each file starts as the reference; what follows replaces idf, or runs while the file is imported.
ATTACKS = {
    "loops": "def idf(n, df):\n    while True: pass\n",
    "loops_and_catches": "def idf(n, df):\n    while True:\n        try:\n            while True: sum(range(100))\n"
    "        except BaseException: pass\n",
    "prints_a_gigabyte": "def idf(n, df):\n    for _ in range(1000): print('x' * 1_000_000)\n    return 0.0\n",
    "exits": "import os\ndef idf(n, df):\n    os._exit(0)\n",
    "eats_memory": "def idf(n, df):\n    return float(np.ones(3_000_000_000)[0])\n",
    "reads_the_reference": f"def idf(n, df):\n    exec(open({str(SOLUTIONS / 'ex1_bm25.py')!r}).read(), globals())\n"
    "    return idf(n, df)\n",
    "imports_the_reference": f"import sys\nsys.path.insert(0, {str(SOLUTIONS)!r})\ndef idf(n, df):\n"
    "    import importlib; return importlib.import_module('ex1_bm25').idf(n, df)\n",
    "opens_a_socket": "import socket\ndef idf(n, df):\n    socket.create_connection(('127.0.0.1', 9)); return 0.0\n",
    "starts_a_process": "import subprocess\ndef idf(n, df):\n    return float(subprocess.run(['echo', '1'],"
    " capture_output=True).stdout)\n",
    "kills_the_grader": "import os\ndef idf(n, df):\n    os.kill(os.getppid(), 9); return 0.0\n",
    "forges_the_record": "import os, json\ndef idf(n, df):\n    for fd in range(3, 40):\n        try:\n"
    '            os.write(fd, b\'{"value": 1}\\n{"end": "ex1_bm25.idf"}\\n{"points": 100}\\n\')\n'
    "        except OSError: pass\n    return 0.0\n",
    "closes_the_record": "import os\ndef idf(n, df):\n    os.closerange(3, 60); return 0.0\n",
    "patches_everything": "import builtins, pytest, semanticbm.grading.answer as a, semanticbm.grading.report as r\n"
    "pytest.fail = a.Answer.fail = a.Answer.holds = lambda *x, **y: None\n"
    "a.distance = lambda *x: 0.0\nnp.allclose = lambda *x, **y: True\n"
    "def idf(n, df):\n    return 0.0\n",
}


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    """A course of hostile students and an honest one, graded together: {student: {exercise: result}}."""
    course = tmp_path_factory.mktemp("course")
    files = {name: GOOD + "\n\n" + attack for name, attack in ATTACKS.items()}
    files |= {
        "honest": GOOD,
        "does_not_import": "def idf(:\n",
        "exits_on_import": "import os\nos._exit(0)\n",
        "deletes_its_folder": GOOD + "\nimport os, shutil\nshutil.rmtree(os.getcwd())\n",
    }
    for name, text in files.items():
        (course / name).mkdir()
        (course / name / "ex1_bm25.py").write_text(text, encoding="utf-8")
        shutil.copy(SOLUTIONS / "ex3_attention_head.py", course / name)
    for name in ("numpy", "semanticbm", "pytest", "torch", "json"):
        (course / "honest" / f"{name}.py").write_text("raise SystemExit('shadow')\n", encoding="utf-8")
    (course / "empty").mkdir()
    found = grade_students(students_in(course), limits=LIMITS)
    assert (course / "deletes_its_folder" / "ex1_bm25.py").is_file()
    return {grade.student: {result.exercise.function: result for result in grade.results} for grade in found}


def others_are_full(results: dict) -> bool:
    return all(results[one.function].status == SOLVED for one in [*of_chapter(1)[1:], *of_chapter(3)])


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_costs_its_exercise_and_nothing_else(grades, attack):
    assert grades[attack]["idf"].points < 2 and grades[attack]["idf"].status in (ERROR, NOT_YET)
    if attack in ("patches_everything", "closes_the_record"):  # they also hit their own other answers
        assert grades[attack]["idf"].points == 0
    else:
        assert others_are_full(grades[attack]), [
            describe(one) for one in grades[attack].values() if one.status == ERROR
        ]


def test_the_honest_student_loses_nothing_by_the_others_or_by_file_names(grades):
    assert grades["honest"]["idf"].status == SOLVED and others_are_full(grades["honest"])
    assert grades["honest"]["pair_ids"].status == TO_DO


def test_a_file_that_does_not_import_costs_that_file(grades):
    for name in ("does_not_import", "exits_on_import"):
        assert all(grades[name][one.function].points == 0 for one in of_chapter(1))
        assert all(grades[name][one.function].status == SOLVED for one in of_chapter(3))
    assert "line 1" in describe(grades["does_not_import"]["idf"])


def test_deleting_the_working_folder_costs_the_one_who_does_it(grades):
    assert grades["deletes_its_folder"]["match_share"].points == 0


def test_an_empty_folder_is_to_do(grades):
    assert all(result.status == TO_DO for result in grades["empty"].values())


def test_the_messages_say_what_happened(grades):
    assert "1 seconds" in describe(grades["loops"]["idf"])
    assert "ran too long" in describe(grades["loops_and_catches"]["idf"])
    assert "ended in the middle" in describe(grades["exits"]["idf"])
    assert "printed more than" in describe(grades["prints_a_gigabyte"]["idf"])
    assert "not allowed while grading" in describe(grades["reads_the_reference"]["idf"])


def test_held_out_inputs_see_what_the_visible_ones_cannot(tmp_path):
    learned = (
        "def idf(n, df):\n    return {(20, 10): 0.69, (20, 1): 2.6, (10, 4): 0.8938178760220965}.get((n, df), 0.0)\n"
    )
    (tmp_path / "ex1_bm25.py").write_text(GOOD + "\n\n" + learned, encoding="utf-8")
    plain, held_out = (grade_student("x", tmp_path, flag, LIMITS).results[0] for flag in (False, True))
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
    assert "0 of  4 solved" in text and "1 of 9 points" in text
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
    assert grade_command(folder, False, *places) == 0
    assert "not run" in capsys.readouterr().out
    points, rows = json.loads(places[0].read_text()), list(csv.reader(places[1].open()))
    assert (points["points"], points["max_points"], len(points["exercises"])) == (1, 100, 38)
    assert points["exercises"][0]["points"] == 1 and points["exercises"][0]["max_points"] == 2
    assert rows[1][1:4] == ["1", "100", "1"] and len(rows) == 2
    scope = json.loads(places[2].read_text())
    assert scope["score"] == 1 and sum(test["max_score"] for test in scope["tests"]) == 100


def test_grade_gives_a_list_for_a_folder_of_students(tmp_path):
    for name in ("ada", "bob"):
        (tmp_path / "course" / name).mkdir(parents=True)
    (tmp_path / "course" / "ada" / "ex1_bm25.py").write_text(GOOD, encoding="utf-8")
    grade_command(tmp_path / "course", False, tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert [(one["student"], one["points"]) for one in found["students"]] == [("ada", 9), ("bob", 0)]


def test_grade_refuses_bad_input(tmp_path, folder):
    for place, word in ((tmp_path / "nowhere", "not a folder"), (ROOT / "book" / "theme", "no exercises")):
        with pytest.raises(UserError, match=word):
            grade_command(place, False)
    with pytest.raises(UserError, match="cannot be written"):
        grade_command(folder, False, tmp_path / "missing" / "x.json")


def test_pytest_gives_the_same_feedback(folder):
    shutil.copy(ROOT / "exercises" / "conftest.py", folder)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(folder), "-p", "no:cacheprovider", "-q"],
        text=True,
        capture_output=True,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
        cwd=folder,
    )
    assert "1 failed, 3 skipped" in done.stdout and "base 2" in done.stdout and "progress" in done.stdout
    assert "Traceback" not in done.stdout and "run_checks" not in done.stdout


def test_check_in_a_notebook(capsys):
    def idf(n_documents, document_frequency):
        return np.log(1 + (n_documents - document_frequency + 0.5) / (document_frequency + 0.5))

    check(idf)
    assert "solved, 2 of 2 points" in capsys.readouterr().out
    with pytest.raises(UserError):
        check(3.5)


def test_the_table_for_the_book():
    for name in (1, "ex1_bm25"):
        text = exercise_table(name).data
        assert text.count("\n") == 1 + len(of_chapter(1)) and "`exercises/ex1_bm25.py`" in text
    with pytest.raises(UserError):
        exercise_table(9)


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


@pytest.mark.parametrize("value", [1, 2.5, "a", None, True, [1, (2, "b")], {"a": [1.0]}, np.arange(6.0).reshape(2, 3)])
def test_recorded_values_come_back(value):
    again = decode(json.loads(json.dumps(encode(value))))
    assert np.array_equal(again, value) if isinstance(value, np.ndarray) else again == value


def test_recorded_values_are_capped():
    assert encode(np.zeros(10**6)) == {"other": "array"} and encode(object()) == {"other": "object"}
    assert len(encode("x" * 10**6)) < 10**4
    nested = []
    nested.append(nested)
    assert "other" in json.dumps(encode(nested))
    assert show(decode({"other": "Thing"})) == "<Thing>"


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
