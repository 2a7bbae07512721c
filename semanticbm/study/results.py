"""Results of full runs: the numbers that the book quotes.

A full reproduction takes half an hour, a chapter should take half a minute. So full runs are stored under `book/results/`
(numbers only), each in the form in which `semanticbm reproduce` wrote it, with the seed, versions and hashes that made it.
Chapters read them here; nothing is typed by hand. `semanticbm reproduce --out FOLDER` makes the same files again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from semanticbm.errors import UserError


@dataclass(frozen=True)
class Results:
    """One stored run: `report` (the claims and heads), `parts` (the numbers of each experiment), `run` (how it was made)."""

    name: str
    report: dict
    parts: dict[str, dict]
    run: dict

    def claim(self, identifier: str) -> dict:
        """The row of one claim."""
        return next(row for row in self.report["claims"] if row["id"] == identifier)

    def heads(self, kind: str) -> list[tuple[int, int]]:
        """The heads found: "matching", "contextual" or "scoring", as (layer, head)."""
        return [tuple(map(int, name.split("."))) for name in self.report["heads"][kind]]

    def sentence(self, identifier: str) -> str:
        """A claim's measurement in words: "0.750, 95 % interval 0.71 to 0.79, n = 112, control 0.28: reproduced"."""
        row = self.claim(identifier)
        if row["ci95"] is None:
            return f"not applicable ({row['note']})"
        control = "" if row["control"] is None else f", control {row['control']:.3f}"
        low, high = row["ci95"]
        return (
            f"{row['measured']:.3f}, 95 % interval {low:.3f} to {high:.3f}, n = {row['n']}{control}: {row['verdict']}"
        )


def results_folder() -> Path:
    """`book/results`: from SEMANTICBM_RESULTS, else of the clone, else above the working folder, else in the package."""
    candidates = [Path(os.environ["SEMANTICBM_RESULTS"])] if "SEMANTICBM_RESULTS" in os.environ else []
    candidates += [
        parent / "book" / "results" for parent in (Path(__file__).parents[2], Path.cwd(), *Path.cwd().parents)
    ]
    candidates.append(Path(__file__).parents[1] / "shipped" / "results")
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise UserError(
        "the stored results (book/results) were not found: install semanticbm again, or run this in a clone."
    )


def read_json(name: str):
    """One JSON file of the results folder."""
    path = results_folder() / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"no stored result {name}: it is made by the command named in book/results/README.md."
        ) from None


def load_results(name: str = "classroom") -> Results:
    """A stored run by name: the folder under book/results."""
    folder = results_folder() / name
    parts = {path.stem: read_json(f"{name}/parts/{path.name}") for path in sorted((folder / "parts").glob("*.json"))}
    return Results(name, read_json(f"{name}/report.json"), parts, read_json(f"{name}/run.json"))
