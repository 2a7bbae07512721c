"""Results of full runs: the numbers that the book quotes.

A full reproduction takes twenty minutes, a chapter should take half a minute. So full runs are stored under `book/results/`
(numbers only), each in the form in which `semanticbm reproduce` wrote it, with the seed, versions and hashes that made it.
Chapters read them here; nothing is typed by hand. `semanticbm reproduce --out FOLDER` makes the same files again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from semanticbm.errors import UserError
from semanticbm.heads import Head, parse_head
from semanticbm.study.sealed import read_sealed


@dataclass(frozen=True)
class Results:
    """One stored run: `report` (the claims and heads), `parts` (the numbers of each experiment), `run` (how it was made)."""

    name: str
    report: dict
    parts: dict[str, dict]
    run: dict

    def claim(self, identifier: str) -> dict:
        """The row of one claim; `UserError` if the run has none of this name."""
        rows = {row["id"]: row for row in self.report["claims"]}
        if identifier not in rows:
            raise UserError(f"the stored run {self.name} has no claim {identifier!r}: it has {', '.join(rows)}.")
        return rows[identifier]

    def heads(self, role: str) -> list[Head]:
        """The heads found: "matching", "contextual" or "scoring", as (layer, head)."""
        return [parse_head(name) for name in self.report["heads"][role]]

    def sentence(self, identifier: str) -> str:
        """A claim's measurement in words: "0.750, 95 % interval 0.71 to 0.79, n = 112, control 0.28: reproduced"."""
        row = self.claim(identifier)
        if row["ci95"] is None:
            return f"{row['verdict']} ({row['note']})"
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
        return json.loads(path.read_bytes().decode("utf-8"))
    except OSError:
        raise UserError(
            f"no stored result {name}: it is made by the command named in book/results/README.md."
        ) from None
    except (ValueError, RecursionError):
        raise UserError(
            f"{path} is damaged (no JSON in UTF-8): restore it, or make it again with the command named in "
            "book/results/README.md."
        ) from None


def load_results(name: str = "classroom") -> Results:
    """A stored run by name: the folder under book/results. `UserError` if a file is missing, damaged or of another run."""
    folder = results_folder() / name
    if not (folder / "report.json").is_file():
        raise UserError(f"no stored result {name}: it is made by the command named in book/results/README.md.")
    report, run = read_sealed(folder / "report.json"), read_sealed(folder / "run.json")
    parts = {path.stem: read_sealed(path) for path in sorted((folder / "parts").glob("*.json"))}
    for what, content in {"report": report, **parts}.items():
        if content["fingerprint"] != run["fingerprint"]:
            raise UserError(f"{folder}: {what} belongs to another run than run.json: make the folder again.")
    return Results(name, report, parts, run)
