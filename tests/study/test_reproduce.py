"""The reproduction: resumable, honest about other runs, complete in its report; stored results can be made again."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from semanticbm import matching
from semanticbm.bm25 import BM25
from semanticbm.collection import Collection, load_collection, words
from semanticbm.errors import UserError
from semanticbm.retrieval import vector_run
from semanticbm.study import checks, provenance, reproduce
from semanticbm.study.claims import Finding, claims_of, rules, rules_version
from semanticbm.study.collections import load_study_collection
from semanticbm.study.experiments import EXPERIMENTS, samples
from semanticbm.study.provenance import code_hash, fingerprint
from semanticbm.study.results import load_results, results_folder
from semanticbm.study.sealed import plain, read_sealed, seal, write_sealed
from semanticbm.study.study import Study

KEYS = {"model", "collection", "environment", "seed", "heads", "claims"}


@pytest.fixture(scope="session")
def hash_of_the_code() -> str:
    """Computed once: reading the whole library takes longer than the rest of a small run."""
    return code_hash()


@pytest.fixture
def small(monkeypatch, tiny, hash_of_the_code):
    """A reproduction with experiments that cost nothing; `calls` counts how often each ran."""
    calls = []
    monkeypatch.setattr(provenance, "code_hash", lambda: hash_of_the_code)

    def heads(study):
        calls.append("matching_heads")
        return {"heads": [[0, 1]], "findings": {"auc": Finding(0.95, 0.9, 0.99, 10, 0.5)}}

    def direct(study):
        calls.append("direct_effects")
        return {"heads": [[2, 3]], "findings": {"strongest": Finding(float("nan"), note="nothing moved")}}

    def relays(study):
        return {"heads": [], "findings": {}}

    quick = {"matching_heads": heads, "direct_effects": direct, "contextual_heads": relays}
    monkeypatch.setattr(reproduce, "EXPERIMENTS", quick)
    monkeypatch.setattr(reproduce, "draw_figures", lambda study: None)
    monkeypatch.setattr(reproduce, "load", lambda name, device: tiny)
    monkeypatch.setattr(reproduce, "check_tools", lambda study: {"checked": 0.0})
    return calls


def run(folder, **options):
    return reproduce.reproduce("tiny", "classroom", folder, **options)


def test_report_has_all_claims_and_fixed_keys(small, tmp_path):
    run(tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) >= KEYS and [row["id"] for row in report["claims"]] == [rule["id"] for rule in rules()]
    assert report["heads"] == {"matching": ["0.1"], "contextual": [], "scoring": ["2.3"]}
    verdicts = {row["id"]: row["verdict"] for row in report["claims"]}
    assert verdicts["matching-heads-exist"] == "reproduced"
    assert verdicts["tfc1-direct-effect"] == "not applicable"
    assert report["rules_version"] == rules_version()
    assert (tmp_path / "report.md").read_text().startswith("# tiny on classroom")


def test_a_second_call_resumes(small, tmp_path):
    run(tmp_path)
    (tmp_path / "parts" / "direct_effects.json").unlink()
    run(tmp_path)
    assert small == ["matching_heads", "direct_effects", "direct_effects"]


def test_an_interrupt_keeps_what_is_finished(small, tmp_path, monkeypatch):
    def interrupt(study):
        raise KeyboardInterrupt

    working = dict(reproduce.EXPERIMENTS)
    monkeypatch.setitem(reproduce.EXPERIMENTS, "direct_effects", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert not (tmp_path / "report.json").exists() and not list(tmp_path.rglob("*.part"))
    monkeypatch.setattr(reproduce, "EXPERIMENTS", working)
    run(tmp_path)
    assert small.count("matching_heads") == 1 and (tmp_path / "report.json").exists()


def test_an_experiment_without_an_answer_does_not_end_the_run(small, tmp_path, monkeypatch):
    """Its claims read "not applicable" with the reason, it has no heads, and the others run."""

    def cannot(study):
        raise UserError("no query has 4 words")

    monkeypatch.setitem(reproduce.EXPERIMENTS, "matching_heads", cannot)
    report = run(tmp_path)
    rows = {row["id"]: row for row in report["claims"]}
    assert rows["matching-heads-exist"]["verdict"] == "not applicable"
    assert rows["matching-heads-exist"]["note"] == "no query has 4 words"
    assert report["heads"]["matching"] == [] and small == ["direct_effects"]
    assert set(read_sealed(tmp_path / "parts" / "matching_heads.json")["findings"]) == set(claims_of("matching_heads"))


def test_the_studys_own_vectors_stand_in_for_the_encoder():
    """They remember what was encoded. Checks of arguments once refused them, and the experiment read "not applicable"."""
    study = Study(None, load_collection("classroom"), None)
    few = dict(list(study.collection.documents.items())[:5])
    collection = Collection("few", few, {"q": "peat"}, {})
    found = vector_run(collection, 3, encoder=study.backbone)
    assert found == vector_run(collection, 3) and set(study.backbone.known) >= set(few.values())


@pytest.mark.parametrize("name", sorted(path.parent.name for path in results_folder().glob("*/report.json")))
def test_no_stored_claim_is_without_an_answer_because_a_function_refused_its_arguments(name):
    claims = load_results(name).report["claims"]
    notes = [part["note"] for row in claims for part in (row, *row.get("also", []))]
    assert notes and not [note for note in notes if "pass that" in note]


# ---- runs do not mix ---------------------------------------------------------------------------------------------------


def test_a_folder_with_another_run_is_refused(small, tmp_path):
    run(tmp_path, seed=0)
    with pytest.raises(UserError, match="another seed"):
        run(tmp_path, seed=1)


def test_parts_of_another_run_are_refused_without_their_run_file(small, tmp_path):
    run(tmp_path, seed=0)
    (tmp_path / "run.json").unlink()
    (tmp_path / "report.json").unlink()
    with pytest.raises(UserError, match=r"parts.*another seed"):
        run(tmp_path, seed=1)
    assert not (tmp_path / "report.json").exists()


def test_a_single_foreign_part_is_refused(small, tmp_path):
    run(tmp_path / "own")
    run(tmp_path / "other", seed=1)
    foreign = (tmp_path / "other" / "parts" / "direct_effects.json").read_text()
    (tmp_path / "own" / "parts" / "direct_effects.json").write_text(foreign)
    with pytest.raises(UserError, match=r"direct_effects.json.*another seed"):
        run(tmp_path / "own")


def test_code_and_packages_belong_to_the_fingerprint(small, tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr(provenance, "code_hash", lambda: "other")
    with pytest.raises(UserError, match="another code"):
        run(tmp_path)
    monkeypatch.setattr(provenance, "version", lambda name: "0.0")
    with pytest.raises(UserError, match="another .*packages"):
        run(tmp_path)
    monkeypatch.undo()


def test_the_code_hash_sees_what_the_program_does(tmp_path):
    (tmp_path / "method.py").write_text('"""Doc."""\n\n\ndef f(x):\n    """Twice."""\n    return 2 * x  # twice\n')
    before = code_hash(tmp_path)
    (tmp_path / "method.py").write_text("def f(x):\n    return 2*x\n")
    assert code_hash(tmp_path) == before
    (tmp_path / "method.py").write_text(
        "from a import check_package\n\ncheck_package(1)\n\n\ndef f(x):\n    return 2*x\n"
    )
    assert code_hash(tmp_path) == before
    (tmp_path / "method.py").write_text("def f(x):\n    return 3*x\n")
    assert code_hash(tmp_path) != before


def test_each_part_keeps_its_own_environment(small, tmp_path):
    """A resumed run does not claim that its machine made what an earlier one made."""
    run(tmp_path)
    path = tmp_path / "parts" / "matching_heads.json"
    content = read_sealed(path)
    content["environment"]["machine"] = "an older machine"
    write_sealed(path, content)
    started = (tmp_path / "run.json").read_text()
    report = run(tmp_path)
    assert report["environment"]["machine"].startswith("an older machine / ")
    assert (tmp_path / "run.json").read_text() == started


def test_two_runs_into_one_folder(small, tmp_path):
    folder = reproduce.RunFolder(tmp_path, {})
    folder.make()
    with folder.lock(), pytest.raises(UserError, match="another .*reproduce.* is writing"):
        run(tmp_path)
    run(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "parts/matching_heads.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "null", "7", '{"fingerprint": {}}', "\xff\xfe", "[" * 100_000])
def test_a_damaged_file_is_one_clear_line(small, tmp_path, name, content):
    run(tmp_path)
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError) as error:
        run(tmp_path)
    assert name.split("/")[-1] in str(error.value) and "\n" not in str(error.value)


def mutated(text: str, rng: np.random.Generator) -> bytes:
    """The bytes of a file after one accident: cut, a byte changed, a piece removed, doubled or filled with noise."""
    content = bytearray(text.encode())
    place, length = int(rng.integers(len(content))), int(rng.integers(1, 40))
    kind = rng.integers(5)
    if kind == 0:
        return bytes(content[:place])
    if kind == 1:
        content[place] = int(rng.integers(256))
    elif kind == 2:
        del content[place : place + length]
    elif kind == 3:
        content[place:place] = content[place : place + length]
    else:
        content[place : place + length] = rng.bytes(length)
    return bytes(content)


def test_a_thousand_damaged_results_give_a_clear_line_or_the_same_numbers(small, tmp_path, monkeypatch):
    folder = tmp_path / "results" / "fuzzed"
    run(folder)
    monkeypatch.setenv("SEMANTICBM_RESULTS", str(tmp_path / "results"))
    whole, rng, refused = load_results("fuzzed"), np.random.default_rng(0), 0
    files = [folder / "report.json", folder / "run.json", *sorted((folder / "parts").glob("*.json"))]
    for number in range(1000):
        path = files[number % len(files)]
        before = path.read_text()
        path.write_bytes(mutated(before, rng))
        try:
            found = load_results("fuzzed")
            assert (found.report, found.parts, found.run) == (whole.report, whole.parts, whole.run)
            found.sentence("matching-heads-exist")
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        finally:
            path.write_text(before)
    assert refused > 900


def test_stored_runs_are_asked_for_by_name(small, tmp_path, monkeypatch):
    run(tmp_path / "results" / "here")
    monkeypatch.setenv("SEMANTICBM_RESULTS", str(tmp_path / "results"))
    stored = load_results("here")
    assert stored.heads("matching") == [(0, 1)]
    assert stored.sentence("matching-heads-exist").startswith(
        "0.950, 95 % interval 0.900 to 0.990, n = 10, control 0.500"
    )
    assert stored.sentence("tfc1-direct-effect") == "not applicable (nothing moved)"
    for name, message in (("gone", "no stored result gone"), ("here", "no claim 'moon'")):
        with pytest.raises(UserError, match=message):
            load_results(name).claim("moon")
    run(tmp_path / "other", seed=1)
    part = "parts/matching_heads.json"
    (tmp_path / "results" / "here" / part).write_text((tmp_path / "other" / part).read_text())
    with pytest.raises(UserError, match="another run"):
        load_results("here")


def test_a_seal_is_about_values_not_bytes(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(dict(reversed(seal({"a": 1, "b": [0.1, None]}).items()))).replace(",", ",\r\n"))
    assert read_sealed(path)["b"] == [0.1, None]
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(UserError, match="changed after it was written"):
        read_sealed(path)


# ---- checks before a run -----------------------------------------------------------------------------------------------


@pytest.fixture
def check(tiny, tmp_path):
    study = Study(tiny, load_collection("classroom"), tmp_path, quick=True)
    return lambda: checks.check_tools(study)


def test_the_tools_pass_on_a_sound_model(check):
    errors = check()
    assert len(errors) == 5 and max(errors.values()) < checks.TOLERANCE


def off_by(size):
    """A wrapper that adds an error to what a function returns."""

    def wrap(function):
        def wrong(*arguments, **options):
            return function(*arguments, **options) + size

        return wrong

    return wrap


def dropout_on(record):
    """Recordings that depend on chance, as with dropout left on."""

    def noisy(model, encoding):
        found = record(model, encoding)
        found.z[0].add_(0.1 * torch.randn_like(found.z[0]))
        return found

    return noisy


def other_score(function):
    def wrong(*arguments, **options):
        found = function(*arguments, **options)
        return type(found)(found.effects, found.baseline + 0.01, found.perturbed, found.min_change)

    return wrong


@pytest.mark.parametrize(
    ("name", "attribute", "breaker"),
    [
        ("hooked score", "path_to_score", off_by(0.01)),
        ("recorded score", "direct_effects_many", other_score),
        ("no patch|hooked score", "record", dropout_on),
        ("no patch", "effects_on_score", off_by(0.01)),
        ("full patch", "activation_patching", off_by(0.01)),
    ],
)
def test_a_broken_tool_stops_the_run_before_it_begins(check, monkeypatch, name, attribute, breaker):
    monkeypatch.setattr(checks, attribute, breaker(getattr(checks, attribute)))
    with pytest.raises(UserError, match=name):
        check()


def test_a_fast_form_that_leaves_the_textbook_stops_the_run(check, monkeypatch):
    right = checks.direct_effects

    def wrong(*arguments, method):
        return right(*arguments, method=method) * (1.01 if method == "fast" else 1)

    monkeypatch.setattr(checks, "direct_effects", wrong)
    with pytest.raises(UserError, match="fast effects"):
        check()


def test_a_failed_check_leaves_nothing_written(small, tmp_path, monkeypatch):
    def fails(study):
        raise UserError("the check 'hooked score' fails")

    monkeypatch.setattr(reproduce, "check_tools", fails)
    with pytest.raises(UserError, match="hooked score"):
        run(tmp_path)
    assert not small and not list(tmp_path.rglob("*.json"))


# ---- samples -----------------------------------------------------------------------------------------------------------


def test_a_collection_without_grades_uses_all_its_queries(tiny, tmp_path):
    graded = load_collection("classroom")
    nothing = {query: dict.fromkeys(row, 0) for query, row in graded.judgements.items()}
    study = Study(tiny, Collection("plain", graded.documents, graded.queries, nothing), tmp_path)
    assert not study.collection.graded and sorted(study.queries) == sorted(graded.judgements)
    ranking = {study.queries[0]: {"d": 1.0}}
    assert np.isnan(list(samples.ndcg_by_query(study, ranking, ranking).values())).all()
    for name, key in (("blocking", "cls_document"), ("hybrid", "recall_gain")):
        assert EXPERIMENTS[name](study)["findings"][key].note == samples.NO_GRADES


def test_all_judged_documents_are_ranked(tiny, tmp_path):
    """On the classroom collection nothing judged is left out, so the best possible nDCG@10 is 1."""
    study = Study(tiny, load_collection("classroom"), tmp_path)
    ranked = samples.judged_pairs(study, study.halves[1][:10])
    for query in study.halves[1][:10]:
        seen = {document for owner, document in ranked.pairs if owner == query}
        assert set(study.collection.judgements[query]) <= seen
    assert ranked.ceiling() == pytest.approx(1)
    few = samples.ranked_pairs(study, samples.judged_run(study, study.halves[1][:10], 3, least=3))
    assert few.ceiling() < 1


def test_a_random_term_is_not_always_the_rarest(tiny, tmp_path):
    study = Study(tiny, load_collection("classroom"), tmp_path, quick=True)
    rarest, randomly = (
        [pair.term for pair in samples.tfc1_pairs(study, study.halves[1], 1, term=term).pairs]
        for term in ("rarest", "random")
    )
    assert len(rarest) == len(randomly) and rarest != randomly


def test_relays_are_measured_on_random_terms_of_queries_that_chose_no_head(tiny, tmp_path, monkeypatch):
    from semanticbm.study.experiments import scoring

    study, asked = Study(tiny, load_collection("classroom"), tmp_path, quick=True), {}

    def report(model, collection, diagnostics, relays, seed):
        asked.update(pairs=diagnostics.pairs, seed=seed)
        return pd.DataFrame()

    monkeypatch.setattr(scoring, "relay_report", report)
    scoring._relays_by_idf(study, [(1, 0)])
    assert {pair.query_id for pair in asked["pairs"]} <= set(study.halves[1])
    index = BM25(study.collection.documents)
    lowest = [pair.term for pair in asked["pairs"] if pair.term != max(words(pair.query), key=index.word_idf)]
    assert lowest, "some terms are not the rarest word of their query"


def test_the_papers_own_pairs_are_used_on_the_papers_collection(tiny, tmp_path, data_folder):
    study = Study(tiny, load_study_collection("paper"), tmp_path, quick=True)
    pairs = samples.tfc1_pairs(study, study.queries[:3], 2).pairs
    assert {pair.query_id for pair in pairs} <= set(study.queries[:3]) and pairs
    assert all(pair.perturbed.endswith(f" {pair.inserted}") and pair.baseline.endswith(" a") for pair in pairs)


def test_plain_json():
    value = plain({"a": np.float64("nan"), "b": np.arange(2), "c": (1, Finding(1.0, 0.5, 2.0, 3))})
    assert value["a"] is None and value["b"] == [0, 1] and value["c"][1]["n"] == 3
    json.dumps(value, allow_nan=False)


def test_intervals_come_from_the_seed_of_the_run(tiny, tmp_path):
    values = np.random.default_rng(0).normal(size=30)
    one, again, other = (Study(tiny, load_collection("classroom"), tmp_path, seed=seed) for seed in (3, 3, 4))
    assert one.finding(values) == again.finding(values) != other.finding(values)
    many = np.random.default_rng(1).normal(size=400)  # few values have few medians, which two seeds may share
    assert one.mean(values)[0] == other.mean(values)[0] and one.median(many) != other.median(many)
    assert one.finding([float("nan")] * 3).missing


def test_halves_share_no_query(tiny, tmp_path):
    study = Study(tiny, load_collection("classroom"), tmp_path)
    first, second = study.halves
    assert not set(first) & set(second) and len(first) + len(second) == len(study.collection.judged_queries)


@pytest.mark.long
def test_quick_run_on_the_classroom_model(classroom_model, tmp_path):
    """The whole of it, small: every claim is judged, every experiment leaves its numbers, heads are found."""
    report = reproduce.reproduce("classroom", "classroom", tmp_path, quick=True, device="cpu")
    assert [row["id"] for row in report["claims"]] == [rule["id"] for rule in rules()]
    assert report["heads"]["matching"] and report["heads"]["scoring"]
    assert {path.stem for path in (tmp_path / "parts").glob("*.json")} == set(EXPERIMENTS)
    measured = {row["id"]: row["measured"] for row in report["claims"] if row["verdict"] != "not applicable"}
    assert len(measured) >= 15
    assert list((tmp_path / "figures").glob("*.png"))


# ---- stored results ------------------------------------------------------------------------------------------------

STORED = sorted(path.parent.name for path in results_folder().glob("*/report.json"))


@pytest.mark.parametrize("name", STORED)
def test_stored_verdicts_follow_from_stored_findings(name):
    stored = load_results(name)
    assert stored.report["rules_version"] == rules_version(), "judged by older rules: make this run again"
    again = {row["id"]: row for row in reproduce.judge_all(stored.parts)}
    assert [row["id"] for row in stored.report["claims"]] == list(again)
    for row in stored.report["claims"]:
        assert plain(again[row["id"]]) == row


@pytest.mark.skipif("classroom" not in STORED, reason="no stored run of the classroom model")
def test_a_sample_of_the_stored_numbers_can_be_made_again(classroom_model, tmp_path, monkeypatch):
    """The shipped model is the one of the stored run, and two experiments give the stored numbers again.

    Of the curve the first two points, on all queries; the others would take two thirds of the time.
    """
    stored = load_results("classroom")
    study = Study(classroom_model, load_collection("classroom"), tmp_path, seed=stored.report["seed"])
    own = fingerprint(study)
    for key in ("weights_sha256", "collection_sha256"):
        assert own[key] == stored.run["fingerprint"][key], f"{key}: the stored run is of something else; run it again"
    from semanticbm.idf import idf_correlations, idf_values

    again = idf_correlations(classroom_model, idf_values("collection", study.collection))["pearson"].tolist()
    before = [row["pearson"] for row in stored.parts["u0"]["sources"]["collection"]["raw"]]
    assert np.allclose(again, before, atol=1e-4)
    whole = matching.measure_curves

    def two_points(model, series, x, *rest, **options):
        return whole(model, [replace(one, texts=one.texts[:2]) for one in series], x[:2], *rest, **options)

    monkeypatch.setattr(matching, "measure_curves", two_points)
    tf = matching.tf_curves(classroom_model, study.collection, study.halves[1], seed=study.seed)
    before = stored.parts["curves"]["tf"]
    assert np.allclose(tf.of_heads(stored.heads("matching")).mean(axis=0), before["matching"][:2], atol=1e-3)
    assert np.allclose(tf.scores.mean(axis=0), before["score"][:2], atol=1e-3)


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
