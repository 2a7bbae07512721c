"""The methods that an explanation is compared with, and the study that compares them."""

import json

import numpy as np
import pytest
import torch

from semanticbm.evaluation import spearman

pytest.importorskip("captum", reason="captum is not installed: pip install 'semanticbm[compare]'")

from semanticbm.bert import word_embeddings
from semanticbm.errors import UserError
from semanticbm.explaining import faithfulness
from semanticbm.explaining.explanation import explain
from semanticbm.explaining.faithfulness import (
    EFFECTS,
    LEAST_TERMS,
    agreement,
    chosen_queries,
    effects,
    measured,
    spread_documents,
    summary,
)
from semanticbm.explaining.reading import filler_pair
from semanticbm.explaining.rivals import Rivals
from semanticbm.study.results import read_json, results_folder
from semanticbm.study.sealed import read_sealed

PAIR = ("deep river bank", "The bank of the river was steep.")
PIECES = [[0], [1], [2]]


@pytest.fixture(scope="module")
def rivals(model):
    return Rivals(model, PAIR, PIECES)


def score_of_ids(model, encoding, ids):
    return float(model.hf(ids, encoding.attention_mask, encoding.token_type_ids).logits[0, 0])


# ---- Methods -------------------------------------------------------------------------------------------------------


def test_occlusion_is_the_loss_when_a_term_becomes_mask(model, rivals):
    encoding = model.encode([PAIR])
    full = score_of_ids(model, encoding, encoding.input_ids)
    for term, lost in enumerate(rivals.occlusion()):
        ids = encoding.input_ids.clone()
        ids[0, encoding.query_spans[0][0] + term] = model.tokenizer.mask_token_id
        assert lost == pytest.approx(full - score_of_ids(model, encoding, ids), abs=1e-9)


def test_gradient_times_input_is_the_slope_along_the_word_vector(model, rivals):
    encoding, step = model.encode([PAIR]), 1e-5
    vectors = word_embeddings(model.hf)(encoding.input_ids)
    for term, found in enumerate(rivals.gradient_times_input()):
        scores = []
        for factor in (1 + step, 1 - step):
            changed = vectors.clone()
            changed[0, encoding.query_spans[0][0] + term] *= factor
            rest = {"attention_mask": encoding.attention_mask, "token_type_ids": encoding.token_type_ids}
            scores.append(float(model.hf(inputs_embeds=changed, **rest).logits[0, 0]))
        assert (scores[0] - scores[1]) / (2 * step) == pytest.approx(found, rel=1e-4, abs=1e-8)


def test_integrated_gradients_and_shapley_values_add_up_to_the_loss_without_all_terms(model, rivals):
    encoding = model.encode([PAIR])
    hidden = encoding.input_ids.clone()
    hidden[0, slice(*encoding.query_spans[0])] = model.tokenizer.mask_token_id
    lost = score_of_ids(model, encoding, encoding.input_ids) - score_of_ids(model, encoding, hidden)
    assert rivals.kernel_shap().sum() == pytest.approx(lost, rel=0.05)
    assert rivals.integrated_gradients().sum() == pytest.approx(lost, rel=0.25)


def test_rollout_of_even_attention_is_even(model, rivals, monkeypatch):
    n = model.encode([PAIR]).input_ids.shape[1]
    even = torch.full((model.n_layers, 1, model.n_heads, n, n), 1 / n)
    monkeypatch.setattr(type(model), "attention", lambda self, encoding: even)
    assert rivals.rollout() == pytest.approx([(1 - 0.5**model.n_layers) / n] * 3)


def test_all_methods_name_a_number_for_each_term(rivals):
    found = rivals.all()
    assert len(found) == 5 and all(np.isfinite(values).all() and len(values) == 3 for values in found.values())


# ---- The study -----------------------------------------------------------------------------------------------------


def test_effects_are_differences_of_scores(model):
    found = explain(model, *PAIR, causes=False)
    fillers = filler_pair(PAIR[0], len(found.document_pieces))[1]
    lost = effects(model, found)
    full, cut = (model.score(query, [PAIR[1], fillers]) for query in (PAIR[0], "deep bank"))
    assert lost["taken out"][1] == pytest.approx(full[0] - cut[0], abs=1e-9)
    assert lost["taken out, against fillers"][1] == pytest.approx(full[0] - cut[0] - (full[1] - cut[1]), abs=1e-9)


def test_queries_are_long_enough_and_documents_spread(classroom):
    queries = chosen_queries(classroom, 5)
    assert len(set(queries)) == 5
    assert all(len(classroom.queries[query].split()) >= LEAST_TERMS - 1 for query in queries)
    assert len(set(spread_documents(classroom, queries[0], 3))) == 3


def test_on_the_compiled_model_the_shares_order_terms_as_cuts_do(classroom):
    from semanticbm.ladder import load

    compiled = load("compiled", "cpu")
    query = chosen_queries(classroom, 1)[0]
    found = explain(compiled, classroom.queries[query], spread_documents(classroom, query, 1)[0], causes=False)
    lost = effects(compiled, found)["taken out"]
    assert spearman(np.round([term.share for term in found.terms], 3), np.round(lost, 3)) == pytest.approx(1)


def test_a_stopped_run_goes_on_and_its_summary_has_intervals(classroom, monkeypatch):
    def fake(model, collection, query, n_documents):
        return {effect: {"share": len(query) / 100, "other": 0.0} for effect in EFFECTS}

    monkeypatch.setattr(faithfulness, "agreement", fake)
    by_name = {"one": classroom, "two": classroom}
    first = list(measured(None, by_name, {}, 3, 1))
    assert [name for name, _, _ in first] == ["one", "two"] * 3
    done = {"one": {first[0][1]: first[0][2]}}
    assert [(name, query) for name, query, _ in measured(None, by_name, done, 3, 1)] == [
        (name, query) for name, query, _ in first[1:]
    ]
    rows = summary({"sets": {"one": {query: found for name, query, found in first if name == "one"}}})
    assert len(rows) == 4 and all(row["low"] <= row["mean"] <= row["high"] and row["n"] == 3 for row in rows)


def test_a_file_of_another_model_is_not_continued(tmp_path, tiny, monkeypatch, data_folder):
    monkeypatch.setattr(faithfulness, "load", lambda name: tiny)
    file = tmp_path / "results.json"
    faithfulness.write_sealed(file, {"model": "another", "weights_sha256": "", "documents": 4, "sets": {}})
    with pytest.raises(UserError, match="another model"):
        faithfulness.main(["--out", str(file), "--data", str(data_folder)])


@pytest.mark.skipif(not (results_folder() / "faithfulness.json").is_file(), reason="no stored run yet")
def test_the_stored_run_is_whole_and_a_sample_of_it_comes_out_again(classroom, classroom_model):
    stored = read_sealed(results_folder() / "faithfulness.json")
    assert stored["weights_sha256"] == classroom_model.source and set(stored["sets"]) == {
        "classroom",
        "cranfield",
        "scifact",
    }
    query = min(stored["sets"]["classroom"], key=lambda query: len(classroom.queries[query]))
    again = agreement(classroom_model, classroom, query, stored["documents"])
    for effect in EFFECTS:
        assert again[effect] == pytest.approx(stored["sets"]["classroom"][query][effect], abs=0.05)
    assert json.dumps(read_json("faithfulness.json"))


def test_the_words_and_the_table_of_the_book_follow_the_numbers():
    share, other, asking = faithfulness.SHARE, "attention rollout", faithfulness.ASKING[0]

    def row(method, mean, collection="one"):
        numbers = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 3}
        return {"collection": collection, "effect": EFFECTS[1], "method": method} | numbers

    rows = [row(share, 0.4), row(other, 0.5), row(asking, 0.9), row(share, 0.4, "two"), row(other, -0.5, "two")]
    words_of = faithfulness.in_words(rows).splitlines()
    assert "attention rollout (0.50) stands above" in words_of[0] and "KernelSHAP" not in words_of[0]
    assert "none stands above" in words_of[1]
    table = faithfulness.wide_rows(rows, EFFECTS[1])
    assert [line["method"] for line in table] == [asking, share, other]
    assert table[1]["one, n = 3"] == "0.40 [0.30, 0.50]"
    assert faithfulness.wide_rows(rows, EFFECTS[0]) == []
