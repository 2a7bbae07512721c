"""Curves, bars, dots and shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from semanticbm.errors import UserError
from semanticbm.plots.look import BLUE, DASHES, FAINT, GREEN, INK, MARKERS, ORANGE, PALETTE, RED, new_axes


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
) -> Axes:
    """Horizontal bars with intervals, first entry on top.

    values: {name: (estimate, low, high)}, for example a mean and its 95 % bootstrap interval. `reference`: a vertical
    line to compare with, such as 0 or a baseline. `highlight`: names drawn in a second colour.
    """
    if not values:
        raise UserError("bars_with_intervals got no values: give at least one {name: (estimate, low, high)}.")
    ax = new_axes(size=(7.0, 0.42 * len(values) + 1.1))
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


def shares(
    x: Sequence,
    parts: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str = "share",
    points: Mapping[str, Sequence[float]] | None = None,
) -> Axes:
    """Stacked bars: for each entry of `x`, how a whole is divided.

    parts: {name: float [bar]}, drawn from the bottom up. points: {name: float [bar]}, drawn as diamonds on the bars,
    for a value that should meet the top of the first part.
    """
    ax = new_axes()
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
