"""Checking from anywhere, and folders in which students left something else than exercise files."""

import json
import subprocess
import sys

import pytest

from semanticbm.errors import UserError
from semanticbm.grading.commands import check_command, grade_command
from semanticbm.grading.folders import students_in
from semanticbm.grading.notebook import check
from semanticbm.grading.outputs import Files
from semanticbm.grading.registry import find, names_of, of_chapter
from semanticbm.grading.submitted import found_instead, nearly

STUB = 'def idf(n_documents, document_frequency):\n    raise NotImplementedError("Exercise 1.1: write idf")\n'


@pytest.fixture
def folder(tmp_path):
    """A folder `exercises` with the file of chapter 1 alone."""
    own = tmp_path / "exercises"
    own.mkdir()
    (own / "ex1_bm25.py").write_text(STUB, encoding="utf-8")
    return own


@pytest.mark.parametrize("name", ["ex1_bm25.py", "exercises/ex1_bm25.py", "./exercises/ex1_bm25.py", "1", "ex1_bm25"])
def test_a_file_is_found_by_name_number_and_path(name):
    assert find(name) == of_chapter(1)


def test_a_path_also_says_where_the_file_is(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    check_command(str(folder / "ex1_bm25.py"), 1, folder.parent / "elsewhere")
    assert "to do" in capsys.readouterr().out


def test_a_mistyped_name_is_refused_with_the_nearest_and_without_heavy_imports():
    code = (
        "import sys\nfrom semanticbm.grading.commands import check_command\nfrom pathlib import Path\n"
        "try: check_command('ex1_bm25.idff', 1, Path('.'))\nexcept Exception as error: print(error)\n"
        "print(sorted({'torch', 'sklearn', 'scipy', 'transformers', 'nnsight'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "did you mean ex1_bm25.idf?" in done.stdout and done.stdout.strip().endswith("[]")


def test_names_are_read_without_importing_the_checks():
    assert list(names_of(4)) == [exercise.function for exercise in of_chapter(4)]


def test_hint_2_is_given_for_an_untouched_exercise(folder, capsys):
    check_command("idf", 2, folder)
    text = capsys.readouterr().out
    assert of_chapter(1)[0].checks[0].hints[1] in text and "to do" in text


def test_more_hints_are_asked_for_in_the_notebooks_own_way(capsys):
    def my_idf(n_documents, document_frequency):
        return 0.0

    check(my_idf, exercise="1.1")
    assert 'More: check(my_idf, hint=2, exercise="ex1_bm25.idf")' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("Ex1_BM25.py", "ex1_bm25.py"), ("ex2 (1).py", "ex2_cross_encoder.py"), ("ex1_bm25.py", None), ("notes.py", None)],
)
def test_a_name_that_is_nearly_right_is_recognised(name, wanted):
    assert nearly(name) == wanted


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("work.zip", "an archive"),
        ("ex1.ipynb", "a notebook"),
        ("a/b/ex1_bm25.py", "too deep"),
        ("ex1 (1).py", "rename it"),
    ],
)
def test_what_was_handed_in_instead_is_named(tmp_path, place, words):
    (tmp_path / "course" / "ada").mkdir(parents=True)
    (tmp_path / "course" / "ada" / "ex1_bm25.py").write_text(STUB, encoding="utf-8")
    path = tmp_path / "course" / "bob" / place
    path.parent.mkdir(parents=True)
    path.write_text("", encoding="utf-8")
    (tmp_path / "course" / "carl.zip").write_text("", encoding="utf-8")
    notes = {one.name: one.note for one in students_in(tmp_path / "course")}
    assert notes["ada"] == "" and words in notes["bob"] and "wanted" in notes["bob"] and "archive" in notes["carl.zip"]
    assert words in found_instead(tmp_path / "course" / "bob")


def test_gradescope_gets_0_points_and_a_message_whatever_was_submitted(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "answers.ipynb").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="answers.ipynb"):
        grade_command(tmp_path / "work", False, Files())
    grade_command(tmp_path / "work", False, Files(gradescope=tmp_path / "results.json"), trusted=True)
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert found["score"] == 0 and "a notebook" in found["output"]
