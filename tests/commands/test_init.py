"""`semanticbm init`: fresh exercises, never over what a reader wrote; new ones merged when asked."""

import ast
from pathlib import Path

import pytest

from semanticbm.commands.init import init_command, shipped_files
from semanticbm.commands.stubs import exercises_of, fresh, is_begun, merge
from semanticbm.errors import UserError
from semanticbm.grading.registry import CHAPTERS, of_chapter
from semanticbm.grading.report import SOLVED, TO_DO, run_file

ROOT = Path(__file__).resolve().parents[2]
FILES = [f"{chapter.file}.py" for chapter in CHAPTERS.values()]
SHIPPED = '''"""Chapter 1."""

import math

import numpy as np


# 1.1  difficulty 1 of 5, 5 minutes, 2 points
def first(a: int) -> int:
    """One, in a new wording."""
    raise NotImplementedError("Exercise 1.1: write first")


# 1.2  difficulty 1 of 5, 5 minutes, 2 points
def second(a: int) -> int:
    """Two.

    A longer text.
    """
    raise NotImplementedError("Exercise 1.2: write second")
'''
OWN = '''"""Chapter 1."""

import numpy as np


def helper():
    return 1


# 1.1  difficulty 1 of 5, 5 minutes, 2 points
def first(a: int) -> int:
    """One."""
    return helper()  # mine
'''


@pytest.mark.parametrize("name", FILES)
def test_a_stub_is_fresh_and_a_solved_file_becomes_one(name):
    stub = (ROOT / "exercises" / name).read_text(encoding="utf-8")
    numbers = [exercise.number for exercise in of_chapter(int(name[2]))]
    assert [one.number for one in exercises_of(stub)] == numbers
    lines, solved = stub.split("\n"), stub.split("\n")
    for one in reversed(exercises_of(stub)):
        solved[one.body : one.end] = ["    x = 1", "", "    # a thought", "    return x"]
    assert fresh("\n".join(solved)) == "\n".join(lines) == fresh(stub)


def test_a_decorator_and_a_form_feed_do_not_hide_an_answer():
    text = SHIPPED.replace("def first", "@cache\ndef first").replace("One, in", "One,\f in")
    solved = text.replace('raise NotImplementedError("Exercise 1.1: write first")', "return 1")
    assert "return 1" in solved and fresh(solved) == text


def test_begun_means_anything_below_the_docstring():
    stub = exercises_of(SHIPPED)[0]
    assert not is_begun(SHIPPED, stub)
    noted = SHIPPED.replace("    raise", "    # my idea\n    raise", 1)
    assert is_begun(noted, exercises_of(noted)[0])


def test_merge_adds_renews_and_keeps():
    merged = merge(OWN, SHIPPED)
    assert (merged.added, merged.renewed, merged.kept) == (["second"], [], ["first"])
    assert (
        "import math" in merged.text
        and "return helper()  # mine" in merged.text
        and "in a new wording" not in merged.text
    )
    names = [node.name for node in ast.parse(merged.text).body if isinstance(node, ast.FunctionDef)]
    assert names == ["helper", "first", "second"]
    assert merge(merged.text, SHIPPED).text == merged.text, "merging twice changes nothing"
    untouched = OWN.replace("return helper()  # mine", 'raise NotImplementedError("Exercise 1.1: write first")')
    assert merge(untouched, SHIPPED).renewed == ["first"]
    assert "in a new wording" in merge(untouched, SHIPPED).text


def test_init_writes_all_files_and_they_are_to_do(tmp_path, capsys):
    init_command(tmp_path / "deep" / "mine", update=False)
    assert sorted(path.name for path in (tmp_path / "deep" / "mine").iterdir()) == ["conftest.py", *FILES]
    results = run_file(tmp_path / "deep" / "mine" / "ex1_bm25.py", of_chapter(1))
    assert {result.status for result in results} == {TO_DO} and len(results) == len(of_chapter(1))
    assert f"{len(of_chapter(1))} exercises" in capsys.readouterr().out


@pytest.mark.parametrize("update", [False, True])
def test_init_never_writes_over_a_solved_exercise(tmp_path, capsys, update):
    solved = (ROOT / "tests" / "solutions" / "ex1_bm25.py").read_text(encoding="utf-8")
    (tmp_path / "ex1_bm25.py").write_text(solved, encoding="utf-8")
    init_command(tmp_path, update)
    results = run_file(tmp_path / "ex1_bm25.py", of_chapter(1))
    assert {result.status for result in results} == {SOLVED}
    assert (tmp_path / "ex2_cross_encoder.py").is_file(), "the other files are put there"
    assert ("add --update" in capsys.readouterr().out) is not update


def test_update_brings_the_exercises_that_a_file_lacks(tmp_path, capsys):
    text = shipped_files()["ex1_bm25.py"]
    kept = text[: text.index("# 1.3")].rstrip() + "\n"
    (tmp_path / "ex1_bm25.py").write_text(
        kept.replace('raise NotImplementedError("Exercise 1.1: write idf")', "return 7")
    )
    init_command(tmp_path, update=True)
    merged = (tmp_path / "ex1_bm25.py").read_text()
    names = [one.name for one in exercises_of(text)]
    assert [one.name for one in exercises_of(merged)] == names
    assert "return 7" in merged and f"{len(names) - 2} new ({', '.join(names[2:])})" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"def idf(:\n", b"\xff\xfe\x00", b"a = '\x00'\n"])
def test_update_leaves_a_file_that_is_not_python_alone(tmp_path, capsys, content):
    (tmp_path / "ex1_bm25.py").write_bytes(content)
    init_command(tmp_path, update=True)
    assert (tmp_path / "ex1_bm25.py").read_bytes() == content
    assert "left alone" in capsys.readouterr().out


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UserError, match="is a file"):
        init_command(tmp_path / "mine", update=False)


def test_the_shipped_exercises_are_fresh_even_if_the_clone_is_solved(monkeypatch, tmp_path):
    stub = (ROOT / "exercises" / "ex1_bm25.py").read_text(encoding="utf-8")
    (tmp_path / "ex1_bm25.py").write_text(stub.replace("raise NotImplementedError(", "return print("), encoding="utf-8")
    monkeypatch.setattr("semanticbm.commands.init.shipped_folder", lambda: tmp_path)
    assert shipped_files() == {"ex1_bm25.py": stub}
