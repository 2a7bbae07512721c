"""The pinned versions: each satisfies pyproject.toml, and each has hashes in the second file."""

import re
import tomllib
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
    return project["dependencies"] + sum(project["optional-dependencies"].values(), [])


@pytest.mark.parametrize("line", all_requirements())
def test_every_requirement_is_pinned_within_its_range(line):
    requirement = Requirement(line)
    version = pins("constraints.txt")[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)
    assert any(one.operator in (">=", "==") for one in requirement.specifier), "a lowest version, for make compat"
