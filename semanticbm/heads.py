"""Heads: how they are named, counted, tabled and left out.

A *head* is one attention head of one layer. The book writes it `layer.head`, both counted from 0: "4.5" is head 5 of
layer 4. In code it is the tuple `(4, 5)`, the type `Head`.

Every experiment on heads ends in one of three things, and all of them live here: numbers for each head on each query
(`HeadValues`), a table with one row a head (`head_table`, with intervals over queries from `intervals`), and heads chosen
from that table by a rule that was fixed before (`FoundHeads`). A claim about chosen heads needs *other* heads as its control:
`other_heads` gives all others, `other_draws` random ones of the same layers.

When it misleads: heads of one model have nothing to do with the heads of another that bear the same number. And "other
heads" is only a fair control if the others could have done it: later layers see what earlier ones wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean

Head = tuple[int, int]


def parse_head(name: str) -> Head:
    """Read a head's name, such as "4.5", as (layer, head) (chapter 2); `UserError` for anything else."""
    layer, dot, head = str(name).partition(".")
    if not (dot and layer.isdigit() and head.isdigit()):
        raise UserError(f"{name!r} is not a head: write layer.head, for example 4.5.")
    return int(layer), int(head)


def head_name(layer: int, head: int) -> str:
    """Write (layer, head) as the book does: "4.5" (chapter 2)."""
    return f"{layer}.{head}"


def all_heads(shape: tuple[int, int]) -> list[Head]:
    """All heads, layer by layer. `shape`: number of layers and heads a layer, as in `CrossEncoder.head_shape`.

    Chapter 5.
    """
    return list(np.ndindex(*shape))


def other_heads(heads: Iterable[Head], shape: tuple[int, int], same_layers: bool = False) -> list[Head]:
    """All heads but these, layer by layer; with `same_layers` only those that share a layer with one of them.

    The control of chapters 5 and 7, and what chapter 8 ablates to see what `heads` can do alone.
    """
    heads = set(heads)
    own_layers = {layer for layer, _ in heads}
    return [head for head in all_heads(shape) if head not in heads and (head[0] in own_layers or not same_layers)]


def other_draws(
    heads: Iterable[Head], shape: tuple[int, int], n: int = 20, seed: int = 0, exclude: Iterable[Head] = ()
) -> list[list[Head]]:
    """`n` random draws of as many other heads, layer by layer: the control for chosen heads (chapter 8).

    `exclude`: heads that must not be drawn either, such as those found in another role. Where a layer has too few others,
    heads of earlier layers stand in; never of later ones, which see what the chosen heads wrote. `UserError` where there
    are not enough.
    """
    heads, rng = list(heads), np.random.default_rng(seed)
    pool = other_heads([*heads, *exclude], shape)
    return [_draw_others(pool, heads, rng) for _ in range(n)]


def _draw_others(pool: list[Head], heads: list[Head], rng: np.random.Generator) -> list[Head]:
    order = [pool[number] for number in rng.permutation(len(pool))]
    drawn: list[Head] = []
    for layer in sorted(layer for layer, _ in heads):
        allowed = [head for head in order if head[0] <= layer and head not in drawn]
        if not allowed:
            raise UserError(
                f"there are not {len(heads)} other heads in or before these layers: no control of this size."
            )
        drawn.append(max(allowed, key=_layer_of))
    return sorted(drawn)


def _layer_of(head: Head) -> int:
    return head[0]


@dataclass(frozen=True)
class HeadValues:
    """A number for each head on each query: `values` float [query, layer, head], documents averaged first (chapter 5)."""

    query_ids: list[str]
    values: np.ndarray
    n_documents: int

    @classmethod
    def from_documents(cls, values: Mapping[str, Sequence[np.ndarray]]) -> HeadValues:
        """From {query id: a float [layer, head] for each document}."""
        by_query = np.stack([np.mean(of_query, axis=0) for of_query in values.values()])
        return cls(list(values), by_query, sum(map(len, values.values())))

    def mean(self) -> np.ndarray:
        """Mean over queries, those without a value left out: float [layer, head]."""
        return np.nanmean(self.values, axis=0)


@dataclass(frozen=True)
class FoundHeads:
    """Heads chosen by a rule. `heads`: (layer, head) in order. `table`: one row a head with the numbers of the rule.

    Chapter 5.
    """

    heads: list[Head]
    table: pd.DataFrame
    rule: str
    n_queries: int

    @property
    def names(self) -> list[str]:
        """The heads as the book writes them: ["2.9", ...]."""
        return [head_name(*head) for head in self.heads]


def head_table(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Columns of float [layer, head] as a table with one row a head (chapter 5)."""
    heads = all_heads(next(iter(columns.values())).shape)
    layer, index = np.transpose(heads)
    numbers = {name: values.reshape(-1) for name, values in columns.items()}
    return pd.DataFrame({"head": [head_name(*head) for head in heads], "layer": layer, "index": index, **numbers})


def intervals(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over queries with bootstrap interval for each head: [query, layer, head] -> three arrays [layer, head].

    Chapter 5.
    """
    by_head = [bootstrap_mean(values[:, layer, head], seed=seed) for layer, head in all_heads(values.shape[1:])]
    mean, low, high = np.array(by_head).T.reshape(3, *values.shape[1:])
    return mean, low, high


def interval_columns(name: str, values: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """The three arrays of `intervals` as columns of a table: `name`, `name`_low and `name`_high (chapter 5)."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), intervals(values, seed), strict=True))


def rows_of_heads(table: pd.DataFrame, heads: Iterable[Head]) -> np.ndarray:
    """Which rows of a `head_table` belong to these heads: bool [row] (chapter 5)."""
    heads = set(heads)
    return np.array([head in heads for head in zip(table["layer"], table["index"], strict=True)])


def choose(table: pd.DataFrame, wanted: pd.Series, by: str) -> list[Head]:
    """The (layer, head) of the wanted rows, largest `by` first (chapter 5)."""
    rows = table[wanted].sort_values(by, ascending=False)
    return list(zip(rows["layer"].tolist(), rows["index"].tolist(), strict=True))
