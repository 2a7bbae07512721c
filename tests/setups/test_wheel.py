"""The wheel alone, in an environment and a folder without a clone: everything that a reader needs is in it."""

import json
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEGABYTES = 12
CODE = """
import json, semanticbm
from semanticbm.study.results import load_results
from semanticbm.study import claims
from semanticbm.grading import all_exercises
print(json.dumps({
    "file": semanticbm.__file__,
    "documents": len(semanticbm.load_collection("classroom").documents),
    "verdicts": len(load_results("classroom").report["claims"]),
    "exercises": len(all_exercises()),
}))
"""


def test_the_wheel_is_small_and_gives_no_answer_away(wheel):
    assert wheel.stat().st_size < MEGABYTES * 2**20
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert not [name for name in names if "solutions" in name or name.startswith("tests/")]
        for path in sorted((ROOT / "exercises").glob("ex*.py")):
            stub = archive.read(f"semanticbm/shipped/exercises/{path.name}").decode()
            assert stub.count("    raise NotImplementedError(") == stub.count("\ndef "), path.name


def test_the_wheel_has_data_results_and_checks(installed, tmp_path):
    done = installed.run(installed.python, "-c", CODE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["file"]).is_relative_to(installed.folder)
    stored = json.loads((ROOT / "book" / "results" / "classroom" / "report.json").read_text(encoding="utf-8"))
    assert found["verdicts"] == len(stored["claims"]) and found["documents"] > 0 and found["exercises"] > 30


def test_the_commands_work_from_the_wheel(installed, tmp_path):
    command = installed.folder / "bin" / "semanticbm"
    scored = installed.run(command, "score", "river bank", "The bank is steep.", "Banks lend money.", cwd=tmp_path)
    assert scored.returncode == 0 and len(scored.stdout.splitlines()) == 2, scored.stderr
    made = installed.run(command, "init", "mine", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    checked = installed.run(command, "check", "ex1_bm25.idf", cwd=tmp_path / "mine")
    assert checked.returncode == 0 and "to do" in checked.stdout, checked.stdout + checked.stderr


@pytest.mark.long
def test_pytest_runs_in_a_fresh_set_from_the_wheel(installed, tmp_path):
    made = installed.run(installed.folder / "bin" / "semanticbm", "init", "mine", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    tested = installed.run(installed.python, "-m", "pytest", "-q", ".", "-p", "no:cacheprovider", cwd=tmp_path / "mine")
    assert "progress" in tested.stdout and tested.returncode == 0, tested.stdout


@pytest.mark.parametrize("shadow", ["semanticbm/semanticbm/__init__.py", "semanticbm/README.md"])
def test_a_folder_of_the_same_name_does_not_hide_the_package(installed, tmp_path, shadow):
    (tmp_path / shadow).parent.mkdir(parents=True)
    (tmp_path / shadow).write_text("")
    done = installed.run(installed.python, "-c", "import semanticbm; print(semanticbm.__file__)", cwd=tmp_path)
    assert str(installed.folder) in done.stdout, done.stderr
