"""`make setup`: PYTHON is taken at its word, pip's settings cannot send packages elsewhere, failures name their log."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE_SCRIPT = """
import pathlib, sys
pathlib.Path(".venv").mkdir(exist_ok=True)
pathlib.Path(".venv/setup.stamp").write_text("made")
print("ran with", sys.executable)
"""
METADATA = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def project(tmp_path):
    """The Makefile with a script that only says which Python ran it."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "scripts" / "setup_environment.py").write_text(FAKE_SCRIPT)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("")
    return tmp_path


def make_setup(project, *arguments, **variables):
    """Run `make setup` there: what it printed, and its error."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS")} | variables
    command = ["make", "--no-print-directory", "-s", "setup", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=60)


def old_python(folder):
    """A program that answers like a Python 3.8."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python3.8"
    path.write_text('#!/bin/sh\nif [ "$1" = -c ]; then exit 1; fi\necho Python 3.8.1\n')
    path.chmod(0o755)
    return path


def test_a_python_with_a_space_in_its_path(project):
    (project / "my python").mkdir()
    python = project / "my python" / "python3"
    python.symlink_to(sys.executable)
    done = make_setup(project, f"PYTHON={python}")
    assert done.returncode == 0 and str(python) in done.stdout, done.stderr


@pytest.mark.parametrize("folder", ["old", "with a space"])
@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_python_that_is_too_old_is_refused(project, folder, how):
    python = old_python(project / folder)
    done = make_setup(project, f"PYTHON={python}") if how == "argument" else make_setup(project, PYTHON=str(python))
    assert done.returncode != 0 and "ran with" not in done.stdout
    assert f"PYTHON={python} is not a Python 3.11 or newer (Python 3.8.1)" in done.stderr


def test_a_python_that_is_not_there_is_refused(project):
    done = make_setup(project, "PYTHON=/nowhere/python3")
    assert done.returncode != 0 and "/nowhere/python3" in done.stderr and "ran with" not in done.stdout


def test_with_python_named_the_script_looks_again_although_the_stamp_is_there(project):
    assert "ran with" in make_setup(project).stdout
    assert make_setup(project).stdout == ""
    assert "ran with" in make_setup(project, f"PYTHON={sys.executable}").stdout


# --------------------------------------------------------------------------------------------------------------------
# The script


@pytest.fixture(scope="module")
def environment(tmp_path_factory, small_environment):
    """An environment with pip and little else, and a wheel of a tiny package: (environment, wheel)."""
    folder = tmp_path_factory.mktemp("setup")
    small_environment(folder / "venv")
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", METADATA)
        archive.writestr("tiny-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return folder / "venv", wheel


@pytest.fixture
def script(monkeypatch, environment, tmp_path):
    """The module scripts/setup_environment.py, at work in the environment of the tests."""
    spec = importlib.util.spec_from_file_location("setup_environment", ROOT / "scripts" / "setup_environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = environment[0]
    for name, value in {"VENV": folder, "PYTHON": folder / "bin" / "python", "ROOT": tmp_path}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "LOG", folder / "setup.log")
    monkeypatch.setattr(module, "STAMP", folder / "setup.stamp")
    return module


def setting(kind, folder):
    """Environment variables with one setting that sends packages elsewhere."""
    file = folder / "pip.conf"
    if kind == "pip.conf":
        file.write_text("[install]\nuser = true\n[global]\nno-deps = true\n")
    other = folder / "other" / "tiny-1.0.dist-info"
    if kind == "PYTHONPATH":
        other.mkdir(parents=True)
        (other / "METADATA").write_text(METADATA)
    return {
        "PIP_USER": {"PIP_USER": "1"},
        "PIP_TARGET": {"PIP_TARGET": str(folder / "target")},
        "PIP_DRY_RUN": {"PIP_DRY_RUN": "1"},
        "PIP_REQUIRE_HASHES": {"PIP_REQUIRE_HASHES": "1"},
        "pip.conf": {"PIP_CONFIG_FILE": str(file)},
        "PYTHONPATH": {"PYTHONPATH": str(other.parent)},
    }[kind]


@pytest.mark.parametrize(
    "kind", ["PIP_USER", "PIP_TARGET", "PIP_DRY_RUN", "PIP_REQUIRE_HASHES", "pip.conf", "PYTHONPATH"]
)
def test_settings_of_pip_do_not_send_packages_elsewhere(script, environment, monkeypatch, tmp_path, kind):
    folder, wheel = environment
    for name, value in setting(kind, tmp_path).items():
        monkeypatch.setenv(name, value)
    assert script.run_with_log(script.pip("install", "--no-index", str(wheel))) == 0, script.LOG.read_text()
    try:
        assert list(folder.rglob("tiny-1.0.dist-info")), "installed in the environment itself"
    finally:
        script.run_with_log(script.pip("uninstall", "--yes", "tiny"))


@pytest.mark.parametrize("section", ["global", "install"])
def test_a_target_folder_in_the_files_of_pip_is_refused(script, monkeypatch, tmp_path, section):
    script.refuse_settings_that_send_packages_elsewhere()
    (tmp_path / "pip.conf").write_text(f"[{section}]\ntarget = /elsewhere\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(SystemExit, match="target='/elsewhere'"):
        script.refuse_settings_that_send_packages_elsewhere()


def test_hundreds_of_lines_of_pip_become_a_few(script, capsys):
    lines = "".join(f"WARNING: Location {number} is ignored\\nCollecting package{number}\\n" for number in range(200))
    assert script.run_with_log([sys.executable, "-c", f'print("{lines}")']) == 0
    assert 1 <= len(capsys.readouterr().out.splitlines()) <= 10
    assert script.LOG.read_text().count("WARNING") == 200


def test_a_failure_names_its_cause_and_the_log(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "torch_options", lambda: ["--no-index", "no-such-package==1"])
    with pytest.raises(SystemExit) as stop:
        script.install()
    message = str(stop.value)
    assert "pip failed" in message and str(script.LOG) in message and "WARNING" not in message
    assert len(message.splitlines()) < 12


@pytest.mark.parametrize(
    ("log", "part"),
    [
        ("ERROR: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: ResolutionImpossible: for help", "pip config list"),
        ("ERROR: No matching distribution found for torch==2.13.0", "PYTHON="),
        ("something else", "network"),
    ],
)
def test_advice_fits_the_cause(script, log, part):
    assert part in script.advice(log)


def test_pip_that_ends_well_without_the_package_is_noticed(script):
    with pytest.raises(SystemExit, match="has no semanticbm"):
        script.check_installed()


def test_the_environment_is_made_anew_only_for_another_python(script, monkeypatch):
    monkeypatch.setattr(script, "venv_version", lambda: "3.12.0")
    monkeypatch.delenv("ASKED_PYTHON", raising=False)
    assert script.has_wanted_python(), "nobody asked for another one"
    monkeypatch.setenv("ASKED_PYTHON", sys.executable)
    assert not script.has_wanted_python()
    monkeypatch.setattr(script, "venv_version", str)
    monkeypatch.delenv("ASKED_PYTHON")
    assert not script.has_wanted_python(), "an environment that does not run is made anew"
