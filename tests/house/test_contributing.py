"""CONTRIBUTING.md is a map: what it names exists, and what exists at the top of the library is on it."""

import ast
import importlib.util
import re
import tomllib

import pytest
import typer
from builders import ROOT

from semanticbm.commands.cli import app

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
QUOTED = sorted(set(re.findall(r"`([^`]+)`", PAGE)))
PATHS = [text for text in QUOTED if re.fullmatch(r"[\w./-]+(/|\.\w+)", text) and "NN-" not in text]
NAMED = sorted(set(re.findall(r"`(\w+)` in `([\w./]+\.py)`", PAGE)))
COMMANDS = [text for text in QUOTED if re.match(r"(make|semanticbm|python -m) ", text)]


def names_defined_in(path: str) -> set[str]:
    """Functions, classes, methods and constants of a module."""
    nodes = list(ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    targets = [node.targets for node in nodes if isinstance(node, ast.Assign)]
    targets += [[node.target] for node in nodes if isinstance(node, ast.AnnAssign)]
    return defined | {target.id for group in targets for target in group if isinstance(target, ast.Name)}


def test_the_page_names_enough_to_be_a_map():
    assert len(PATHS) > 40 and len(NAMED) >= 10 and len(COMMANDS) >= 8


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    found = ROOT / path
    assert found.is_dir() if path.endswith("/") else found.is_file()


@pytest.mark.parametrize(("name", "path"), NAMED)
def test_every_name_is_defined_where_the_page_says(name, path):
    assert name in names_defined_in(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists(command):
    program, *words = command.removeprefix("python -m ").split()
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    elif program == "semanticbm":
        parameters = typer.main.get_command(app).commands[words[0]].params
        options = {option for parameter in parameters for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
    else:
        assert importlib.util.find_spec(program)
        assert all((ROOT / word).exists() for word in words)


def test_every_module_and_room_is_on_the_map():
    modules = {f"semanticbm/{path.name}" for path in (ROOT / "semanticbm").glob("[a-z]*.py")}
    rooms = {f"semanticbm/{path.parent.name}/" for path in (ROOT / "semanticbm").glob("*/__init__.py")}
    missing = sorted((modules | rooms) - set(PATHS))
    assert not missing, f"give each of these a line in CONTRIBUTING.md: {missing}"


def test_the_claims_file_has_the_fields_that_the_page_asks_for():
    claims = tomllib.loads((ROOT / "semanticbm" / "study" / "claims.toml").read_text(encoding="utf-8"))["claim"]
    assert all({"statement", "source", "statistic", "control", "experiment", "key"} <= set(claim) for claim in claims)
