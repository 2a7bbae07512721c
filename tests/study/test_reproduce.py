"""The reproduction: resumable, honest about other runs, complete in its report; stored results can be made again."""

import json

import numpy as np
import pytest

from semanticbm.collection import Collection, load_collection
from semanticbm.errors import UserError
from semanticbm.study import experiments, reproduce
from semanticbm.study.claims import Finding, rules
from semanticbm.study.collections import load_study_collection
from semanticbm.study.results import load_results, results_folder

KEYS = {"model", "collection", "environment", "seed", "heads", "claims"}


@pytest.fixture
def small(monkeypatch, tiny):
    """A reproduction with two experiments that cost nothing; `calls` counts how often each ran."""
    calls = []

    def heads(study):
        calls.append("matching_heads")
        return {"heads": [[0, 1]], "findings": {"auc": Finding(0.95, 0.9, 0.99, 10, 0.5)}}

    def direct(study):
        calls.append("direct_effects")
        return {"heads": [[2, 3]], "findings": {"strongest": Finding(float("nan"), note="nothing moved")}}

    monkeypatch.setattr(
        experiments,
        "EXPERIMENTS",
        {
            "matching_heads": heads,
            "direct_effects": direct,
            "contextual_heads": lambda study: {"heads": [], "findings": {}},
        },
    )
    monkeypatch.setattr(experiments, "draw_figures", lambda study: None)
    monkeypatch.setattr(reproduce, "load", lambda name, device: tiny)
    return calls


def test_report_has_all_claims_and_fixed_keys(small, tmp_path):
    reproduce.reproduce("tiny", "classroom", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) >= KEYS and [row["id"] for row in report["claims"]] == [rule["id"] for rule in rules()]
    assert report["heads"] == {"matching": ["0.1"], "contextual": [], "scoring": ["2.3"]}
    verdicts = {row["id"]: row["verdict"] for row in report["claims"]}
    assert verdicts["matching-heads-exist"] == "reproduced"
    assert verdicts["tfc1-direct-effect"] == "not applicable"
    assert (tmp_path / "report.md").read_text().startswith("# tiny on classroom")


def test_a_second_call_resumes(small, tmp_path):
    reproduce.reproduce("tiny", "classroom", tmp_path)
    (tmp_path / "parts" / "direct_effects.json").unlink()
    reproduce.reproduce("tiny", "classroom", tmp_path)
    assert small == ["matching_heads", "direct_effects", "direct_effects"]


def test_an_interrupt_keeps_what_is_finished(small, tmp_path, monkeypatch):
    def interrupt(study):
        raise KeyboardInterrupt

    working = dict(experiments.EXPERIMENTS)
    monkeypatch.setitem(experiments.EXPERIMENTS, "direct_effects", interrupt)
    with pytest.raises(KeyboardInterrupt):
        reproduce.reproduce("tiny", "classroom", tmp_path)
    assert not (tmp_path / "report.json").exists() and not list(tmp_path.rglob("*.part"))
    monkeypatch.setattr(experiments, "EXPERIMENTS", working)
    reproduce.reproduce("tiny", "classroom", tmp_path)
    assert small.count("matching_heads") == 1 and (tmp_path / "report.json").exists()


def test_a_folder_with_another_run_is_refused(small, tmp_path):
    reproduce.reproduce("tiny", "classroom", tmp_path, seed=0)
    with pytest.raises(UserError, match="another run|another seed"):
        reproduce.reproduce("tiny", "classroom", tmp_path, seed=1)


def test_a_broken_tool_stops_the_run_before_it_begins(small, tmp_path, monkeypatch):
    """If the hooked score is not the model's score, nothing is measured and nothing is written."""
    monkeypatch.setattr(
        "semanticbm.path_patching.path_to_score", lambda model, encoding, frozen: model.logits(encoding) + 0.01
    )
    with pytest.raises(UserError, match="hooked score"):
        reproduce.reproduce("tiny", "classroom", tmp_path)
    assert not small and not (tmp_path / "report.json").exists() and not (tmp_path / "run.json").exists()


def test_a_patch_that_does_something_without_a_cause_stops_the_run(small, tmp_path, monkeypatch):
    monkeypatch.setattr("semanticbm.one_pass.effects_on_score", lambda model, one, other: one.scores[None] * 0 + 0.01)
    with pytest.raises(UserError, match="no patch"):
        reproduce.reproduce("tiny", "classroom", tmp_path)


def test_a_collection_without_grades_uses_all_its_queries(tiny, tmp_path):
    graded = load_collection("classroom")
    nothing = {query: dict.fromkeys(row, 0) for query, row in graded.judgements.items()}
    study = reproduce.Study(tiny, Collection("plain", graded.documents, graded.queries, nothing), tmp_path)
    assert not study.collection.graded and sorted(study.queries) == sorted(graded.judgements)
    run = {study.queries[0]: {"d": 1.0}}
    assert np.isnan(list(experiments.ndcg_by_query(study, run, run).values())).all()
    for experiment, key in ((experiments.blocking, "cls_document"), (experiments.hybrid, "recall_gain")):
        assert experiment(study)["findings"][key].note == experiments.NO_GRADES


def test_the_papers_own_pairs_are_used_on_the_papers_collection(tiny, tmp_path, data_folder):
    study = reproduce.Study(tiny, load_study_collection("paper"), tmp_path, quick=True)
    pairs = experiments.tfc1_pairs(study, study.queries[:3], 2).pairs
    assert {pair.query_id for pair in pairs} <= set(study.queries[:3]) and pairs
    assert all(pair.perturbed.endswith(f" {pair.inserted}") and pair.baseline.endswith(" a") for pair in pairs)


def test_plain_json():
    value = reproduce.clean({"a": np.float64("nan"), "b": np.arange(2), "c": (1, Finding(1.0, 0.5, 2.0, 3))})
    assert value["a"] is None and value["b"] == [0, 1] and value["c"][1]["n"] == 3
    json.dumps(value, allow_nan=False)


def test_halves_share_no_query(tiny, tmp_path):
    study = reproduce.Study(tiny, load_collection("classroom"), tmp_path)
    first, second = study.halves
    assert not set(first) & set(second) and len(first) + len(second) == len(study.collection.judged_queries)


def test_quick_run_on_the_classroom_model(classroom_model, tmp_path):
    """The whole of it, small: every claim is judged, every experiment leaves its numbers, heads are found."""
    report = reproduce.reproduce("classroom", "classroom", tmp_path, quick=True, device="cpu")
    assert [row["id"] for row in report["claims"]] == [rule["id"] for rule in rules()]
    assert report["heads"]["matching"] and report["heads"]["scoring"]
    assert {path.stem for path in (tmp_path / "parts").glob("*.json")} == set(experiments.EXPERIMENTS)
    measured = {row["id"]: row["measured"] for row in report["claims"] if row["verdict"] != "not applicable"}
    assert len(measured) >= 15
    assert list((tmp_path / "figures").glob("*.png"))


# ---- stored results ------------------------------------------------------------------------------------------------

STORED = sorted(path.parent.name for path in results_folder().glob("*/report.json"))


@pytest.mark.parametrize("name", STORED)
def test_stored_verdicts_follow_from_stored_findings(name):
    from semanticbm.study.claims import judge

    stored = load_results(name)
    for rule, row in zip(rules(), stored.report["claims"], strict=True):
        found = stored.parts.get(rule["experiment"], {}).get("findings", {}).get(rule["key"])
        again = judge(rule, Finding(**found) if found else Finding(None, note="this experiment was not run"))
        assert (row["id"], row["verdict"], row["measured"]) == (again["id"], again["verdict"], again["measured"])


@pytest.mark.skipif("classroom" not in STORED, reason="no stored run of the classroom model")
def test_a_sample_of_the_stored_numbers_can_be_made_again(classroom_model, tmp_path):
    """The shipped model is the one of the stored run, and two experiments give the stored numbers again."""
    stored = load_results("classroom")
    study = reproduce.Study(classroom_model, load_collection("classroom"), tmp_path, seed=stored.report["seed"])
    fingerprint = study.fingerprint()
    for key in ("weights_sha256", "collection_sha256"):
        assert fingerprint[key] == stored.run["fingerprint"][key], (
            f"{key}: the stored run is of something else; run it again"
        )
    from semanticbm.idf import idf_correlations, idf_values

    again = idf_correlations(classroom_model, idf_values("collection", study.collection))["pearson"].tolist()
    before = [row["pearson"] for row in stored.parts["u0"]["sources"]["collection"]["raw"]]
    assert np.allclose(again, before, atol=1e-4)
    from semanticbm.matching import tf_curves

    query = study.halves[1]
    tf = tf_curves(classroom_model, study.collection, query, seed=study.seed)
    before = stored.parts["curves"]["tf"]
    assert np.allclose(tf.of_heads(stored.heads("matching")).mean(axis=0), before["matching"], atol=1e-3)


def test_no_text_of_others_is_stored():
    """Result files hold numbers, heads, words of this collection's vocabulary and short names; no passages."""

    def strings(value):
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from (text for item in value.values() for text in strings(item))
        elif isinstance(value, list):
            yield from (text for item in value for text in strings(item))

    for path in results_folder().rglob("*.json"):
        longest = max(strings(json.loads(path.read_text())), key=len, default="")
        assert len(longest) < 400, (path, longest[:80])
