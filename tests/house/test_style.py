"""One format and no lint in the whole tree; lines of code that are wider than the page wrap."""

import subprocess
import sys

import pytest
from builders import ROOT


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_has_nothing_to_say(command):
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("theme", "code"),
    [
        ("book/theme/quarto.css", "pre > code.sourceCode {"),
        ("semanticbm/builder/theme/book.css", ".md-typeset .highlight pre > code {"),
    ],
)
def test_code_wraps_on_the_page(theme, code):
    rules = [line for line in (ROOT / theme).read_text(encoding="utf-8").splitlines() if line.startswith(code)]
    assert rules and "white-space: pre-wrap" in rules[-1]
