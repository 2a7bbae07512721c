"""Figures of the report, drawn from the stored numbers; an experiment that found nothing has no figure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from semanticbm import plots
from semanticbm.study.study import Study


def draw_figures(study: Study) -> None:
    """Write the figures as PNG files into the run's folder."""
    for name, draw in FIGURES.items():
        ax = draw(study.parts)
        if ax is not None:
            ax.figure.savefig(study.out / "figures" / f"{name}.png", dpi=120, facecolor="white")
            plt.close(ax.figure)


def saturation(parts: dict) -> Axes | None:
    """Matching score over occurrences, matching heads against others."""
    if "tf" not in parts.get("curves", {}):
        return None
    tf = parts["curves"]["tf"]
    lines = {"matching heads": tf["matching"], "other heads": tf["other"]}
    known = {name: values for name, values in lines.items() if None not in values}
    return plots.curves(tf["x"], known, "occurrences of the query word", "matching score")


def direct_effects(parts: dict) -> Axes | None:
    """Mean direct effect of every head."""
    part = parts.get("direct_effects", {})
    return plots.heads_heatmap(np.array(part["mean"])) if "mean" in part else None


def first_stage_recall(parts: dict) -> Axes | None:
    """Recall of the first stages."""
    if "recall" not in parts.get("hybrid", {}):
        return None
    rows = parts["hybrid"]["recall"]["R@10"]
    return plots.bars_with_intervals({name: tuple(value) for name, value in rows.items()}, "recall@10")


FIGURES: dict[str, Callable[[dict], Axes | None]] = {
    "matching-saturation": saturation,
    "direct-effects": direct_effects,
    "first-stage-recall": first_stage_recall,
}
