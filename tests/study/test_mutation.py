"""The tables of planted truth see small mistakes in the study: a sample here, all of them in `make proofs`."""

import importlib

import numpy as np
import pytest
from study import mutation, planted, test_arithmetic
from study.test_claims import ABOVE, BAD, BELOW, EXISTS, GOOD, TWO
from study.test_planted_truth import CASES, RULES, as_planted

from semanticbm.study import claims
from semanticbm.study.claims import Finding, nothing_found
from semanticbm.study.experiments import EXPERIMENTS

SAMPLE = 20
VERDICTS = [
    ({"k": GOOD}, ABOVE, "reproduced"),
    ({"k": BAD}, ABOVE, "not reproduced"),
    ({"k": Finding(0.7, 0.5, 0.8, 10, 0.3)}, ABOVE, "not reproduced"),
    ({"k": Finding(0.7, 0.6, 0.8, 10, 0.6)}, ABOVE, "not reproduced"),
    ({"k": Finding(0.7, 0.6, 0.8, 10, None)}, ABOVE, "not applicable"),
    ({"k": Finding(-0.7, -0.8, -0.5)}, BELOW, "not reproduced"),
    ({"k": Finding(-0.7, -0.8, -0.6)}, BELOW, "reproduced"),
    ({"k": Finding(-0.3, -0.4, -0.25, 5, -0.25)}, {"key": "k", "below": 0.0, "beats_control": True}, "not reproduced"),
    ({"k": nothing_found("none")}, EXISTS, "not reproduced"),
    ({"k": nothing_found("none")}, ABOVE, "not applicable"),
    ({"k": Finding(None)}, EXISTS, "not applicable"),
    ({"k": GOOD}, TWO, "not applicable"),
]
NOTES = [
    (Finding(0.1, 0.0, 0.2, 3, None, "seen"), "no control (other heads); seen"),
    (Finding(0.1, 0.0, 0.2, 3, 0.0, "seen"), "seen"),
    (Finding(None, note="too few"), "too few"),
]


def sees(mutant: mutation.Mutant, tmp_path) -> bool:
    """True if some case comes out wrong, or fails, with the mutant in the place of its function."""
    module = importlib.import_module(mutant.module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, mutant.function, mutation.compiled(mutant))
        try:
            return wrong_verdicts() if module is claims else wrong_sums() or wrong_experiments(module, tmp_path)
        except Exception:
            return True


def wrong_verdicts() -> bool:
    condition = {"control": "other heads", "beats_control": True}
    return any(claims.verdict(rule, findings) != expected for findings, rule, expected in VERDICTS) or any(
        claims._note(condition, finding) != expected for finding, expected in NOTES
    )


def wrong_sums() -> bool:
    """The tests of `test_arithmetic`; a failed one raises, and the mutant is seen."""
    for name, test in vars(test_arithmetic).items():
        if name.startswith("test_") and not hasattr(test, "pytestmark"):
            with pytest.MonkeyPatch.context() as patch:
                test(patch) if "monkeypatch" in test.__code__.co_varnames[: test.__code__.co_argcount] else test()
    return False


def wrong_experiments(module, tmp_path) -> bool:
    shared = module.__name__.endswith("samples")
    for case in CASES:
        experiment = EXPERIMENTS[RULES[case.claim]["experiment"]]
        if experiment.__name__ == "semantic_bm" or not (shared or experiment.__module__ == module.__name__):
            continue
        with pytest.MonkeyPatch.context() as patch:
            study = planted.study_of(tmp_path)
            case.plant(patch, study)
            run = getattr(importlib.import_module(experiment.__module__), experiment.__name__)  # perhaps the mutant
            findings = run(study)["findings"]
            if claims.judge(RULES[case.claim], findings)["verdict"] != case.verdict:
                return True
            if case.world == "present" and not as_planted(case.claim, findings):
                return True
    return False


MUTANTS = mutation.every_mutant()


def test_the_verdicts_pass_without_a_mutant():
    assert not wrong_verdicts()


@pytest.mark.long
def test_the_tables_pass_without_a_mutant(tmp_path):
    """`make test` asks the same of the cases one by one, in test_planted_truth.py and test_arithmetic.py."""
    for module in mutation.TARGETS:
        if module != claims.__name__:
            assert not wrong_experiments(importlib.import_module(module), tmp_path), module


def survivors(mutants, tmp_path) -> list[str]:
    known = mutation.known_survivors()
    names = (f"{mutant.module} {mutant.name}" for mutant in mutants if not sees(mutant, tmp_path))
    return [name for name in names if name not in known]


def test_a_sample_of_mutants_is_seen(tmp_path):
    picked = np.random.default_rng(0).choice(len(MUTANTS), SAMPLE, replace=False)
    assert survivors([MUTANTS[number] for number in sorted(picked)], tmp_path) == []


@pytest.mark.long
def test_every_mutant_is_seen_or_explained(tmp_path):
    assert survivors(MUTANTS, tmp_path) == []
    names = {f"{mutant.module} {mutant.name}" for mutant in MUTANTS}
    assert set(mutation.known_survivors()) <= names, "an explained mutant no longer exists"
