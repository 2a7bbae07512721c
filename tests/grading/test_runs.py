"""Runs over a folder of students: what is found, what is kept when a run stops, what is said without a sandbox."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from semanticbm.commands.isolation import isolated
from semanticbm.errors import UserError
from semanticbm.grading import sandbox as sandboxes
from semanticbm.grading.commands import grade_command
from semanticbm.grading.folders import MAX_SOURCE, Submission, copied, left_out, students_in
from semanticbm.grading.outputs import Files, to_csv
from semanticbm.grading.plain import cell, inert
from semanticbm.grading.process import Limits
from semanticbm.grading.registry import CHAPTERS, of_chapter
from semanticbm.grading.report import ERROR, SOLVED, TO_DO, Result
from semanticbm.grading.runner import (
    WITH_MODELS,
    Grade,
    Run,
    default_jobs,
    grade_student,
    import_everything,
    sandbox_for,
)
from semanticbm.grading.sandbox import Sandbox, find_sandbox
from semanticbm.grading.store import Store, fingerprint

ROOT = Path(__file__).parents[2]
GOOD = (ROOT / "tests" / "solutions" / "ex1_bm25.py").read_text(encoding="utf-8")
SLOW = GOOD + "\n\nimport time\n\n\ndef bm25(*_):\n    time.sleep(1000)\n"
locked = pytest.mark.skipif(not find_sandbox().locked, reason=f"no sandbox here: {find_sandbox().reason}")

FULL = sum(exercise.max_points for exercise in of_chapter(1))  # what a right file for chapter 1 is worth


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def course(tmp_path):
    """Three students with chapter 1."""
    for name in ("ada", "bob", "eve"):
        (tmp_path / "course" / name).mkdir(parents=True)
        (tmp_path / "course" / name / "ex1_bm25.py").write_text(GOOD, encoding="utf-8")
    return tmp_path / "course"


# --------------------------------------------------------------------------------------------------------------------
# Folders


def test_links_are_not_followed(course):
    (course / "link").symlink_to(course / "ada")
    (course / "inner").mkdir()
    (course / "inner" / "exercises").symlink_to(course / "ada")
    (course / "file").mkdir()
    (course / "file" / "ex1_bm25.py").symlink_to(course / "ada" / "ex1_bm25.py")
    (course / "helper").mkdir()
    (course / "helper" / "ex1_bm25.py").write_text("from mine import *\n", encoding="utf-8")
    (course / "helper" / "mine.py").symlink_to(course / "ada" / "ex1_bm25.py")
    found = {one.name: one for one in students_in(course)}
    assert found["link"].folder is None and "link" in found["link"].note
    assert found["inner"].folder is None and found["file"].folder is None
    result = grade_student(found["helper"]).results[0]
    assert result.points == 0 and result.status == ERROR


def test_hidden_and_underscored_folders_are_named(course, capsys):
    for name in (".git", "_old", ".semanticbm"):
        (course / name).mkdir()
    assert left_out(course) == [".git", ".semanticbm", "_old"]
    assert {one.name for one in students_in(course)} == {"ada", "bob", "eve"}


def test_only_small_files_of_ones_own_are_copied(course):
    place = course / "ada"
    (place / "big.py").write_bytes(b"#" * (MAX_SOURCE + 1))
    (place / "data.txt").write_text("x")
    os.mkfifo(place / "pipe.py")
    (place / "folder.py").mkdir()
    (place / "broken.py").symlink_to("nowhere")
    with copied(place) as folder:
        assert sorted(os.listdir(folder)) == ["ex1_bm25.py"]
    assert not folder.exists()


def test_odd_names_and_depths_cost_nobody_else(course):
    os.makedirs(os.fsencode(course) + b"/Andr\xe9")
    (Path(os.fsdecode(os.fsencode(course) + b"/Andr\xe9")) / "ex1_bm25.py").write_text(GOOD, encoding="utf-8")
    (course / "=cmd()[red]\x1b[31m\n").mkdir()
    deep, here = course / "deep", os.getcwd()
    deep.mkdir()
    try:
        os.chdir(deep)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    out, table = course.parent / "o.json", course.parent / "o.csv"
    assert grade_command(course, False, Files(out, table), trusted=True) == 0
    entries = json.loads(out.read_text(encoding="utf-8"))["students"]
    points = {one["student"]: one["points"] for one in entries}
    assert points["ada"] == points["Andr\\udce9"] == FULL and points["deep"] == points["=cmd()[red]\\x1b[31m\\n"] == 0
    names = [row[0] for row in csv.reader(table.open(encoding="utf-8"))]
    assert "'=cmd()[red]\\x1b[31m\\n" in names
    subprocess.run(["rm", "-rf", str(deep)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_costs_its_owner(course):
    (course / "bob").chmod(0)
    found = {one.name: one.note for one in students_in(course)}
    assert found == {"ada": "", "bob": "cannot be read", "eve": ""}


# --------------------------------------------------------------------------------------------------------------------
# Inert text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[2J", "\\x1b[2J"), ("a\u202eb", "a\\u202eb"), ("\ud800", "\\ud800"), ("\x9b", "\\x9b"),
        ("one\ntwo", "one\ntwo"), ("\r\x07\x00", "\\r\\x07\\x00"), ("\u2028", "\\u2028"), ("é [red]", "é [red]"),
    ],
)  # fmt: skip
def test_text_is_spelt_out(text, plain):
    assert inert(text) == plain and inert(text, lines=False) == plain.replace("\n", "\\n")
    inert(text).encode("utf-8")


def test_long_text_is_cut():
    assert len(inert("x" * 10**6)) == 4000


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "  =1", "\t=1", "\r=1", "\n=1", "\u00a0=1"])
def test_no_cell_is_a_formula(text):
    assert cell(text).startswith(("'", "\\")) and "\n" not in cell(text)
    grade = Grade(text, [], False)
    grade.results = [Result(one, TO_DO) for one in __import__("semanticbm.grading").grading.all_exercises()]
    (row,) = list(csv.reader(to_csv([grade]).splitlines()))[1:]
    assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r", " ", "\u00a0"))


# --------------------------------------------------------------------------------------------------------------------
# Nothing is lost


def test_each_result_is_written_when_it_is_there(course):
    seen = []
    store = Store(course, False, True)
    Run(False, find_sandbox(), None, store, lambda grade: seen.append((grade.student, len(store._read())))).over(
        students_in(course), jobs=1
    )
    assert seen == [("ada", 1), ("bob", 2), ("eve", 3)]


def test_a_run_goes_on_where_it_was_stopped(course, monkeypatch):
    sandbox = find_sandbox()
    before = Run(False, sandbox, None, Store(course, False, True), lambda _: None).over(students_in(course)[:2], jobs=2)
    (course / "bob" / "ex1_bm25.py").write_text(GOOD.replace("1.2", "1.2 "), encoding="utf-8")
    asked = []
    monkeypatch.setattr(
        "semanticbm.grading.runner.grade_student", lambda handed_in, *rest: asked.append(handed_in.name) or before[0]
    )
    again = Run(False, sandbox, None, Store(course, False, True), lambda _: None).over(students_in(course), jobs=1)
    assert "ada" not in asked and "eve" in asked and again[0].points == before[0].points
    assert [one.told for one in again[0].results][0].startswith("1.1 ex1_bm25.idf: solved")


def test_a_store_with_nonsense_is_no_hindrance(course):
    store = Store(course, False, True)
    store.file.parent.mkdir(parents=True, exist_ok=True)
    store.file.write_bytes(b'{"fingerprint": 3}\n\xff\n[]\n{"fingerprint": "x", "results": []}\n{"fing')
    again = Store(course, False, True)
    assert again.known(fingerprint(students_in(course)[0])) is None and again.known("x") is None


def test_the_store_is_not_among_the_students_files(course):
    assert not Store(course, False, True).file.is_relative_to(course)


@locked
def test_ctrl_c_keeps_the_finished_and_leaves_no_process(course, tmp_path):
    (course / "zoe").mkdir()
    (course / "zoe" / "ex1_bm25.py").write_text(SLOW, encoding="utf-8")
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "semanticbm", "grade", str(course), "--json", str(out), "--jobs", "1"]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    until = time.monotonic() + 400
    while time.monotonic() < until and (not out.exists() or len(json.loads(out.read_text())["students"]) < 3):
        time.sleep(0.2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 2 and "3 of 4 students were finished and are kept" in message
    assert "Traceback" not in message
    found = json.loads(out.read_text())
    assert not found["complete"] and [one["points"] for one in found["students"]] == [FULL, FULL, FULL]
    assert str(course.parent) not in subprocess.run(["ps", "axww"], capture_output=True, text=True).stdout


def test_a_crash_in_judging_is_that_students_line(course, monkeypatch):
    import semanticbm.grading.runner as runner

    def judge(exercise, student, variants):
        if (student.folder / "marked.py").exists():
            raise MemoryError
        return Result(exercise, SOLVED, exercise.max_points)

    monkeypatch.setattr(runner, "judge", judge)
    (course / "bob" / "marked.py").write_text("")
    grades = Run(False, find_sandbox(), None, Store(course, False, True), lambda _: None).over(
        students_in(course), jobs=3
    )
    assert [grade.points for grade in grades] == [FULL, 0, FULL]
    monkeypatch.setattr(runner, "copied", lambda folder: 1 / 0)
    grades = Run(False, find_sandbox(), None, Store(course, True, True), lambda _: None).over(
        students_in(course), jobs=1
    )
    assert all("could not be graded" in grade.note for grade in grades)


@locked
def test_what_students_send_does_not_fill_the_judges_memory(course, tmp_path):
    text = (ROOT / "tests" / "grading" / "hostile" / "floods_the_pipe.py").read_text(encoding="utf-8")
    (course / "ada" / "ex1_bm25.py").write_text(GOOD + text, encoding="utf-8")
    import resource

    import_everything(course, students_in(course))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = Limits(seconds=2, grace=1)
    grade = grade_student(Submission("ada", course / "ada"), sandbox=find_sandbox(), limits=limits)
    assert grade.results[0].points == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


# --------------------------------------------------------------------------------------------------------------------
# Without a sandbox


def test_many_students_are_not_graded_without_a_sandbox(course, monkeypatch):
    monkeypatch.setattr(sandboxes.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="not installed.*apt install bubblewrap.*container.*--trusted"):
        grade_command(course, False, Files())
    with pytest.raises(UserError, match="no sandbox"):
        sandbox_for(1, True, False, course)
    assert not sandbox_for(1, False, False, course).locked and not sandbox_for(3, True, True, course).locked


def test_the_first_line_says_whether_there_is_a_sandbox(course, monkeypatch, capsys):
    monkeypatch.setattr(sandboxes.shutil, "which", lambda _: None)
    grade_command(course / "ada", False, Files())
    assert capsys.readouterr().out.splitlines()[0].startswith("No sandbox: bubblewrap (bwrap) is not installed.")


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_say_so(monkeypatch, system):
    monkeypatch.setattr(sandboxes.sys, "platform", system)
    assert find_sandbox() == Sandbox(reason="bubblewrap needs Linux.")


def test_a_sandbox_that_does_not_work_is_none(tmp_path, monkeypatch):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: no permission' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sandboxes.shutil, "which", lambda _: str(fake))
    assert not find_sandbox().locked and "no permission" in find_sandbox().reason


def test_the_same_is_said_with_and_without_a_sandbox(course):
    (course / "ada" / "ex1_bm25.py").write_text(GOOD.replace("np.log", "np.log2"), encoding="utf-8")
    handed_in = Submission("ada", course / "ada")
    with_lock, without = (grade_student(handed_in, sandbox=one) for one in (find_sandbox(), Sandbox()))
    assert [(one.status, one.points) for one in with_lock.results] == [
        (one.status, one.points) for one in without.results
    ]
    assert with_lock.points < 9


def test_a_conftest_changes_neither_check_nor_grade(course, capsys):
    from semanticbm.grading.commands import check_command

    (course / "ada" / "ex1_bm25.py").write_text("def idf(*_):\n    return 0.0\n", encoding="utf-8")
    text = "import semanticbm.grading.answer as a\na.distance = lambda *_: 0.0\na.Answer.fail = lambda *_, **__: None\n"
    for name in ("conftest.py", "sitecustomize.py", "usercustomize.py"):
        (course / "ada" / name).write_text(text, encoding="utf-8")
    check_command("idf", 1, course / "ada")
    assert "not yet" in capsys.readouterr().out
    assert grade_student(Submission("ada", course / "ada")).points == 0


def test_the_graded_folder_is_no_place_to_import_from(course, monkeypatch):
    monkeypatch.chdir(course)
    monkeypatch.setattr(sys, "path", ["", str(course), str(course / "ada"), *sys.path])
    import_everything(course, students_in(course))
    assert not {"", str(course), str(course / "ada")} & set(sys.path)


SHADOWS = ("json", "typer", "rich", "numpy", "scipy", "torch", "nnsight", "sklearn", "semanticbm.grading")


@pytest.mark.parametrize("more", [None, pytest.param("ex2_cross_encoder", marks=pytest.mark.long)])
def test_grade_never_imports_from_the_folder_in_which_it_is_called(course, more):
    if more:  # the checks of this chapter also need PyTorch and nnsight
        shutil.copy(ROOT / "tests" / "solutions" / f"{more}.py", course / "ada")
    for name in SHADOWS:
        text = f"open({str(course / 'ESCAPED')!r}, 'w').close()\nraise SystemExit('shadow')\n"
        (course / "ada" / f"{name}.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "semanticbm", "grade", ".", "--json", str(course / "out.json")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=course / "ada", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (course / "ESCAPED").exists() and json.loads((course / "out.json").read_text())["points"] > 0


def test_grade_runs_isolated_from_settings_of_the_environment():
    command = isolated(["grade", "--help"])
    assert command[:3] == [sys.executable, "-I", "-c"] and command[4:] == ["grade", "--help"]
    environment = os.environ | {"PYTHONSTARTUP": "x", "PYTHONINSPECT": "1", "PYTHONHOME": "/nowhere"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Usage: semanticbm grade" in done.stdout


@pytest.mark.parametrize("without", [WITH_MODELS, pytest.param((), marks=pytest.mark.long)])
def test_the_judge_imports_nothing_once_students_code_has_run(tmp_path, without):
    """And without chapters whose checks run a model no PyTorch at all, also where an answer is a tensor."""
    for chapter in set(CHAPTERS) - set(without):
        shutil.copy(ROOT / "tests" / "solutions" / f"{CHAPTERS[chapter].file}.py", tmp_path)
    with (tmp_path / "ex1_bm25.py").open("a", encoding="utf-8") as file:
        file.write("\n\nplain = idf\n\n\ndef idf(*args):\n    import torch\n\n    return torch.tensor(plain(*args))\n")
    code = (
        "import sys\nfrom pathlib import Path\nfrom semanticbm.grading.folders import Submission\n"
        "from semanticbm.grading.runner import grade_student, import_everything\n"
        "place = Path(sys.argv[1])\nada = Submission('ada', place)\nimport_everything(place, [ada])\n"
        "before = set(sys.modules)\n"
        "print(grade_student(ada, True).points, sorted(set(sys.modules) - before), 'torch' in before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    most = 100 - sum(exercise.max_points for chapter in without for exercise in of_chapter(chapter))
    assert done.stdout.strip() == f"{most:g} [] {not without}", done.stdout + done.stderr


def test_without_a_sandbox_root_runs_students_code_as_nobody(course, monkeypatch):
    """Where nobody can read the installation; the first line says which it is."""
    monkeypatch.setattr(sandboxes.shutil, "which", lambda _: None)
    monkeypatch.setattr(sandboxes.os, "geteuid", lambda: 0)
    monkeypatch.setattr(sandboxes, "start_problem", lambda sandbox: "" if sandbox.user == sandboxes.NOBODY else "no")
    assert find_sandbox().user == sandboxes.NOBODY and find_sandbox().first_line.endswith("runs as the user nobody.")
    monkeypatch.setattr(sandboxes, "start_problem", lambda sandbox: "Permission denied.")
    assert find_sandbox().user is None and find_sandbox().first_line.endswith("can do all that you can.")
    monkeypatch.setattr(sandboxes, "start_problem", lambda sandbox: "")
    monkeypatch.setattr(sandboxes.os, "geteuid", lambda: 1000)
    assert find_sandbox().user is None


def test_nobody_cannot_write_where_root_can(course):
    """The same, for real: needs root, and an interpreter that everybody can read."""
    sandbox = sandboxes._as_another_user(Sandbox(reason="for this test."))
    if sandbox.user is None:
        pytest.skip("needs root, and an installation that the user nobody can read")
    text = GOOD + f"\n\ndef idf(*_):\n    open({str(course / 'canary')!r}, 'w')\n"
    (course / "ada" / "ex1_bm25.py").write_text(text, encoding="utf-8")
    grade = grade_student(Submission("ada", course / "ada"), sandbox=sandbox)
    assert "Permission" in str(grade.results[0].problem) and not (course / "canary").exists() and grade.points > 0


def test_jobs_are_cores_and_not_more_than_students():
    assert default_jobs(1) == 1 and 1 <= default_jobs(1000) <= 16
    with pytest.raises(UserError, match="--jobs"):
        grade_command(ROOT / "exercises", False, Files(), jobs=0)
