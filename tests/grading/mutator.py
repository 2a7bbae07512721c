"""Small systematic mistakes in a function: the mutants by which the graders are measured.

An operator looks at one node of a syntax tree and says by what a careless hand would replace it: a boundary moved, a
sign turned, a term forgotten. Every operator is applied at every place, one change at a time, so that a check that
never visits a place is found out. What a mutant cannot be told by (another order of a sum) stands in equivalents.toml.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

SWAPPED_COMPARISONS = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=", ">="),
    ast.NotEq: ("==", "<"),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
}
SWAPPED_ARITHMETIC = {
    ast.Add: ("-",),
    ast.Sub: ("+",),
    ast.Mult: ("/", "+"),
    ast.Div: ("*", "//"),
    ast.FloorDiv: ("*", "/"),
    ast.Mod: ("//",),
    ast.Pow: ("*",),
    ast.BitAnd: ("|",),
    ast.BitOr: ("&",),
}
SWAPPED_FUNCTIONS = {
    "mean": ("sum", "median", "max"),
    "sum": ("mean", "max"),
    "max": ("min",),
    "min": ("max",),
    "any": ("all",),
    "all": ("any",),
    "log": ("log2", "log10", "log1p"),
    "log1p": ("log",),
    "log2": ("log",),
    "exp": ("exp2", "expm1"),
    "expm1": ("exp",),
    "tanh": ("sigmoid",),
    "round": ("int", "__import__('math').ceil", "__import__('math').floor"),
    "sorted": ("list",),
    "set": ("list",),
    "cumsum": ("cumprod",),
    "spearmanr": ("__import__('scipy.stats').stats.pearsonr", "__import__('scipy.stats').stats.kendalltau"),
    "argsort": ("sort",),
    "argmax": ("argmin",),
    "nanmean": ("mean",),
    "enumerate": ("list",),
    "permutation": ("sort",),
}
CONVERSIONS = ("float", "array", "asarray", "list", "tuple", "bool", "int")  # leaving one out changes the form alone
# A value that a parameter usually has: an answer that writes it down instead of reading the parameter.
USUAL = {
    "k1": "1.2", "b": "0.75", "avgdl": "80.0", "epsilon": "0.25", "n_documents": "10", "cls_id": "101", "sep_id": "102",
    "pad_id": "0", "filler": "0", "query_id": "7", "beta": "4.0", "sink": "0.0", "share": "0.8", "penalty": "1.0",
    "threshold": "0.0", "min_rise": "0.2", "min_auc": "0.9", "n_heads": "2", "n_layers": "3", "layer": "0",
    "head": "0", "kind": "'query'", "s": "1.0", "s0": "1.0", "length": "80", "tf": "1", "depth": "10",
    "rng": "np.random.default_rng(0)", "idf": "{}",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one function. `change` tells it in words; `source` is the whole mutated function."""

    function: str
    change: str
    source: str


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _plus(node: ast.expr, step: int) -> ast.expr:
    return ast.BinOp(node, ast.Add() if step > 0 else ast.Sub(), ast.Constant(abs(step)))


def comparisons(node) -> Iterator[ast.expr]:
    """Boundary moved, relation turned."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for text in SWAPPED_COMPARISONS[type(operator)]:
                new = copy.deepcopy(node)
                new.ops[place] = _expression(f"a {text} b").ops[0]
                yield new


def arithmetic(node) -> Iterator[ast.expr]:
    """Another operator; a missing term; operands exchanged where the order counts."""
    if isinstance(node, ast.BinOp):
        for text in SWAPPED_ARITHMETIC.get(type(node.op), ()):
            yield ast.BinOp(node.left, _expression(f"a {text} b").op, node.right)
        yield from (node.left, node.right)
        if isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult, ast.Pow, ast.FloorDiv)):
            yield ast.BinOp(node.right, node.op, node.left)


def logic(node) -> Iterator[ast.expr]:
    """`and` for `or`; a condition forgotten; a sign or `not` forgotten; one branch only."""
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        yield from node.values
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)


def constants(node) -> Iterator[ast.expr]:
    """A number that is off by one or by a tenth, a text that is another."""
    if not isinstance(node, ast.Constant) or node.value is None:
        return
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
    elif isinstance(node.value, float):
        yield from (ast.Constant(node.value * 1.1 + 0.01), ast.Constant(node.value + 1))
    elif isinstance(node.value, str):
        yield ast.Constant(node.value + "x")


def calls(node) -> Iterator[ast.expr]:
    """Another function of the family; the call forgotten; arguments exchanged or left out; sample for population."""
    if not isinstance(node, ast.Call):
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    for text in SWAPPED_FUNCTIONS.get(name, ()):
        other = _expression(text)
        if isinstance(node.func, ast.Attribute) and isinstance(other, ast.Name):
            other = ast.Attribute(node.func.value, text, ast.Load())
        yield ast.Call(other, node.args, node.keywords)
    if node.args and name not in CONVERSIONS:
        yield node.args[0]
    if isinstance(node.func, ast.Attribute) and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id == "np"
    ):
        yield node.func.value
    for place in range(len(node.args) - 1):
        swapped = list(node.args)
        swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
        yield ast.Call(node.func, swapped, node.keywords)
    if len(node.args) > 1:
        yield ast.Call(node.func, node.args[:-1], node.keywords)
    for place in range(len(node.keywords)):
        yield ast.Call(node.func, node.args, node.keywords[:place] + node.keywords[place + 1 :])
    if name in ("std", "var"):
        yield ast.Call(node.func, node.args, [*node.keywords, ast.keyword("ddof", ast.Constant(1))])
    if name == "count" and isinstance(node.func, ast.Attribute):
        yield _expression(f"' '.join(map(str, {ast.unparse(node.func.value)})).count(str({ast.unparse(node.args[0])}))")
    if name in ("slice", "range"):
        for place, bound in enumerate(node.args):
            if not isinstance(bound, ast.Starred):
                for step in (1, -1):
                    yield ast.Call(node.func, [*node.args[:place], _plus(bound, step), *node.args[place + 1 :]], [])


def slices(node) -> Iterator[ast.expr]:
    """A bound that is off by one, or forgotten; an index that is off by one."""
    if isinstance(node, ast.Slice):
        for end in ("lower", "upper"):
            bound = getattr(node, end)
            if bound is not None:
                for value in (None, _plus(bound, 1), _plus(bound, -1)):
                    yield ast.Slice(**{"lower": node.lower, "upper": node.upper, "step": node.step, end: value})
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name) and isinstance(node.ctx, ast.Load):
        yield ast.Subscript(node.value, _plus(node.slice, -1), node.ctx)


def comprehensions(node) -> Iterator[ast.AST]:
    """A filter dropped; the first or last item forgotten."""
    if isinstance(node, ast.comprehension):
        for place in range(len(node.ifs)):
            yield ast.comprehension(node.target, node.iter, node.ifs[:place] + node.ifs[place + 1 :], 0)
        for part in ("[1:]", "[:-1]"):
            yield ast.comprehension(node.target, _expression(f"list({ast.unparse(node.iter)}){part}"), node.ifs, 0)


def statements(node) -> Iterator[ast.stmt]:
    """A statement dropped; a branch always or never taken; `break` for `continue`; a loop left after its first round."""
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)):
        yield ast.Pass()
    if isinstance(node, ast.AugAssign):
        yield ast.Assign([node.target], node.value, lineno=0)
    if isinstance(node, ast.If):
        yield from (ast.If(ast.Constant(value), node.body, node.orelse) for value in (True, False))
    if isinstance(node, ast.Break):
        yield ast.Continue()
    if isinstance(node, ast.Continue):
        yield ast.Break()
    if isinstance(node, ast.For):
        yield ast.For(node.target, node.iter, [*node.body, ast.Break()], [], lineno=0)


def absolutes(node) -> Iterator[ast.expr]:
    """A sign lost: of a difference, a sum or a mean."""
    name = getattr(getattr(node, "func", None), "attr", "")
    if name in ("mean", "sum", "log") or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)):
        yield _expression(f"np.abs({ast.unparse(node)})")


def tuples(node) -> Iterator[ast.expr]:
    """Two results in the wrong order."""
    plain = isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1
    if plain and not any(isinstance(one, (ast.Slice, ast.Starred)) for one in node.elts):
        yield ast.Tuple([node.elts[1], node.elts[0], *node.elts[2:]], node.ctx)


def results(node) -> Iterator[ast.stmt]:
    """A result whose sign, decimals or order are lost."""
    if isinstance(node, ast.Return) and node.value is not None:
        value = ast.unparse(node.value)
        for text in ("np.abs({})", "-({})", "np.round({}, 2)", "({})[::-1]", "({})[:1]", "np.asarray({}).astype(int)"):
            yield ast.Return(_expression(text.format(value)))


OPERATORS: tuple[Callable, ...] = (
    comparisons, arithmetic, logic, constants, calls, slices, comprehensions, statements, absolutes,
    tuples, results,
)  # fmt: skip


def _put(function: ast.FunctionDef, place: int, new: ast.AST) -> ast.FunctionDef:
    """A copy of the function in which the node number `place` of its walk is another."""
    changed = copy.deepcopy(function)
    old = list(ast.walk(changed))[place]
    for parent in ast.walk(changed):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, copy.deepcopy(new))
            elif isinstance(value, list):
                setattr(parent, name, [copy.deepcopy(new) if one is old else one for one in value])
    return ast.fix_missing_locations(changed)


def _told(before: ast.AST, after: ast.AST) -> str:
    def text(node):
        return " ".join(ast.unparse(node).split())

    return f"{text(before)}  ->  {text(after)}"


def _with_first_line(function: ast.FunctionDef, line: str) -> ast.FunctionDef:
    changed = copy.deepcopy(function)
    changed.body.insert(0, ast.parse(line).body[0])
    return ast.fix_missing_locations(changed)


def _parameters(function: ast.FunctionDef) -> Iterator[Mutant]:
    """Each parameter ignored: its default, or the value that it usually has, used instead; all but its first item lost."""
    defaults = dict(zip([one.arg for one in function.args.args][::-1], function.args.defaults[::-1], strict=False))
    for parameter in (one.arg for one in function.args.args):
        lines = [f"{parameter} = {parameter}[:1]"]
        usual = ast.unparse(defaults[parameter]) if parameter in defaults else USUAL.get(parameter)
        if usual:
            lines.append(f"{parameter} = {usual}")
        for line in lines:
            yield Mutant(function.name, f"first {line}", ast.unparse(_with_first_line(function, line)))


def _of_body(function: ast.FunctionDef) -> Iterator[Mutant]:
    defaults = {id(node) for default in function.args.defaults for node in ast.walk(default)}
    for place, node in enumerate(ast.walk(function)):
        for operator in OPERATORS:
            for new in operator(node):
                told = _told(node, new) + (" (default)" if id(node) in defaults else "")
                yield Mutant(function.name, told, ast.unparse(_put(function, place, new)))


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def mutants_of(function: ast.FunctionDef, is_helper: bool = False) -> list[Mutant]:
    """Every mutant of a function, without repeats. Of a helper the body alone: its caller gives all arguments."""
    found, times, original = {}, Counter(), ast.unparse(function)
    every = [*([] if is_helper else _parameters(function)), *_of_body(function)]
    for mutant in every:
        if mutant.source == original or mutant.source in found or (is_helper and "(default)" in mutant.change):
            continue
        if not _compiles(mutant.source):
            continue
        times[mutant.change] += 1
        number = times[mutant.change]
        found[mutant.source] = mutant if number == 1 else replace(mutant, change=f"{mutant.change} (place {number})")
    return list(found.values())
