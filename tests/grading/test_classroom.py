"""The template for GitHub Classroom: its workflow's own steps are run here, but those that install."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from semanticbm.commands.init import init_command, shipped_files
from semanticbm.grading.classroom import template
from semanticbm.grading.registry import CHAPTERS

ROOT = Path(__file__).parents[2]
FILES = {f"{chapter.file}.py" for chapter in CHAPTERS.values()}


def texts() -> dict[str, str]:
    return template(shipped_files())


def steps() -> dict[str, str]:
    """{name: shell command} of the workflow's steps."""
    workflow = yaml.safe_load(texts()[".github/workflows/grade.yml"])
    return {step["name"]: step["run"] for step in workflow["jobs"]["grade"]["steps"] if "run" in step}


def test_the_template_has_stubs_workflow_and_a_page_for_students():
    found = texts()
    assert {f"exercises/{name}" for name in FILES} <= found.keys()
    assert "semanticbm check" in found["README.md"] and ".semanticbm/" in found[".gitignore"]
    assert list(steps()) == ["install", "grade", "summary"]


@pytest.mark.skipif(os.name != "posix", reason="the workflow's steps are for a POSIX shell")
def test_the_workflow_runs_and_counts(tmp_path):
    init_command(tmp_path, update=False, classroom=True)
    for path in (tmp_path / "exercises").glob("ex[2-9]*.py"):
        path.unlink()
    shutil.copy(ROOT / "tests" / "solutions" / "ex1_bm25.py", tmp_path / "exercises")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "semanticbm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m semanticbm "$@"\n')
    (tools / "python").symlink_to(sys.executable)
    (tools / "semanticbm").chmod(0o755)
    summary = tmp_path / "summary.md"
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(summary)}
    for name in ("grade", "summary"):
        subprocess.run(["sh", "-e", "-c", steps()[name]], cwd=tmp_path, env=environment, check=True)
    points = json.loads((tmp_path / "points.json").read_text(encoding="utf-8"))
    own = sum(one["points"] for one in points["exercises"] if one["id"].startswith("ex1_bm25."))
    assert points["points"] == own > 0 and points["max_points"] == 100
    assert f"{own:g} of 100 points" in summary.read_text(encoding="utf-8")
