"""U0 against its controls, and the edit of U0 over many pairs: the two experiments of chapter 6.

`idf_controls` puts the correlation of U0 with IDF beside that of what may explain it. `edit_effects` applies
`semanticbm.idf.edited_scores` to TFC1 pairs, for every direction of a kind and every step; the statistic is the slope of
S_p - S_b over the steps.

When it misleads: an interval over words says nothing about other vocabularies, and a slope is only evidence beyond those
of the control directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from semanticbm.cross_encoder import CrossEncoder, progress_bar
from semanticbm.diagnostics import DiagnosticPair, Pieces
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean, partial_correlation, pearson
from semanticbm.idf import (
    N_CONTROLS,
    Direction,
    edit_directions,
    edited_scores,
    embedding_matrix,
    term_positions,
    u0,
    word_table,
)

STEPS = (-2, -1, 0, 1, 2)  # edits, in units of std(U0)


def idf_controls(model: CrossEncoder, idf: Mapping[str, float], n: int = 500, seed: int = 0) -> pd.DataFrame:
    """U0 beside what may explain it: columns quantity, pearson, low, high (95 %, bootstrap over words), n_words.

    "mean direction" is the projection on the mean word vector. The last row takes a linear fit on norm and token id off
    both U0 and IDF first.
    """
    table, matrix = word_table(model, idf), embedding_matrix(model)
    vectors, mean = matrix[table.ids], matrix.mean(axis=0)
    first, norm = u0(model)[table.ids], np.linalg.norm(vectors, axis=1)
    quantities = {"U0": first, "token id": table.ids, "embedding norm": norm, "mean direction": vectors @ mean}
    rows = [_row(name, values, table.idf, None, n, seed) for name, values in quantities.items()]
    rows.append(_row("U0 given norm and token id", first, table.idf, np.column_stack([norm, table.ids]), n, seed))
    return pd.DataFrame(rows)


def _row(name: str, values: np.ndarray, idf: np.ndarray, controls: np.ndarray | None, n: int, seed: int) -> dict:
    def statistic(take: np.ndarray) -> float:
        if controls is None:
            return pearson(values[take], idf[take])
        return partial_correlation(values[take], idf[take], controls[take])

    rng = np.random.default_rng(seed)
    draws = [statistic(rng.integers(len(idf), size=len(idf))) for _ in range(n)]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return {"quantity": name, "pearson": statistic(np.arange(len(idf))), "low": low, "high": high, "n_words": len(idf)}


@dataclass(frozen=True)
class EditEffects:
    """Scores under edits of the term. `baseline`, `perturbed`: float [pair, direction, step], S_b and S_p.

    `steps` in units of std(U0); `names`: the directions; `query_ids`: the query of each pair.
    """

    names: list[str]
    steps: np.ndarray
    query_ids: list[str]
    baseline: np.ndarray
    perturbed: np.ndarray

    def by_query(self, values: np.ndarray) -> np.ndarray:
        """Mean over the pairs of each query: float [query, ...], queries in order of first appearance."""
        ids = np.array(self.query_ids)
        return np.stack([values[ids == query].mean(axis=0) for query in dict.fromkeys(self.query_ids)])

    @property
    def contribution(self) -> np.ndarray:
        """What the added term gives, S_p - S_b, mean over the pairs of a query: float [query, direction, step]."""
        return self.by_query(self.perturbed - self.baseline)

    @property
    def slopes(self) -> np.ndarray:
        """The statistic: least-squares slope of S_p - S_b over the steps, float [query, direction]."""
        return slope(self.steps, self.contribution)

    def table(self, seed: int = 0) -> pd.DataFrame:
        """One row a direction: mean slope over queries with interval, mean S_p - S_b at each step, queries."""
        rows = []
        for name, slopes, contribution in zip(self.names, self.slopes.T, self.contribution.mean(axis=0), strict=True):
            at_steps = {f"{step:+g}": value for step, value in zip(self.steps, contribution, strict=True)}
            row = {"direction": name} | dict(
                zip(("slope", "low", "high"), bootstrap_mean(slopes, seed=seed), strict=True)
            )
            rows.append(row | at_steps | {"n_queries": len(slopes)})
        return pd.DataFrame(rows)


def slope(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least-squares slope over the last axis of `values`."""
    centred = np.asarray(x, dtype=float) - np.mean(x)
    return values @ centred / (centred @ centred)


def edit_effects(
    model: CrossEncoder,
    pairs: Sequence[DiagnosticPair],
    steps: Sequence[float] = STEPS,
    where: str = "both",
    direction: str = "u0",
    n: int = N_CONTROLS,
    seed: int = 0,
    progress: bool = False,
) -> EditEffects:
    """S_b and S_p of each pair under edits of its term, for each direction of a kind and each step (chapter 6, paper 7.4).

    Costs 2 x pairs x directions x (steps other than 0) forward passes, and 2 x pairs for step 0.
    """
    if not pairs or len(set(steps)) < 2:
        raise UserError("an edit experiment needs at least one pair and two different steps.")
    directions, pieces = edit_directions(model, direction, n, seed), Pieces(model.tokenizer)
    steps = np.array(steps, dtype=float)
    edits = [(along, step) for along in directions for step in steps[steps != 0]]
    edits.append((directions[0], 0.0))  # the unedited pair, once for all directions
    bar = progress_bar(pairs, f"edits along {direction}" if progress else "")
    scores = np.stack([_under_edits(model, pieces, pair, edits, where) for pair in bar])  # [pair, side, edit]
    both = np.empty((len(pairs), 2, len(directions), len(steps)))
    both[..., steps != 0] = scores[..., :-1].reshape(len(pairs), 2, len(directions), -1)
    both[..., steps == 0] = scores[..., -1, None, None]
    names, query_ids = [along.name for along in directions], [pair.query_id for pair in pairs]
    return EditEffects(names, steps, query_ids, both[:, 0], both[:, 1])


def _under_edits(
    model: CrossEncoder, pieces: Pieces, pair: DiagnosticPair, edits: Sequence[tuple[Direction, float]], where: str
) -> np.ndarray:
    """S_b and S_p of one pair under each edit of its term: float [side, edit]."""
    texts = [pair.baseline_pair, pair.perturbed_pair]
    encoding = model.encode(texts)
    mask = term_positions(pieces, encoding, texts, [pair.term] * 2, where)
    return edited_scores(model, encoding, mask, edits).T
