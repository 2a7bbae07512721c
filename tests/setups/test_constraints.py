"""The pinned versions: each satisfies pyproject.toml, and each has hashes in the second file."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([A-Za-z0-9_.\-]+)==(\S+)", re.MULTILINE)


def pins(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return {canonicalize_name(package): version for package, version in PIN.findall(text)}


def test_every_pin_has_a_hash_of_the_same_version():
    text = (ROOT / "constraints-hashes.txt").read_text(encoding="utf-8")
    assert pins("constraints-hashes.txt") == pins("constraints.txt")
    for block in re.split(r"\n(?=[A-Za-z0-9])", text.partition("\naccelerate==")[2]):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block[:60]


def all_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {
        name: lines for name, lines in project["optional-dependencies"].items() if name != "quarto"
    }  # not installed
    return project["dependencies"] + sum(extras.values(), [])


@pytest.mark.parametrize("line", all_requirements())
def test_every_requirement_is_pinned_within_its_range(line):
    requirement = Requirement(line)
    version = pins("constraints.txt")[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)
    assert any(one.operator in (">=", "==") for one in requirement.specifier), "a lowest version, for make compat"


WITH_EXTRAS = ("builder/", "classroom_model/", "scale/")  # rooms that say which extra they need
IN_EVERY_NOTEBOOK = {"ipython", "nbformat"}  # what a notebook runs in has these
ONLY_IF_THERE = {
    "pytest",
    "pypandoc-binary",
    "flask",
    "werkzeug",
    "captum",
    "ipywidgets",
}  # a plugin; a check of the doctor; pages and a comparison that say what they lack


def imported_packages(path, known):
    """The distributions whose modules a file imports. `known`: {module: distributions}."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    found = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"semanticbm"}
    return {canonicalize_name(known[name][0]) for name in found if name in known}


def test_what_readers_run_needs_no_extra():
    """Whoever installs the wheel alone gets every package that library, grading and commands import."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    package = ROOT / "semanticbm"
    files = [path for path in package.rglob("*.py") if not path.relative_to(package).as_posix().startswith(WITH_EXTRAS)]
    files += [package / "builder" / "notebooks.py", package / "builder" / "repository.py"]
    allowed, known = base | IN_EVERY_NOTEBOOK | ONLY_IF_THERE, packages_distributions()
    missing = {str(path.relative_to(package)): imported_packages(path, known) - allowed for path in files}
    assert {path: names for path, names in missing.items() if names} == {}
