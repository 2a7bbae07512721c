"""Chapter 9: what the heads write, both factors of the score read inside the model, with the controls that decide."""

from __future__ import annotations

from semanticbm.study.experiments.idf import widest_idf
from semanticbm.study.experiments.samples import ALL_JUDGED, judged_run, without_answer
from semanticbm.study.experiments.untrained import parent_of, random_like
from semanticbm.study.side_by_side import Subject, compare
from semanticbm.study.study import Study

KEYS = (
    "ridge_idf",
    "term_weight_gain",
    "written",
    "written_minus_random",
    "weight_times_signal",
    "own_share",
    "removal",
    "mean_signal",
)


def written(study: Study) -> dict:
    """All readings of the score on the half of the queries that chose no head; directions from the other half."""
    matching, relays = study.heads("matching"), study.heads("contextual")
    if not any(layer < study.model.n_layers - 1 for layer, _ in matching):
        return without_answer("no matching heads were found below the last layer", *KEYS)
    first, second = study.halves
    depth = study.size(ALL_JUDGED, 8)
    choose, measure = (
        {query: list(scores) for query, scores in judged_run(study, queries, depth).items()}
        for queries in (first[: study.size(12, 3)], second[: study.size(32, 10)])
    )
    idf = widest_idf(study)[1]
    few = study.size(10, 3)
    subject = Subject(
        study.model,
        study.collection,
        matching,
        relays,
        choose,
        measure,
        idf,
        study.seed,
        few,
        study.backbone,
        study.features,
    )
    idle = {"random network": random_like(study.model, study.seed), "own parent": parent_of(study)}
    known = {name: model for name, model in idle.items() if model is not None}
    return compare(subject, known, n_draws=study.size(20, 5), label="readings")
