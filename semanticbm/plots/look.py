"""The look of all figures: colours, markers, and the style that a new figure gets."""

from __future__ import annotations

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW = "#56B4E9", "#CC79A7", "#F0E442"
PALETTE = [BLUE, ORANGE, GREEN, PURPLE, RED, SKY, YELLOW]
INK, MUTED, FAINT = "#1f2328", "#6e7781", "#d0d7de"
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]


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
