"""Arguments of public functions, checked against what their signature promises.

A wrong argument that gets through does not always fail. `batch_size=-1` would score nothing and hand back memory that nobody
wrote; a seed of -1 fails deep inside another library. So every public function and constructor at the top of `semanticbm`
is called through `checked`, which reads two things that are written down anyway: the annotation of a parameter (a whole
number, a text, a list of pairs, a model) and its name, which means the same everywhere (`batch_size` is 1 or more, `seed`
is what the generators take). What does not fit is a `UserError` that names function, argument and value.

`check_package` installs it for all modules of a package, as the import hooks of beartype and typeguard do; those check
types by the letter, so that an array would not be a sequence of numbers, and know no values.

When it misleads: only what the signature says is checked. That a query id exists, or that two arrays have the same length,
is the function's own business. An iterator of texts, pairs or heads is read into a list first, so that its items can be seen.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import importlib.abc
import importlib.machinery
import inspect
import math
import sys
import types
import typing
from collections import abc
from numbers import Integral, Real

from semanticbm.errors import UserError
from semanticbm.loading.argument_rules import BY_FUNCTION, TOGETHER, UNTYPED, Misfit, demand

MOST = 2**31 - 1  # a whole number beyond this is a mistake, and no library's counter takes it
LIMITS = {  # whole numbers by name: (least, most); others are 0 or more
    "seed": (0, 2**32 - 1),  # what numpy, torch and scikit-learn all take
    "n": (1, 1_000_000),
    "n_bootstrap": (1, 1_000_000),
    "memory": (1, 2**50),
}
AT_LEAST_ONE = {
    *("batch_size", "depth", "k", "n_bins", "n_documents", "n_queries", "n_layers", "n_heads", "itemsize"),
    *("documents_per_query", "min_words", "kinds_on"),
}
AT_LEAST_TWO = ("n_folds", "n_splits")
ABOVE_ZERO = ("avgdl",)
NOT_NEGATIVE = ("penalty", "weight", "synonym_weight", "min_change")
WORDS_FOR = {int: "a whole number", float: "a finite number", str: "text", bool: "True or False"}


# ---- One value against one annotation ------------------------------------------------------------------------------


def check(value, hint, name: str = "") -> None:
    """`Misfit` unless the value is what the annotation and the parameter's name ask for."""
    origin, inside = _parts(hint)
    if hint in (int, float):
        _check_number(value, hint, name)
    elif hint is None or hint is type(None):
        demand(value is None, value, "None")
    elif origin in (typing.Union, types.UnionType):
        _check_any(value, inside, name)
    elif origin is tuple and Ellipsis not in inside:
        _check_tuple(value, inside)
    elif origin is abc.Callable:
        demand(callable(value), value, "a function")
    elif isinstance(origin, type) and issubclass(origin, abc.Mapping):
        _check_mapping(value, *inside)
    elif isinstance(origin, type) and issubclass(origin, abc.Iterable):
        _check_list(value, origin, inside)
    elif isinstance(hint, type) and hint is not typing.Any:
        fits = isinstance(value, hint) or _is_called(hint.__name__, value) or _does_the_same(hint, value)
        demand(fits, value, _in_words(hint))


@functools.cache
def _parts(hint) -> tuple:
    return typing.get_origin(hint), typing.get_args(hint)


def _is_called(name: str, value) -> bool:
    """Whether a class of the value has this name: one that a reload made anew, or one that was never imported here."""
    return any(kind.__name__ == name for kind in type(value).__mro__)


def _does_the_same(hint: type, value) -> bool:
    """Whether the value has every public method of this class: a stand-in, such as one that remembers what it computed."""
    methods = [name for name, member in vars(hint).items() if inspect.isfunction(member) and not name.startswith("_")]
    return bool(methods) and all(callable(getattr(value, name, None)) for name in methods)


def _in_words(hint) -> str:
    return WORDS_FOR.get(hint) or f"of type {getattr(hint, '__name__', hint)}"


def _check_number(value, hint: type, name: str) -> None:
    if hint is float and type(value).__name__ == "ndarray" and value.dtype.kind == "f":
        return  # one number for each row, where a formula takes both
    kind = Integral if hint is int else Real
    demand(isinstance(value, kind) and not isinstance(value, bool), value, WORDS_FOR[hint])
    if hint is int:
        least, most = LIMITS.get(name, (1 if name in AT_LEAST_ONE else 2 if name in AT_LEAST_TWO else 0, MOST))
        demand(value >= least, value, f"a whole number of at least {least}")
        demand(value <= most, value, f"a whole number of at most {most:,}")
    else:
        demand(math.isfinite(value), value, WORDS_FOR[float])
        demand(value > 0 or name not in ABOVE_ZERO, value, "a number above 0")
        demand(value >= 0 or name not in NOT_NEGATIVE, value, "a number of 0 or more")


def _check_any(value, hints: tuple, name: str) -> None:
    misfits = []
    for hint in hints:
        try:
            return check(value, hint, name)
        except Misfit as misfit:
            misfits.append(misfit)
    deepest = max(misfits, key=lambda misfit: len(misfit.where))
    if deepest.where:
        raise deepest
    raise Misfit(value, " or ".join(misfit.wanted for misfit in misfits))


def _check_tuple(value, inside: tuple) -> None:
    fits = isinstance(value, abc.Sequence) and not isinstance(value, str) and len(value) == len(inside)
    demand(fits, value, f"a tuple of {len(inside)}")
    for place, (item, hint) in enumerate(zip(value, inside, strict=True)):
        _check_item(item, hint, place)


def _check_mapping(value, of_keys=typing.Any, of_values=typing.Any) -> None:
    demand(isinstance(value, abc.Mapping), value, "a mapping")
    if _all_plain(value.keys(), of_keys) and _all_plain(value.values(), of_values):
        return
    for key, item in value.items():
        check(key, of_keys)
        _check_item(item, of_values, key)


def _check_list(value, origin: type, inside: tuple) -> None:
    unordered = isinstance(value, abc.Mapping) and origin is not abc.Iterable
    readable = isinstance(value, abc.Iterable) and not isinstance(value, str | bytes) and not unordered
    demand(readable, value, "a list of texts" if inside[:1] == (str,) else "a list")
    if inside and isinstance(value, list | tuple | set | frozenset | abc.Mapping) and not _all_plain(value, inside[0]):
        for place, item in enumerate(value):
            _check_item(item, inside[0], place)


def _all_plain(items: abc.Iterable, hint) -> bool:
    """Whether each item is a text or a float, as asked for: a quick look that spares most long lists the slow one."""
    return hint in (str, float) and set(map(type, items)) <= {hint}


def _check_item(item, hint, place) -> None:
    """One item; among numbers NaN stands for a value that is not there."""
    if hint is float and isinstance(item, Real):
        return
    try:
        check(item, hint)
    except Misfit as misfit:
        misfit.where = f"[{place!r}]{misfit.where}"
        raise


def _short(value) -> str:
    text = repr(value) if isinstance(value, str | bytes | Real | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


# ---- Functions, classes, modules -----------------------------------------------------------------------------------


def checked(function: abc.Callable) -> abc.Callable:
    """The function, which now raises `UserError` for an argument that its signature does not allow."""
    names = list(inspect.signature(function).parameters)
    together = [pair for pair in TOGETHER if set(pair) <= set(names)]

    @functools.cache
    def hints() -> dict:
        return typing.get_type_hints(function, localns=_stand_ins(function))

    @functools.cache
    def rules(name: str) -> list[abc.Callable]:
        return _rules(function, name, hints().get(name, typing.Any))

    def fitting(name: str, value):
        hint = hints().get(name, typing.Any)
        if isinstance(value, abc.Iterator) and _parts(hint)[1]:
            value = list(value)
        try:
            check(value, hint, name)
            for rule in rules(name):
                rule(value)
        except Misfit as misfit:
            raise _as_user_error(function, name, misfit) from None
        return value

    @functools.wraps(function)
    def call(*given, **named):
        fit = [fitting(name, value) for name, value in zip(names, given, strict=False)]
        named = {name: fitting(name, value) for name, value in named.items()}
        known = dict(zip(names, fit, strict=False)) | named
        for first, second in together:
            if first in known and second in known:
                try:
                    TOGETHER[first, second](known[first], known[second])
                except Misfit as misfit:
                    raise _as_user_error(function, second, misfit) from None
        return function(*fit, *given[len(fit) :], **named)

    return call


def _stand_ins(function: abc.Callable) -> dict[str, type]:
    """An empty class for each name in the annotations that only type checkers import (`if TYPE_CHECKING`)."""
    texts = [text for text in function.__annotations__.values() if isinstance(text, str)]
    names = {name for text in texts for name in compile(text, "<annotation>", "eval").co_names}
    return {
        name: type(name, (), {})
        for name in names
        if name not in inspect.unwrap(function).__globals__ and not hasattr(builtins, name)
    }


def _rules(function: abc.Callable, name: str, hint) -> list[abc.Callable]:
    """The rules beyond the type for this parameter: the function's own, or that for its name."""
    untyped = UNTYPED.get(name) if hint is typing.Any else None
    rule = BY_FUNCTION.get(f"{_called(function)}: {name}", untyped)
    return [rule] if rule else []


def _called(function: abc.Callable) -> str:
    return function.__qualname__.removesuffix(".__init__")


def _as_user_error(function: abc.Callable, name: str, misfit: Misfit) -> UserError:
    place = f"{_called(function)}: {name}{misfit.where}"
    return UserError(f"{place} is {_short(misfit.value)}, not {misfit.wanted}: pass that.")


def check_module(module: types.ModuleType) -> None:
    """Check the arguments of every public function, constructor and method that this module defines."""
    for name, found in list(vars(module).items()):
        is_code = inspect.isfunction(found) or inspect.isclass(found)
        if name.startswith("_") or not is_code or found.__module__ != module.__name__:
            continue
        if inspect.isfunction(found):
            setattr(module, name, checked(found))
        elif not issubclass(found, BaseException):
            _check_class(found)


def _check_class(found: type) -> None:
    """Methods and constructor; of dataclasses only those that check themselves, since the others hold results."""
    holds_results = dataclasses.is_dataclass(found) and not hasattr(found, "__post_init__")
    for name, member in list(vars(found).items()):
        if inspect.isfunction(member) and (not name.startswith("_") or name == "__init__" and not holds_results):
            setattr(found, name, checked(member))
        elif isinstance(member, classmethod) and not name.startswith("_"):
            setattr(found, name, classmethod(checked(member.__func__)))


class _CheckedLoader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        check_module(module)


class _CheckedModules(importlib.abc.MetaPathFinder):
    """Finds the modules that stand at the top of a package, and has them checked once they are loaded."""

    def __init__(self, package: str):
        self.package = package

    def find_spec(self, name: str, path, target=None):
        if name.rpartition(".")[0] != self.package:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        is_module = spec is not None and spec.submodule_search_locations is None
        if is_module and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _CheckedLoader(spec.loader.name, spec.loader.path)
        return spec


def check_package(package: str) -> None:
    """From now on, check the arguments of the public functions in every module at the top of this package."""
    sys.meta_path.insert(0, _CheckedModules(package))
