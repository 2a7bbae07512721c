"""The house: imports run one way, and the library of the book stays small enough to read."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted((ROOT / "semanticbm").glob("*.py"))
ALL_CODE = sorted(path for path in (ROOT / "semanticbm").rglob("*.py") if path.parent.name != "study")
MAX_LIBRARY_LINES = 3_000
MAX_LIBRARY_MODULES = 25
MAX_FUNCTION_LINES = 40
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def docstring_lines(tree: ast.Module) -> set[int]:
    """Numbers of the lines that are docstrings."""
    documented = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS))]
    docstrings = [node.body[0] for node in documented if ast.get_docstring(node, clean=False) is not None]
    return {line for docstring in docstrings for line in range(docstring.lineno, docstring.end_lineno + 1)}


def code_lines(path: Path) -> int:
    """Lines of a module that are neither blank nor part of a docstring; comments count."""
    text = path.read_text(encoding="utf-8")
    documented = docstring_lines(ast.parse(text))
    return sum(bool(line.strip()) and n not in documented for n, line in enumerate(text.splitlines(), start=1))


def test_lines_are_counted_without_docstrings_and_blanks(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('"""One.\n\nTwo.\n"""\n\nx = 1\n\n\ndef f():\n    """Three."""\n    # four\n    return x\n')
    assert code_lines(module) == 4


def test_imports_run_one_way():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.name)
def test_docstrings_cite_equations_that_the_book_has(path):
    book = "".join(chapter.read_text(encoding="utf-8") for chapter in (ROOT / "book").glob("*.qmd"))
    cited = set(re.findall(r"\beq-[a-z0-9-]+", path.read_text(encoding="utf-8")))
    assert not [label for label in cited if f"{{#{label}}}" not in book]


def test_the_library_of_the_book_stays_small():
    assert sum(map(code_lines, LIBRARY)) <= MAX_LIBRARY_LINES
    assert len([path for path in LIBRARY if not path.name.startswith("__")]) <= MAX_LIBRARY_MODULES


@pytest.mark.parametrize("path", ALL_CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_stay_short(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = docstring_lines(tree)
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            length = len(set(range(node.lineno, node.end_lineno + 1)) - documented)
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


def test_every_public_name_of_the_book_names_its_chapter():
    """By the number of a chapter or an exercise, or by an equation, in its docstring."""
    missing = []
    for path in LIBRARY:
        public = (
            [] if path.stem in ("__init__", "__main__", "errors") else ast.parse(path.read_text(encoding="utf-8")).body
        )
        for node in public:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if named and not re.search(r"[Cc]hapter|\(\d+\.\d+\)|eq-", ast.get_docstring(node) or ""):
                missing.append(f"{path.stem}.{node.name}")
    assert not missing
