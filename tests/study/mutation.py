"""Mutation testing of the study: small mistakes are put into it, and the tables of planted truth must see them.

A mutant is one function with one change: another comparison, another operator, a number off by one, a name in the place of
its neighbour, a mean that became a median. It takes the place of the function in its module, and the tables run: every case
of `test_planted_truth.CASES` whose experiment uses the module, and the verdicts of `test_claims`. A mutant that no table
sees *survives*. Those that are right as they are, because they change nothing that counts, stand with their reason in
`survivors.toml`.

When it misleads: only these operators are tried. A test that kills all of them may still miss a wrong idea.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
NEIGHBOURS = {"mean": "sum", "nanmean": "nanmax", "sum": "mean", "max": "min", "min": "max", "all": "any", "any": "all"}
TARGETS = {
    "semanticbm.study.claims": ("condition_verdict", "verdict", "_note"),
    "semanticbm.study.experiments.samples": ("mean_or_none", "others_in_same_layers", "judged_run"),
    "semanticbm.study.experiments.matching": (
        *("_of_others", "_slowdown", "_saturation", "_growth", "_length", "_semantic"),
        *("query_draws", "fits_by_draw", "_mean_over_draws", "weighted_r_squared"),
    ),
    "semanticbm.study.experiments.idf": ("u0", "_strongest"),
    "semanticbm.study.experiments.scoring": (
        *("_strongest", "late_share", "_share_of_last", "_content_finding", "_by_query", "_summed", "contextual_heads"),
    ),
    "semanticbm.study.experiments.cuts": (
        *("blocking", "circuit_of", "cut_heads", "_draws", "_summary", "_necessity", "_sufficiency", "order_agreement"),
    ),
    "semanticbm.study.experiments.first_stages": ("hybrid",),
}
SURVIVORS = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True)
class Mutant:
    """One change: `name` says where and what, `source` is the whole changed function."""

    module: str
    function: str
    name: str
    source: str


def changed_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What a careless hand would write in the place of one node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield ast.Compare(node.left, [COMPARISONS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        yield node.operand
    if isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        yield ast.Constant(node.value + 1)
    if isinstance(node, ast.Attribute) and node.attr in NEIGHBOURS:
        yield ast.Attribute(node.value, NEIGHBOURS[node.attr], node.ctx)


def sample_sizes(tree: ast.AST) -> set[ast.AST]:
    """Numbers that only say how many: arguments of `study.size` and of `n=`. They are choices, not facts."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            counts = [keyword.value for keyword in node.keywords if keyword.arg in ("n", "seed_offset")]
            named = isinstance(node.func, ast.Attribute) and node.func.attr == "size"
            for argument in [*counts, *(node.args if named else [])]:
                found |= set(ast.walk(argument))
    return found


def mutants_of(module: str, function: str) -> list[Mutant]:
    """Every mutant of one function; docstrings, defaults and annotations are left alone."""
    source = inspect.getsource(getattr(importlib.import_module(module), function))
    tree = ast.parse(source).body[0]
    if ast.get_docstring(tree):
        tree.body = tree.body[1:]
    found = []
    sizes = sample_sizes(tree)
    body = [node for statement in tree.body for node in ast.walk(statement) if node not in sizes]
    for number, node in enumerate(body):
        for new in changed_nodes(node):
            told = f"{ast.unparse(node)}  ->  {ast.unparse(new)}"
            found.append(Mutant(module, function, f"{function} #{number}: {told}", _with(tree, node, new)))
    return found


def _with(tree: ast.FunctionDef, node: ast.AST, new: ast.AST) -> str:
    """The source of the function with one node exchanged."""

    class Exchange(ast.NodeTransformer):
        def visit(self, other):
            return new if other is wanted else self.generic_visit(other)

    memo: dict = {}
    changed = copy.deepcopy(tree, memo)
    wanted = memo[id(node)]
    return ast.unparse(ast.fix_missing_locations(Exchange().visit(changed)))


def every_mutant() -> list[Mutant]:
    """All mutants of `TARGETS`, in order."""
    return [mutant for module, names in TARGETS.items() for name in names for mutant in mutants_of(module, name)]


def compiled(mutant: Mutant):
    """The mutated function, in the namespace of its module."""
    namespace = importlib.import_module(mutant.module).__dict__
    local: dict = {}
    exec(compile(f"from __future__ import annotations\n{mutant.source}", "mutant", "exec"), namespace, local)
    return local[mutant.function]


def known_survivors() -> dict[str, str]:
    """{mutant: reason}"""
    rows = tomllib.loads(SURVIVORS.read_text(encoding="utf-8")).get("survivor", [])
    return {f"{row['module']} {row['mutant']}": row["reason"] for row in rows}
