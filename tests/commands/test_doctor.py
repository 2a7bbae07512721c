"""The doctor, each check broken once: it says FAIL or WARN and what to do, and never ends with a traceback."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
import torch

from semanticbm import ladder
from semanticbm.commands import doctor
from semanticbm.commands.doctor import FAIL, OK, WARN, Finding, examine, run_checks


def break_with(error):
    """A function that raises, whatever it is called with."""

    def broken(*_, **__):
        raise error

    return broken


def assert_found(check, status, *parts):
    finding = examine(check)
    text = f"{finding.found} {finding.advice}"
    assert finding.status == status, text
    assert "\n" not in text and "Traceback" not in text
    for part in parts:
        assert part in text
    return finding


def test_an_old_python(monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    assert_found(doctor.check_python, FAIL, "3.9.1", ">=3.11", "install a newer Python")


@pytest.mark.parametrize(
    ("version", "part"), [("0.1", "outside"), ("99", "nnsight 99 is outside"), (None, "torch is missing")]
)
def test_packages_outside_the_range(monkeypatch, version, part):
    def found(name):
        if version is None:
            raise PackageNotFoundError(name)
        return version

    monkeypatch.setattr(doctor, "version", found)
    assert_found(doctor.check_packages, FAIL, part, "pip install")


def test_extras_are_not_required():
    problems, count = doctor._package_problems(["no-such-package>=1; extra == 'book'", "torch>=2.4"])
    assert problems == {} and count == 1


def test_a_package_that_was_never_installed(monkeypatch):
    monkeypatch.setattr(doctor, "requires", break_with(PackageNotFoundError("semanticbm")))
    assert_found(doctor.check_packages, WARN, "pip install --editable")


def test_a_package_that_is_broken(monkeypatch):
    real = doctor.import_module

    def broken(name):
        if name == "semanticbm.plots":
            raise ImportError("numpy.core.multiarray failed to import")
        return real(name)

    monkeypatch.setattr(doctor, "import_module", broken)
    assert_found(doctor.check_library, FAIL, "semanticbm.plots", "multiarray", "reinstall")


@pytest.mark.parametrize(("name", "status"), [("torch.py", WARN), ("semanticbm/__init__.py", WARN), ("notes.py", OK)])
def test_a_file_that_hides_a_package(monkeypatch, tmp_path, name, status):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    assert_found(doctor.check_shadows, status, name.partition("/")[0] if status == WARN else "nothing")


def test_torch_that_computes_wrongly_or_not_at_all(monkeypatch):
    monkeypatch.setattr(doctor.time, "perf_counter", iter(range(0, 90, 3)).__next__)
    assert_found(doctor.check_torch, OK, torch.__version__, "GFLOP/s")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert_found(doctor.check_torch, OK if torch.cuda.is_available() else WARN)
    monkeypatch.setattr(torch, "allclose", lambda *_, **__: False)
    assert_found(doctor.check_torch, FAIL, "wrong", "--device cpu")
    monkeypatch.setattr(torch, "rand", break_with(RuntimeError("CUDA error: no kernel image\nmore")))
    assert_found(doctor.check_torch, FAIL, "RuntimeError: CUDA error: no kernel image")


@pytest.mark.parametrize(("gigabytes", "status"), [(8, OK), (2, WARN), (0.5, FAIL)])
def test_little_memory(monkeypatch, gigabytes, status):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=gigabytes * 1e9))
    assert_found(doctor.check_memory, status, f"{gigabytes:.1f} GB")


@pytest.mark.parametrize(("gigabytes", "status"), [(8, OK), (2, WARN), (0.1, FAIL)])
def test_little_disk(monkeypatch, gigabytes, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=gigabytes * 1e9))
    assert_found(doctor.check_disk, status, "GB free")


def test_a_folder_that_cannot_be_written_to(monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert_found(doctor.check_disk, WARN, "cannot be written")


def test_nnsight_without_effect_or_broken(monkeypatch):
    assert_found(doctor.check_nnsight, OK)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "equal", lambda *_: True)
        assert_found(doctor.check_nnsight, FAIL, "changed nothing", "nnsight>=")
    monkeypatch.setattr("semanticbm.bert.layers", break_with(AttributeError("no such module")))
    assert_found(doctor.check_nnsight, FAIL, "AttributeError: no such module")


def test_the_hub(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("semanticbm.loading.checkpoints.hub_in_reach", lambda: True)
    assert_found(doctor.check_hub, OK, "minilm-l12")
    monkeypatch.setattr("semanticbm.loading.checkpoints.hub_in_reach", lambda: False)
    assert_found(doctor.check_hub, WARN, "out of reach", "classroom")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert_found(doctor.check_hub, WARN, "HF_HUB_OFFLINE")


def test_another_backbone(monkeypatch):
    monkeypatch.setattr(ladder, "BACKBONE_SHA256", "0" * 64)
    assert_found(doctor.check_backbone, FAIL, "sha256")


@pytest.fixture
def adapter(monkeypatch, tmp_path, classroom_model):
    """A copy of the classroom model's folder, which the doctor and `load` take for the real one."""
    folder = tmp_path / "classroom-model"
    shutil.copytree(ladder.classroom_folder(), folder)
    monkeypatch.setattr(ladder, "classroom_folder", lambda: folder)
    return folder


def change_card(folder, **changes):
    card = json.loads((folder / "semanticbm.json").read_text())
    card["probe"] = {**card["probe"], **changes} if changes else None
    (folder / "semanticbm.json").write_text(json.dumps(card))


def test_the_shipped_model_scores_as_its_card_says(classroom_model):
    assert_found(doctor.check_classroom, OK)


def test_a_model_that_scores_otherwise(adapter):
    card = json.loads((adapter / "semanticbm.json").read_text())
    change_card(adapter, scores=[score + 0.01 for score in card["probe"]["scores"]])
    assert_found(doctor.check_classroom, FAIL, "differ from its card by 0.01")
    change_card(adapter, scores=[float("nan")] * 3)
    assert_found(doctor.check_classroom, FAIL, "differ from its card")


@pytest.mark.parametrize("damage", ["no probe", "no card", "card is no JSON", "adapter"])
def test_a_damaged_model(adapter, damage):
    if damage == "no probe":
        change_card(adapter)
    elif damage == "no card":
        (adapter / "semanticbm.json").unlink()
    elif damage == "card is no JSON":
        (adapter / "semanticbm.json").write_text("{")
    else:
        (adapter / "adapter_model.safetensors").write_bytes(b"nonsense")
    assert_found(doctor.check_classroom, FAIL)


def test_what_builds_the_book(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert_found(doctor.check_book, OK, "pandoc")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "mkdocs" else object())
    assert_found(doctor.check_book, WARN, "lacks mkdocs", "semanticbm[book]")
    monkeypatch.setattr(shutil, "which", lambda _: "/opt/quarto")
    assert_found(doctor.check_book, OK, "/opt/quarto")


class Panic(BaseException):
    """What compiled code may raise: no Exception."""


@pytest.mark.parametrize("error", [Panic("boom"), SystemExit(3), ValueError("a\nb"), ModuleNotFoundError(name="peft")])
def test_nothing_that_a_check_raises_ends_the_doctor(error):
    assert examine(break_with(error)).status == FAIL


def test_an_interrupt_does():
    with pytest.raises(KeyboardInterrupt):
        examine(break_with(KeyboardInterrupt()))


def loud():
    print("noise from a library")
    return Finding(WARN, "something", "do this")


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 1)])
def test_lines_json_and_exit_code(monkeypatch, capsys, broken, code):
    checks = {"loud": loud, **({"broken": break_with(OSError("disk on fire"))} if broken else {})}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    assert run_checks() == code
    out = capsys.readouterr().out
    assert "WARN loud: something -> do this" in out and ("FAIL broken: OSError: disk on fire" in out) is broken
    assert run_checks(as_json=True) == code
    report = json.loads(capsys.readouterr().out)
    assert report["works"] is not broken
    assert report["checks"][0] == {"name": "loud", "status": "WARN", "found": "something", "advice": "do this"}


@pytest.mark.parametrize("content", ["raise ModuleNotFoundError('no', name='typer')", "raise ImportError('bad ABI')"])
def test_a_command_line_that_cannot_start_says_so_in_one_line(tmp_path, content):
    (tmp_path / "typer.py").write_text(content)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "semanticbm", "doctor"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert "make setup" in done.stderr


def test_a_student_process_that_does_not_start(monkeypatch):
    from semanticbm.grading import sandbox

    monkeypatch.setattr(sandbox, "start_problem", lambda _: "No module named 'numpy'.")
    assert_found(doctor.check_grading, FAIL, "does not start", "No module named 'numpy'", "make setup")


def test_no_sandbox_is_a_warning(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert_found(doctor.check_grading, WARN, "No sandbox", "own answers")
