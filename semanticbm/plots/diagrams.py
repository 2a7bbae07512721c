"""Boxes joined by arrows: the circuit of the book, and stages in a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from semanticbm.errors import UserError
from semanticbm.plots.look import BLUE, FAINT, GREEN, INK, MUTED, ORANGE, PURPLE, RED, new_axes

PART_COLOURS = {"embedding": ORANGE, "matching": BLUE, "relay": PURPLE, "scoring": GREEN, "score": RED}
PART_TEXTS = {
    "embedding": ("Embedding", "IDF in U0"),
    "matching": ("Matching heads", "soft TF, $k_1$, $b$"),
    "relay": ("Relay heads", "gather at rare\nquery words"),
    "scoring": ("Scoring heads", "[CLS] sums\nIDF x soft TF"),
    "score": ("Score", "one number"),
}


def circuit(lit: Iterable[str] = tuple(PART_TEXTS), heads: Mapping[str, str] | None = None) -> Axes:
    """The circuit of the book, from the embedding to the score, with the parts in `lit` coloured and the others grey.

    lit: any of "embedding", "matching", "relay", "scoring", "score". heads: a line to add under a part, for example
    {"matching": "1.3, 2.7"}. The part colours are the same in every chapter.
    """
    lit, heads = set(lit), dict(heads or {})
    unknown = (lit | set(heads)) - set(PART_TEXTS)
    if unknown:
        raise UserError(f"circuit has no part {sorted(unknown)[0]!r}: use {', '.join(PART_TEXTS)}.")
    ax = new_axes(size=(7.8, 1.8))
    ax.set(xlim=(-0.05, 5.0), ylim=(-0.05, 1.05))
    ax.axis("off")
    previous = ""
    for place, (part, (title, detail)) in enumerate(PART_TEXTS.items()):
        is_lit = part in lit
        _box(ax, place, (0.12, 0.76), PART_COLOURS[part] if is_lit else None)
        _text(
            ax, place, 0.76, title, fontsize=8.8, color=INK if is_lit else MUTED, weight="bold" if is_lit else "normal"
        )
        _text(ax, place, 0.46, detail, fontsize=8.2, color=INK if is_lit else MUTED)
        _text(ax, place, 0.20, heads.get(part, ""), fontsize=8.5, color=INK if is_lit else MUTED, family="monospace")
        if previous:
            _arrow(ax, place, strong=is_lit and previous in lit)
        previous = part
    return ax


def flow(stages: Sequence[tuple[str, str]], lit: Iterable[int] = ()) -> Axes:
    """A row of boxes joined by arrows. stages: (title, detail) of each box; lit: indices of the boxes to colour."""
    ax, lit = new_axes(size=(1.56 * len(stages), 1.35)), set(lit)
    ax.set(xlim=(-0.05, len(stages)), ylim=(0, 1))
    ax.axis("off")
    for place, (title, detail) in enumerate(stages):
        _box(ax, place, (0.16, 0.68), BLUE if place in lit else None)
        _text(ax, place, 0.68, title, fontsize=8.8, weight="bold")
        _text(ax, place, 0.36, detail, fontsize=8.2)
        if place:
            _arrow(ax, place, strong=False)
    return ax


def _box(ax: Axes, place: int, bottom_and_height: tuple[float, float], colour: str | None) -> None:
    """A box with round corners, tinted and framed in its colour, or grey and empty."""
    bottom, height = bottom_and_height
    shape = FancyBboxPatch((place + 0.04, bottom), 0.78, height, boxstyle="round,pad=0.035,rounding_size=0.07")
    shape.set(
        facecolor=to_rgba(colour, 0.16) if colour else "none",
        edgecolor=colour or FAINT,
        linewidth=2.0 if colour else 1.2,
    )
    ax.add_patch(shape)


def _text(ax: Axes, place: int, height: float, text: str, **style) -> None:
    if text:
        ax.text(place + 0.43, height, text, ha="center", va="center", **style)


def _arrow(ax: Axes, place: int, strong: bool) -> None:
    """From the box before to the box at `place`."""
    ends = (place - 0.135, 0.5), (place - 0.005, 0.5)
    style = {"color": INK, "linewidth": 1.6} if strong else {"color": MUTED, "linewidth": 1.0}
    ax.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=13, **style))
