"""Every claim in both directions: with its effect planted it is reproduced, without it not, without a control not applicable.

The table `CASES` has a row for each claim id; a test makes sure that none is missing. The measurements are planted
(`planted.py`), the experiment and the rule are the real ones.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from study import planted

from semanticbm.study.claims import Finding, judge, rules
from semanticbm.study.experiments import EXPERIMENTS, matching

RULES = {rule["id"]: rule for rule in rules()}
R, N, NA = "reproduced", "not reproduced", "not applicable"


@cache
def planting(plant, argument):
    """How to plant one world; the same function for the same world, so that claims on it share a run of the experiment."""

    def plant_it(monkeypatch, study):
        plant(monkeypatch, study, argument)

    return plant_it


def worlds(plant, *names):
    """{world: how to plant it} for a planting function that takes the world's name."""
    return {name: planting(plant, name) for name in names}


def of_scores(**scores):
    """{world: how to plant it} for SemanticBM: what the model's score is made of."""
    return {world: planting(planted.plant_semantic_bm, of_score) for world, of_score in scores.items()}


def without_matching_heads(monkeypatch, study):
    study.parts["matching_heads"] = {"heads": []}


def without_grades(monkeypatch, study):
    study.collection = planted.study_of(study.out, graded=False).collection
    planted.plant_semantic_bm(monkeypatch, study, planted.weighted_match)


def without_synonyms(monkeypatch, study):
    study.collection = planted.study_of(study.out, synonyms=False).collection
    planted.plant_curves(monkeypatch, study, "present")


def two_layers(monkeypatch, study):
    study.model.n_layers = 2
    study.parts["direct_effects"] = {"heads": [[1, 0]]}
    planted.plant_direct_effects(monkeypatch, study, "present")


def every_layer_alike(monkeypatch, study):
    planted.plant_direct_effects(monkeypatch, study, "none found")


def heads_all_taken(monkeypatch, study):
    """All other heads up to the matching head have a role: no random heads are left."""
    planted.plant_semantic_bm(monkeypatch, study, planted.weighted_match)
    study.parts["contextual_heads"] = {
        "heads": [[layer, head] for layer in (0, 1) for head in range(4)][:4] + [[1, 1], [1, 2], [1, 3]]
    }


def ungraded(plant):
    def without(monkeypatch, study):
        study.collection = planted.study_of(study.out, graded=False).collection
        plant(monkeypatch, study, "present")

    return without


@dataclass(frozen=True)
class Case:
    """The verdict of one claim in one world."""

    claim: str
    world: str
    plant: object
    verdict: str


def rows(claim, plants, verdicts):
    return [Case(claim, world, plant, verdicts[world]) for world, plant in plants.items()]


BOTH = {"present": R, "absent": N}
ALL = BOTH | {"uncontrolled": NA}
EXISTS = ALL | {"none found": N}
CHAPTER_8 = {"present": planted.weighted_match, "absent": planted.only_cosine}
BLIND = BOTH | {"sees no word": N, "no gap": NA, "another collection": NA}
BLIND_PLANTS = worlds(planted.plant_blindness, *planted.BLIND_WORLDS) | {"another collection": lambda *_: None}
CASES = [
    *rows("matching-heads-exist", worlds(planted.plant_matching_heads, *EXISTS), EXISTS),
    *rows("matching-saturates", worlds(planted.plant_curves, *ALL), ALL),
    *rows("matching-length", worlds(planted.plant_curves, *ALL), ALL),
    *rows(
        "matching-semantic",
        worlds(planted.plant_curves, *ALL) | {"no synonyms": without_synonyms},
        ALL | {"no synonyms": NA},
    ),
    *rows("effective-k1-b", worlds(planted.plant_effective, *ALL), ALL),
    *rows("u0-idf-correlation", worlds(planted.plant_u0, *ALL), ALL),
    *rows("u0-edit-monotone", worlds(planted.plant_u0_edit, *ALL), ALL),
    *rows("tfc1-direct-effect", worlds(planted.plant_direct_effects, *EXISTS), EXISTS),
    *rows(
        "scoring-heads-late",
        worlds(planted.plant_direct_effects, "present") | {"absent": every_layer_alike, "two layers": two_layers},
        {"present": R, "absent": N, "two layers": NA},
    ),
    *rows(
        "scoring-attends-by-idf",
        worlds(planted.plant_scoring_attention, "present", "absent", "stop words", "uncontrolled"),
        ALL | {"stop words": N},
    ),
    *rows("contextual-heads", worlds(planted.plant_contextual_heads, *EXISTS), EXISTS),
    *rows("semanticbm-pearson", of_scores(**CHAPTER_8) | {"no heads": without_matching_heads}, BOTH | {"no heads": NA}),
    *rows(
        "bm25-pearson",
        of_scores(present=planted.lexical, absent=planted.weighted_match) | {"no heads": without_matching_heads},
        BOTH | {"no heads": NA},
    ),
    *rows(
        "semanticbm-beats-bm25",
        of_scores(present=planted.weighted_match, absent=planted.lexical) | {"no heads": without_matching_heads},
        BOTH | {"no heads": NA},
    ),
    *rows(
        "semanticbm-beats-random-heads",
        of_scores(present=planted.weighted_match, absent=planted.another_head) | {"no others": heads_all_taken},
        BOTH | {"no others": NA},
    ),
    *rows(
        "semanticbm-ranks",
        of_scores(present=planted.by_relevance, absent=planted.lexical_relevance) | {"no grades": without_grades},
        BOTH | {"no grades": NA},
    ),
    *rows(
        "cls-needs-no-document",
        worlds(planted.plant_blocking, *BOTH) | {"no grades": ungraded(planted.plant_blocking)},
        BOTH | {"no grades": NA},
    ),
    *rows("circuit-necessary", worlds(planted.plant_ablation, *ALL), ALL),
    *rows("circuit-sufficient", worlds(planted.plant_ablation, *ALL), ALL),
    *rows(
        "hybrid-helps-first-stage",
        worlds(planted.plant_hybrid, *BOTH) | {"no grades": ungraded(planted.plant_hybrid)},
        BOTH | {"no grades": NA},
    ),
    *rows("blind-to-negation", BLIND_PLANTS, BLIND),
    *rows("blind-to-order", BLIND_PLANTS, BLIND),
]


EXPERIMENTS_WITH_A_TABLE_OF_THEIR_OWN = ("written",)  # test_readings.py


def test_every_claim_is_there_in_both_directions():
    seen = {}
    for case in CASES:
        seen.setdefault(case.claim, set()).add(case.verdict)
    assert {claim: verdicts for claim, verdicts in seen.items() if not verdicts >= {R, N, NA}} == {}
    elsewhere = {rule["id"] for rule in rules() if rule["experiment"] in EXPERIMENTS_WITH_A_TABLE_OF_THEIR_OWN}
    assert set(RULES) == set(seen) | elsewhere


PLANTED_SIZES = {  # measured and control of the planted worlds
    "matching-saturates": (0.28, 0.0),
    "matching-length": (0.2, 0.0),
    "matching-semantic": (0.3, 0.0),
    "effective-k1-b": (1.0, None),
    "tfc1-direct-effect": (0.3, 0.001),
    "scoring-heads-late": (None, 1 / 3),
    "contextual-heads": (0.4, 0.02),
    "u0-idf-correlation": (0.7, 0.3),
    "u0-edit-monotone": (0.3, 0.02),
    "circuit-sufficient": (1.0, -1.0),
    "cls-needs-no-document": (0.0, None),
    "circuit-necessary": (None, 0.0),
    "hybrid-helps-first-stage": (1 / 3, 0.0),
}


def as_planted(claim: str, findings: dict[str, Finding]) -> bool:
    """True if the finding has the planted size, control included."""
    finding, sizes = findings[RULES[claim]["key"]], PLANTED_SIZES.get(claim, (None, None))
    pairs = zip((finding.measured, finding.control), sizes, strict=True)
    return all(size is None or np.isclose(value, size, atol=0.008) for value, size in pairs)


def runs(cases):
    """The cases in groups that ask for the same experiment in the same world."""
    groups = {}
    for case in cases:
        groups.setdefault((RULES[case.claim]["experiment"], case.plant), []).append(case)
    return list(groups.values())


@pytest.mark.parametrize(
    "cases", runs(CASES), ids=lambda cases: " | ".join(f"{case.claim}: {case.world}" for case in cases)
)
def test_verdicts_on_planted_truth(cases, monkeypatch, tmp_path):
    study = planted.study_of(tmp_path)
    cases[0].plant(monkeypatch, study)
    findings = EXPERIMENTS[RULES[cases[0].claim]["experiment"]](study)["findings"]
    for case in cases:
        row = judge(RULES[case.claim], findings)
        assert row["verdict"] == case.verdict, row
        assert case.world != "present" or as_planted(case.claim, findings)
        if case.verdict == NA:
            assert row["note"] or any(condition["note"] for condition in row["also"]), "a reason stands beside it"


# --------------------------------------------------------------------------------------------------------------------
# The numbers behind the verdicts


def findings_of(experiment, plant, monkeypatch, tmp_path, world="present") -> dict[str, Finding]:
    study = planted.study_of(tmp_path)
    plant(monkeypatch, study, world)
    return EXPERIMENTS[experiment](study)["findings"]


def near(value, tolerance=0.01):
    return pytest.approx(value, abs=tolerance)


def test_findings_have_the_planted_sizes(monkeypatch, tmp_path):
    auc = findings_of("matching_heads", planted.plant_matching_heads, monkeypatch, tmp_path)["auc"]
    assert (auc.measured, auc.control, auc.n) == (near(0.97), near(0.55), 20)
    curves = findings_of("curves", planted.plant_curves, monkeypatch, tmp_path)
    assert (curves["saturation"].measured, curves["saturation"].control) == (near(0.28), near(0.0))
    assert (curves["length"].measured, curves["semantic"].measured) == (near(0.2), near(0.3))
    effects = findings_of("direct_effects", planted.plant_direct_effects, monkeypatch, tmp_path)
    assert (effects["strongest"].measured, effects["strongest"].control) == (near(0.3), near(0.001, 0.005))
    path = findings_of("contextual_heads", planted.plant_contextual_heads, monkeypatch, tmp_path)["path_effect"]
    assert (path.measured, path.control) == (near(0.4), near(0.02))
    slope = findings_of("u0_edit", planted.plant_u0_edit, monkeypatch, tmp_path)["slope"]
    assert (slope.measured, slope.control) == (near(0.3), near(0.02, 0.005))
    fit = findings_of("effective_bm25", planted.plant_effective, monkeypatch, tmp_path)["r_squared"]
    assert fit.measured == near(1.0) and fit.control < 0.5
    cut = findings_of("ablation", planted.plant_ablation, monkeypatch, tmp_path)
    assert (cut["sufficiency"].measured, cut["sufficiency"].control) == (near(1.0), near(-1.0))
    assert cut["necessity"].measured < -0.3


def test_a_head_that_looks_nowhere_takes_no_fit_from_the_others(monkeypatch, tmp_path):
    """Some heads of the compiled model give a row no attention: beta is unknown, and once no head had an answer."""
    study = planted.study_of(tmp_path)
    planted.plant_effective(monkeypatch, study, "present")
    masses, _ = matching.attention_masses()
    expected = matching.effective(study)["findings"]["r_squared"].measured
    others = [head not in study.heads("matching") for head in np.ndindex(*study.model.head_shape)]
    idle = others.index(True)
    masses.match[idle, :3] = masses.other[idle, :3] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        found = matching.effective(study)
    assert found["findings"]["r_squared"].measured == expected and not found["findings"]["r_squared"].note
    assert np.isnan(found["r_squared"].ravel()[idle]) and np.isfinite(found["findings"]["r_squared"].control)


@pytest.mark.parametrize("sign", [1, -1])
def test_claims_on_u0_do_not_depend_on_its_sign(sign, monkeypatch, tmp_path):
    study = planted.study_of(tmp_path)
    planted.plant_u0(monkeypatch, study, "present", sign)
    found = EXPERIMENTS["u0"](study)
    assert found["findings"]["pearson"].measured == near(0.7) and found["findings"]["pearson"].low == near(0.68)
    planted.plant_u0_edit(monkeypatch, study, "present")
    study.parts["u0"]["sources"]["planted"]["raw"][0]["pearson"] = 0.7 * sign
    assert EXPERIMENTS["u0_edit"](study)["findings"]["slope"].measured == near(-0.3 * sign)


def test_a_late_share_is_the_share_of_the_last_third():
    from semanticbm.study.experiments.scoring import late_share

    values = np.zeros((10, 6, 2))
    values[:, 5, 0], values[:, 4, 1], values[:, 0, 0] = 0.3, -0.3, 0.2
    assert late_share(values, 0).measured == near(0.75) and late_share(values, 0).control == near(1 / 3)
    assert late_share(values[:, :2], 0).missing
