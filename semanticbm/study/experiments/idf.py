"""Chapter 6: the first singular direction of the embedding matrix against IDF, and what moving a word along it does."""

from __future__ import annotations

import contextlib

import numpy as np

from semanticbm.errors import UserError
from semanticbm.idf import idf_correlations, idf_values
from semanticbm.study.claims import Finding
from semanticbm.study.experiments.samples import tfc1_pairs
from semanticbm.study.study import Study
from semanticbm.study.u0_experiments import STEPS, EditEffects, edit_effects, idf_controls

QUICK_STEPS = (-2, 0, 2)


def idf_sources(study: Study) -> dict[str, dict[str, float]]:
    """IDF tables at hand: the collection's own, and Microsoft's MS MARCO table where it has been fetched."""
    sources = {"collection": idf_values("collection", study.collection)}
    with contextlib.suppress(UserError):
        sources["msmarco"] = idf_values("msmarco")
    return sources


def widest_idf(study: Study) -> tuple[str, dict[str, float]]:
    """The source with the most texts behind it: MS MARCO where it is at hand, else the collection; (name, table)."""
    sources = idf_sources(study)
    name = "msmarco" if "msmarco" in sources else "collection"
    return name, sources[name]


def u0(study: Study) -> dict:
    """Correlation of the singular directions with IDF, by source, with and without centring, and what else explains it."""
    sources = {
        name: {
            "raw": idf_correlations(study.model, idf).to_dict("records"),
            "centred": idf_correlations(study.model, idf, centred=True).to_dict("records"),
            "controls": idf_controls(study.model, idf, n=study.size(500, 100), seed=study.seed).to_dict("records"),
        }
        for name, idf in idf_sources(study).items()
    }
    name = "msmarco" if "msmarco" in sources else "collection"
    row = next(row for row in sources[name]["controls"] if row["quantity"] == "U0")
    others = [abs(row["pearson"]) for row in sources[name]["raw"] if row["component"] > 0]
    strongest = float(np.nanmax(others)) if np.isfinite(others).any() else None
    note = f"IDF from {name}, {row['n_words']} words, signed {row['pearson']:+.3f}; interval over words"
    if np.isnan(row["pearson"]):
        note = f"U0 is the same for all {row['n_words']} words with an IDF"
    size = sorted((row["low"], row["high"]), key=abs)  # the sign of a singular direction is free
    if row["low"] < 0 < row["high"]:
        size = [0.0, max(map(abs, size))]
    found = Finding(abs(row["pearson"]), *map(abs, size), row["n_words"], strongest, note)
    return {"sources": sources, "main_source": name, "findings": {"pearson": found}}


def turn_to_rising_idf(study: Study) -> float:
    """+1 if U0 rises with IDF in this model, -1 if it falls, from the experiment `u0`; `UserError` if it does neither."""
    part = study.parts.get("u0", {})
    rows = part["sources"][part["main_source"]]["raw"] if "main_source" in part else [{"pearson": None}]
    pearson = rows[0]["pearson"]
    if pearson is None or not np.isfinite(pearson):
        raise UserError("U0 does not follow IDF either way in this model: an edit along it has no direction.")
    return float(np.sign(pearson))


def u0_edit(study: Study) -> dict:
    """Move the term's vector along U0 and along controls of the same length; the slope of what the term adds.

    The finding is the slope in the direction in which U0 follows rising IDF; the tables keep U0's own sign.
    """
    turn = turn_to_rising_idf(study)
    pairs = tfc1_pairs(study, study.queries[: study.size(30, 4)], 1).pairs
    steps = QUICK_STEPS if study.quick else STEPS

    def run(direction: str, where: str = "both", steps: tuple[int, ...] = steps) -> EditEffects:
        return edit_effects(study.model, pairs, steps, where, direction, seed=study.seed, progress=True)

    main, random = run("u0"), run("random")
    # 20 singular directions cost as much as all random ones: three steps give their slopes
    others = {} if study.quick else {"singular": run("singular", steps=QUICK_STEPS), "row": run("row")}
    sides = {} if study.quick else {side: _rows(study, run("u0", side)) for side in ("query", "document")}
    note = "20 random directions" + "".join(
        f"; strongest {name} direction {_strongest(effects):.3f}" for name, effects in others.items()
    )
    return {
        "steps": steps,
        "u0": _rows(study, main),
        "random": _rows(study, random),
        "sides": sides,
        **{name: _rows(study, effects) for name, effects in others.items()},
        "scores": {
            "baseline": main.by_query(main.baseline).mean(axis=0)[0],
            "perturbed": main.by_query(main.perturbed).mean(axis=0)[0],
        },
        "findings": {"slope": study.finding(turn * main.slopes[:, 0], _strongest(random), note)},
    }


def _rows(study: Study, effects: EditEffects) -> list[dict]:
    return effects.table(study.seed).to_dict("records")


def _strongest(effects: EditEffects) -> float:
    """The largest absolute mean slope of the directions."""
    return float(np.abs(effects.slopes.mean(axis=0)).max())
