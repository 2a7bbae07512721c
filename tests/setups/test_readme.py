"""The computed parts of the README are what the code gives today, and its equality holds."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    """The module scripts/readme.py."""
    spec = importlib.util.spec_from_file_location("readme", ROOT / "scripts" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_is_in_step_with_the_code(script):
    text = script.README.read_text(encoding="utf-8")
    assert script.renewed(text) == text, "run: python scripts/readme.py"


def test_softmax_and_bm25_agree_in_the_table(script):
    rows = [line.split(" | ") for line in script.equality().splitlines()[2:]]
    assert len(rows) == len(script.DOCUMENTS)
    for _, _, factor, attention in rows:
        assert factor == attention.removesuffix(" |")


def test_the_feedback_names_the_mistake(script):
    assert "logarithm to base 2" in script.feedback()


def test_a_readme_without_a_place_is_an_error(script):
    with pytest.raises(SystemExit, match="0 places for equality"):
        script.renewed("no marks")
