"""Heat maps: heads, layers against positions, one head's attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from semanticbm.errors import UserError
from semanticbm.heads import head_name
from semanticbm.plots.look import FAINT, INK, RED, new_axes


def heads_heatmap(
    values,
    label: str = "direct effect",
    label_extremes: int = 6,
    mark: Iterable[tuple[int, int]] = (),
    signed: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One coloured cell for each head, so that the few heads that matter stand out.

    values: float [layer, head]. `label`: what the colour means, with its unit. The `label_extremes` cells furthest from
    0 carry their head's name. `mark`: (layer, head) pairs to frame. `signed`: force (or forbid) a scale around 0.
    """
    matrix = _matrix(values, "heads_heatmap")
    layers, heads = matrix.shape
    ax = new_axes(ax, (max(4.5, 0.48 * heads + 1.6), max(2.4, 0.38 * layers + 0.9)))
    sns.heatmap(
        matrix, ax=ax, linewidths=0.6, linecolor=FAINT, cbar_kws={"label": label}, **_colour_scale(matrix, signed)
    )
    _write_extremes(ax, matrix, label_extremes, head_name)
    for layer, head in mark:
        ax.add_patch(plt.Rectangle((head, layer), 1, 1, fill=False, edgecolor=RED, linewidth=2))
    ax.set(xlabel="head", ylabel="layer")
    ax.tick_params(axis="y", rotation=0)
    return ax


def token_layer_map(values, tokens: Sequence[str], label: str = "effect") -> Axes:
    """A heat map of layers against token positions: where in the text, and how deep, something happens.

    values: float [layer, position]; layer 0 is at the bottom, because the model is read upwards. tokens: the pieces.
    """
    matrix = _matrix(values, "token_layer_map")
    if matrix.shape[1] != len(tokens):
        raise UserError(f"token_layer_map got {matrix.shape[1]} positions and {len(tokens)} tokens: they must match.")
    ax = new_axes(size=(max(5.0, 0.36 * len(tokens) + 1.8), 0.36 * len(matrix) + 1.7))
    sns.heatmap(matrix, ax=ax, linewidths=0.4, linecolor=FAINT, cbar_kws={"label": label}, **_colour_scale(matrix))
    ax.invert_yaxis()
    ax.set_xticks(np.arange(len(tokens)) + 0.5, tokens, rotation=60, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="token", ylabel="layer")
    return ax


def attention_map(values, tokens: Sequence[str], label: str = "attention", ax: Axes | None = None) -> Axes:
    """One head's attention: which token (row) looks at which (column).

    values: float [position (attends), position (attended)], rows sum to 1. tokens: the pieces.
    """
    matrix = _matrix(values, "attention_map")
    if matrix.shape != (len(tokens), len(tokens)):
        raise UserError(
            f"attention_map got a {matrix.shape[0]} x {matrix.shape[1]} matrix for {len(tokens)} tokens: "
            "give one row and one column for each token."
        )
    side = 0.24 * len(tokens) + 1.6
    ax = new_axes(ax, (side + 0.9, side))
    sns.heatmap(
        matrix,
        ax=ax,
        square=True,
        linewidths=0.4,
        linecolor=FAINT,
        cmap="Blues",
        vmin=0,
        vmax=max(matrix.max(), 1e-9),
        cbar_kws={"label": label, "shrink": 0.7},
    )
    ax.set_xticks(np.arange(len(tokens)) + 0.5, tokens, rotation=60, ha="right", rotation_mode="anchor", fontsize=8.5)
    ax.set_yticks(np.arange(len(tokens)) + 0.5, tokens, rotation=0, fontsize=8.5)
    ax.set(xlabel="is looked at", ylabel="looks")
    return ax


def _matrix(values, name: str) -> np.ndarray:
    matrix = np.asarray(values, dtype=float)
    if matrix.ndim != 2 or not matrix.size:
        raise UserError(f"{name} needs a matrix with two axes, got an array of shape {matrix.shape}.")
    return matrix


def _colour_scale(matrix: np.ndarray, signed: bool | None = None) -> dict:
    """Colour map and limits: diverging around 0 if a value is clearly negative (or `signed`), else one-sided."""
    finite = matrix[np.isfinite(matrix)]
    high, low = (finite.max(), finite.min()) if finite.size else (1.0, 0.0)
    if signed is None:
        signed = low < -0.02 * abs(high)
    if signed:
        limit = max(abs(high), abs(low)) or 1.0
        return {"cmap": "vlag", "vmin": -limit, "vmax": limit}
    return {"cmap": "Blues", "vmin": min(low, 0.0), "vmax": high if high > 0 else 1.0}


def _write_extremes(ax: Axes, matrix: np.ndarray, count: int, names: Callable[[int, int], str]) -> None:
    """Write `names(row, column)` into the `count` cells that are furthest from 0."""
    mesh = ax.collections[0]
    strength = np.where(np.isfinite(matrix), np.abs(matrix), -1.0)
    for cell in np.argsort(-strength, axis=None)[:count]:
        row, column = np.unravel_index(cell, matrix.shape)
        colour = _ink_on(mesh.cmap(mesh.norm(matrix[row, column])))
        ax.text(column + 0.5, row + 0.5, names(row, column), ha="center", va="center", fontsize=8, color=colour)


def _ink_on(colour) -> str:
    red, green, blue, _ = colour
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK
