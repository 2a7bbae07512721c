"""Heads: how they are named, counted, tabled and left out.

A *head* is one attention head of one layer. The book writes it `layer.head`, both counted from 0: "4.5" is head 5 of
layer 4. In code it is the tuple `(4, 5)`, the type `Head`.

Every experiment on heads ends in one of three things, and all of them live here: numbers for each head on each query
(`HeadValues`), a table with one row a head (`head_table`, with intervals over queries from `intervals`), and heads chosen
from that table by a rule that was fixed before (`FoundHeads`). A claim about chosen heads needs *other* heads as its control:
`complement` gives all others, `other_draws` random ones of the same layers.

When it misleads: heads of one model have nothing to do with the heads of another that bear the same number. And "other
heads" is only a fair control if the others could have done it: later layers see what earlier ones wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean

Head = tuple[int, int]


# --------------------------------------------------------------------------------------------------------------------
# Names


def parse_head(name: str) -> tuple[int, int]:
    """Read a head's name, such as "4.5", as (layer, head)."""
    layer, dot, head = str(name).partition(".")
    if not (dot and layer.isdigit() and head.isdigit()):
        raise UserError(f"{name!r} is not a head: write layer.head, for example 4.5.")
    return int(layer), int(head)


def head_name(layer: int, head: int) -> str:
    """Write (layer, head) as the book does: "4.5"."""
    return f"{layer}.{head}"


# --------------------------------------------------------------------------------------------------------------------
# All heads, other heads


def all_heads(model: CrossEncoder, n_layers: int | None = None) -> list[Head]:
    """All heads of the first `n_layers` layers (default: of all layers), in order."""
    return [
        (layer, head)
        for layer in range(model.n_layers if n_layers is None else n_layers)
        for head in range(model.n_heads)
    ]


def complement(model: CrossEncoder, heads: Iterable[Head]) -> list[Head]:
    """All heads of the model but these: ablate them to see what these can do alone."""
    kept = set(heads)
    return [head for head in product(range(model.n_layers), range(model.n_heads)) if head not in kept]


def other_draws(model: CrossEncoder, heads: Iterable[Head], n: int = 20, seed: int = 0) -> list[list[Head]]:
    """`n` random draws of as many other heads from the same layers, the control for an ablation.

    Where a layer has too few others, the rest is drawn from the other layers.
    """
    heads, rng = list(heads), np.random.default_rng(seed)
    return [_draw_others(complement(model, heads), heads, rng) for _ in range(n)]


def _draw_others(others: list[Head], heads: list[Head], rng: np.random.Generator) -> list[Head]:
    if len(others) < len(heads):
        raise UserError(f"{len(heads)} heads leave only {len(others)} others: there is no control of the same size.")
    order = [others[number] for number in rng.permutation(len(others))]
    drawn: list[Head] = []
    for layer in sorted({layer for layer, _ in heads}):
        wanted = sum(own == layer for own, _ in heads)
        drawn += [head for head in order if head[0] == layer][:wanted]
    rest = [head for head in order if head not in drawn]
    return sorted(drawn + rest[: len(heads) - len(drawn)])


# --------------------------------------------------------------------------------------------------------------------
# Numbers, tables, choices


@dataclass(frozen=True)
class HeadValues:
    """A number for each head on each query: `values` float [query, layer, head], documents averaged first."""

    query_ids: list[str]
    values: np.ndarray
    n_documents: int

    def mean(self) -> np.ndarray:
        """Mean over queries, those without a value left out: float [layer, head]."""
        return np.nanmean(self.values, axis=0)


@dataclass(frozen=True)
class FoundHeads:
    """Heads chosen by a rule. `heads`: (layer, head) in order. `table`: one row a head with the numbers of the rule."""

    heads: list[Head]
    table: pd.DataFrame
    rule: str
    n_queries: int

    @property
    def names(self) -> list[str]:
        """The heads as the book writes them: ["2.9", ...]."""
        return [head_name(*head) for head in self.heads]


def head_table(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Columns of float [layer, head] as a table with one row a head."""
    n_layers, n_heads = next(iter(columns.values())).shape
    layer, head = np.divmod(np.arange(n_layers * n_heads), n_heads)
    return pd.DataFrame(
        {
            "head": [head_name(*pair) for pair in zip(layer, head, strict=True)],
            "layer": layer,
            "index": head,
            **{name: values.reshape(-1) for name, values in columns.items()},
        }
    )


def intervals(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over queries with bootstrap interval for each head: [query, layer, head] -> three arrays [layer, head]."""
    n_layers, n_heads = values.shape[1:]
    found = [bootstrap_mean(values[:, layer, head], seed=seed) for layer in range(n_layers) for head in range(n_heads)]
    mean, low, high = np.array(found).T.reshape(3, n_layers, n_heads)
    return mean, low, high


def choose(table: pd.DataFrame, wanted: pd.Series, by: str) -> list[Head]:
    """The (layer, head) of the wanted rows, largest `by` first."""
    rows = table[wanted].sort_values(by, ascending=False)
    return list(zip(rows["layer"].tolist(), rows["index"].tolist(), strict=True))
