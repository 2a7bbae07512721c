"""Figures: one style, and one small function for each kind of figure in the book.

A figure in this book answers one question. So each function here draws one kind of picture, takes plain arrays, labels
both axes, and returns its matplotlib `Axes`, so that a chapter can add a line or a note.

Choices made once, here:

- Colours come from Okabe and Ito's palette, which people with the common kinds of colour blindness can tell apart.
  Line styles and markers change together with the colour, so the figures also work in black and white.
- Backgrounds are transparent. The book inverts the lightness of figures in its dark mode (and turns the hue back), so
  the same file reads on white paper and on a dark screen.
- Signed values get a diverging scale whose middle is 0; other values get a scale that starts at the smallest value.

When figures mislead: a heat map stretches its colours to the largest cell, so a picture of noise looks as rich as a
picture of a finding. Read the numbers on the colour bar first. `bars_with_intervals` therefore always draws intervals.

Shapes: layer, head, position as everywhere in the library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from semanticbm.errors import UserError

BLUE, ORANGE, GREEN, RED, SKY, PURPLE, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
)
PALETTE = [BLUE, ORANGE, GREEN, PURPLE, RED, SKY, YELLOW]
INK, MUTED, FAINT = "#1f2328", "#6e7781", "#d0d7de"
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
PART_COLOURS = {"embedding": ORANGE, "matching": BLUE, "relay": PURPLE, "scoring": GREEN, "score": RED}
PART_TEXTS = {
    "embedding": ("Embedding", "IDF in U0"),
    "matching": ("Matching heads", "soft TF, $k_1$, $b$"),
    "relay": ("Relay heads", "gather at rare\nquery words"),
    "scoring": ("Scoring heads", "[CLS] sums\nIDF x soft TF"),
    "score": ("Score", "one number"),
}


def style() -> None:
    """Set the book's style for all figures that follow. The functions here call it when they make a new figure."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=PALETTE,
        font="DejaVu Sans",
        rc={
            "figure.figsize": (7.0, 3.8),
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.8,
            "axes.grid": True,
            "grid.color": FAINT,
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "lines.linewidth": 2.0,
            "font.size": 10,
            "axes.labelsize": 10.5,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "xtick.labelsize": 9.5,
            "ytick.labelsize": 9.5,
            "legend.fontsize": 9.5,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
        },
    )


def new_axes(ax: Axes | None = None, size: tuple[float, float] | None = None) -> Axes:
    """Return `ax`, or the axes of a new figure in the book's style. `size`: width and height in inches."""
    if ax is not None:
        return ax
    style()
    return plt.subplots(figsize=size)[1]


def _matrix(values, name: str) -> np.ndarray:
    matrix = np.asarray(values, dtype=float)
    if matrix.ndim != 2 or not matrix.size:
        raise UserError(f"{name} needs a matrix with two axes, got an array of shape {matrix.shape}.")
    return matrix


def _colour_scale(matrix: np.ndarray, signed: bool | None) -> dict:
    """Colour map and limits: diverging around 0 if a value is clearly negative (or `signed`), else one-sided."""
    finite = matrix[np.isfinite(matrix)]
    high, low = (finite.max(), finite.min()) if finite.size else (1.0, 0.0)
    if signed is None:
        signed = low < -0.02 * abs(high)
    if signed:
        limit = max(abs(high), abs(low)) or 1.0
        return {"cmap": "vlag", "vmin": -limit, "vmax": limit}
    return {"cmap": "Blues", "vmin": min(low, 0.0), "vmax": high if high > 0 else 1.0}


def _ink_on(colour) -> str:
    red, green, blue, _ = colour
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK


def _write_extremes(ax: Axes, matrix: np.ndarray, count: int, names) -> None:
    """Write `names(row, column)` into the `count` cells that are furthest from 0."""
    mesh = ax.collections[0]
    strength = np.where(np.isfinite(matrix), np.abs(matrix), -1.0)
    for cell in np.argsort(-strength, axis=None)[:count]:
        row, column = np.unravel_index(cell, matrix.shape)
        colour = _ink_on(mesh.cmap(mesh.norm(matrix[row, column])))
        ax.text(column + 0.5, row + 0.5, names(row, column), ha="center", va="center", fontsize=8, color=colour)


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
    _write_extremes(ax, matrix, label_extremes, lambda layer, head: f"{layer}.{head}")
    for layer, head in mark:
        ax.add_patch(plt.Rectangle((head, layer), 1, 1, fill=False, edgecolor=RED, linewidth=2))
    ax.set(xlabel="head", ylabel="layer")
    ax.tick_params(axis="y", rotation=0)
    return ax


def curves(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    markers: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """One curve for each entry of `lines`, all over the same `x`.

    lines: {name: float [point]}. bands: {name: (low, high)}, drawn as a shaded interval around the curve of that name.
    """
    ax = new_axes(ax)
    for number, (name, y) in enumerate(lines.items()):
        if len(y) != len(x):
            raise UserError(f"curve {name!r} has {len(y)} values for {len(x)} points of x: one for each point.")
        colour = PALETTE[number % len(PALETTE)]
        ax.plot(
            x,
            y,
            label=name,
            color=colour,
            linestyle=DASHES[number % len(DASHES)],
            marker=MARKERS[number % len(MARKERS)] if markers else None,
            markersize=5,
        )
        if bands and name in bands:
            ax.fill_between(x, *bands[name], color=colour, alpha=0.18, linewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(lines) > 1:
        ax.legend()
    return ax


def bars_with_intervals(
    values: Mapping[str, tuple[float, float, float]],
    xlabel: str,
    ylabel: str = "",
    reference: float | None = None,
    highlight: Iterable[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Horizontal bars with intervals, first entry on top.

    values: {name: (estimate, low, high)}, for example a mean and its 95 % bootstrap interval. `reference`: a vertical
    line to compare with, such as 0 or a baseline. `highlight`: names drawn in a second colour.
    """
    if not values:
        raise UserError("bars_with_intervals got no values: give at least one {name: (estimate, low, high)}.")
    ax = new_axes(ax, (7.0, 0.42 * len(values) + 1.1))
    estimate, low, high = np.asarray(list(values.values()), dtype=float).T
    chosen = set(highlight)
    places = np.arange(len(values))
    ax.barh(places, estimate, color=[ORANGE if name in chosen else BLUE for name in values], height=0.62)
    ax.errorbar(
        estimate,
        places,
        xerr=np.maximum([estimate - low, high - estimate], 0),
        fmt="none",
        ecolor=INK,
        elinewidth=1.4,
        capsize=3,
    )
    ax.set_yticks(places, list(values))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    if reference is not None:
        ax.axvline(reference, color=INK, linestyle="--", linewidth=1)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax


def scatter(
    x: Sequence[float],
    y: Sequence[float],
    xlabel: str,
    ylabel: str,
    groups: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    name_extremes: int = 0,
    trend: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """One dot for each pair (x, y).

    groups: a label for each dot; each label gets its own colour and marker. names: a text for each dot; the
    `name_extremes` dots furthest from the centre are named. `trend`: also draw the least-squares line.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise UserError(f"scatter needs two lists of the same length, got shapes {x.shape} and {y.shape}.")
    ax = new_axes(ax, (6.0, 4.2))
    size, alpha = (34, 0.85) if len(x) < 300 else (8, 0.35)
    kinds = 0 if groups is None else len(set(groups))
    sns.scatterplot(
        x=x,
        y=y,
        hue=groups,
        style=groups,
        palette=PALETTE[:kinds] or None,
        markers=MARKERS[:kinds] or True,
        s=size,
        alpha=alpha,
        linewidth=0,
        rasterized=len(x) > 3000,
        ax=ax,
    )
    if trend:
        slope, intercept = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, slope * ends + intercept, color=INK, linewidth=1.2, linestyle="--")
    if names is not None:
        _name_extremes(ax, x, y, names, name_extremes)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax


def _name_extremes(ax: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str], count: int) -> None:
    def spread(values):
        return (values - values.mean()) / (values.std() or 1.0)

    for dot in np.argsort(-(spread(x) ** 2 + spread(y) ** 2))[:count]:
        ax.annotate(names[dot], (x[dot], y[dot]), xytext=(4, 4), textcoords="offset points", fontsize=8.5, color=INK)


def token_layer_map(
    values, tokens: Sequence[str], label: str = "effect", signed: bool | None = None, ax: Axes | None = None
) -> Axes:
    """A heat map of layers against token positions: where in the text, and how deep, something happens.

    values: float [layer, position]; layer 0 is at the bottom, because the model is read upwards. tokens: the pieces.
    """
    matrix = _matrix(values, "token_layer_map")
    if matrix.shape[1] != len(tokens):
        raise UserError(f"token_layer_map got {matrix.shape[1]} positions and {len(tokens)} tokens: they must match.")
    ax = new_axes(ax, (max(5.0, 0.36 * len(tokens) + 1.8), 0.36 * len(matrix) + 1.7))
    sns.heatmap(
        matrix, ax=ax, linewidths=0.4, linecolor=FAINT, cbar_kws={"label": label}, **_colour_scale(matrix, signed)
    )
    ax.invert_yaxis()
    ax.set_xticks(np.arange(len(tokens)) + 0.5, tokens, rotation=60, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="token", ylabel="layer")
    return ax


def circuit(
    lit: Iterable[str] = tuple(PART_TEXTS), heads: Mapping[str, str] | None = None, ax: Axes | None = None
) -> Axes:
    """The circuit of the book, from the embedding to the score, with the parts in `lit` coloured and the others grey.

    lit: any of "embedding", "matching", "relay", "scoring", "score". heads: a line to add under a part, for example
    {"matching": "1.3, 2.7"}. The part colours are the same in every chapter.
    """
    lit, heads = set(lit), dict(heads or {})
    unknown = (lit | set(heads)) - set(PART_TEXTS)
    if unknown:
        raise UserError(f"circuit has no part {sorted(unknown)[0]!r}: use {', '.join(PART_TEXTS)}.")
    ax = new_axes(ax, (7.8, 1.8))
    ax.set(xlim=(-0.05, 5.0), ylim=(-0.05, 1.05))
    ax.axis("off")
    for place, part in enumerate(PART_TEXTS):
        _draw_part(ax, place, part, part in lit, heads.get(part))
        if place:
            both = part in lit and list(PART_TEXTS)[place - 1] in lit
            ax.add_patch(
                FancyArrowPatch(
                    (place - 0.135, 0.5),
                    (place - 0.005, 0.5),
                    arrowstyle="-|>",
                    mutation_scale=13,
                    color=INK if both else MUTED,
                    linewidth=1.6 if both else 1.0,
                )
            )
    return ax


def _draw_part(ax: Axes, place: int, part: str, is_lit: bool, heads: str | None) -> None:
    title, detail = PART_TEXTS[part]
    colour = PART_COLOURS[part]
    ax.add_patch(
        FancyBboxPatch(
            (place + 0.04, 0.12),
            0.78,
            0.76,
            boxstyle="round,pad=0.035,rounding_size=0.07",
            facecolor=mpl.colors.to_rgba(colour, 0.16) if is_lit else "none",
            edgecolor=colour if is_lit else FAINT,
            linewidth=2.0 if is_lit else 1.2,
        )
    )
    ink = INK if is_lit else MUTED
    ax.text(
        place + 0.43,
        0.76,
        title,
        ha="center",
        va="center",
        fontsize=8.8,
        color=ink,
        weight="bold" if is_lit else "normal",
    )
    ax.text(place + 0.43, 0.46, detail, ha="center", va="center", fontsize=8.2, color=ink)
    if heads:
        ax.text(place + 0.43, 0.20, heads, ha="center", va="center", fontsize=8.5, color=ink, family="monospace")


def shares(
    x: Sequence,
    parts: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str = "share",
    points: Mapping[str, Sequence[float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Stacked bars: for each entry of `x`, how a whole is divided.

    parts: {name: float [bar]}, drawn from the bottom up. points: {name: float [bar]}, drawn as diamonds on the bars,
    for a value that should meet the top of the first part.
    """
    ax = new_axes(ax)
    places, bottom = np.arange(len(x)), np.zeros(len(x))
    for number, (name, values) in enumerate(parts.items()):
        if len(values) != len(x):
            raise UserError(f"part {name!r} has {len(values)} values for {len(x)} bars: one for each bar.")
        ax.bar(
            places,
            values,
            bottom=bottom,
            width=0.7,
            label=name,
            color=(BLUE, ORANGE, FAINT, GREEN)[number % 4],
            hatch=(None, "//", "..", "xx")[number % 4],
            edgecolor="white",
            linewidth=0.5,
        )
        bottom = bottom + np.asarray(values, dtype=float)
    for name, values in (points or {}).items():
        ax.plot(places, values, "D", color=RED, markeredgecolor="white", markersize=8, label=name)
    ax.set_xticks(places, list(x))
    ax.grid(axis="x", visible=False)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def flow(stages: Sequence[tuple[str, str]], lit: Iterable[int] = (), ax: Axes | None = None) -> Axes:
    """A row of boxes joined by arrows. stages: (title, detail) of each box; lit: indices of the boxes to colour."""
    ax = new_axes(ax, (1.56 * len(stages), 1.35))
    ax.set(xlim=(-0.05, len(stages)), ylim=(0, 1))
    ax.axis("off")
    chosen = set(lit)
    for place, (title, detail) in enumerate(stages):
        is_lit = place in chosen
        ax.add_patch(
            FancyBboxPatch(
                (place + 0.04, 0.16),
                0.78,
                0.68,
                boxstyle="round,pad=0.035,rounding_size=0.07",
                facecolor=mpl.colors.to_rgba(BLUE, 0.16) if is_lit else "none",
                edgecolor=BLUE if is_lit else FAINT,
                linewidth=2.0 if is_lit else 1.2,
            )
        )
        ax.text(place + 0.43, 0.68, title, ha="center", va="center", fontsize=8.8, weight="bold")
        ax.text(place + 0.43, 0.36, detail, ha="center", va="center", fontsize=8.2)
        if place:
            ax.add_patch(
                FancyArrowPatch(
                    (place - 0.135, 0.5),
                    (place - 0.005, 0.5),
                    arrowstyle="-|>",
                    mutation_scale=13,
                    color=MUTED,
                    linewidth=1.0,
                )
            )
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
