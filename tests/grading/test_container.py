"""The container for grading, read line by line: it is not built here, so this finds what a reader of its lines can find."""

import re
import shlex
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = [line.split(maxsplit=1) for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def steps(name: str) -> list[str]:
    return [" ".join(rest.split()) for command, rest in STEPS if command == name]


def docker_lines(text: str) -> list[list[str]]:
    """The `docker` commands that a text shows, as words."""
    joined = re.sub(r"\\\n[# ]*", "", text)
    lines = [line.lstrip("# ") for line in joined.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("docker ")]


def test_the_python_is_one_that_the_package_supports():
    version = re.fullmatch(r"python:3\.(\d+)-slim-\w+", steps("FROM")[0])[1]
    least = re.fullmatch(r">=3\.(\d+)", PROJECT["requires-python"])[1]
    assert int(version) >= int(least)


def test_what_is_copied_is_made_by_the_documented_build():
    sources = steps("COPY")[0].split()[:-1]
    assert sources == ["constraints.txt", "dist/semanticbm-*.whl"] and (ROOT / "constraints.txt").is_file()


def test_the_sandbox_is_installed_and_the_judge_is_no_root_and_isolated():
    assert any("apt-get install" in step and "bubblewrap" in step for step in steps("RUN"))
    assert steps("USER") == ["teacher"] and any("useradd --uid 1000" in step for step in steps("RUN"))
    assert steps("ENTRYPOINT") == ['["python", "-I", "-m", "semanticbm", "grade"]']


def test_header_and_appendix_show_the_same_run_without_a_network():
    shown = docker_lines((ROOT / "book" / "a5-teachers.qmd").read_text(encoding="utf-8"))
    assert shown and shown == docker_lines(TEXT)
    run = shown[-1]
    assert run[run.index("--network") + 1] == "none" and "/submissions:ro" in " ".join(run)
