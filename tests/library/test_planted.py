"""The planted model: its logit, its seed, its planted IDF; whether each method of the library finds its circuit."""

import numpy as np
import pytest
import torch
from builders import with_queries

from semanticbm.bert import word_embeddings
from semanticbm.diagnostics import Settings, diagnostic_pairs
from semanticbm.heads import parse_head
from semanticbm.idf import idf_correlations, idf_values
from semanticbm.path_patching import direct_effects
from semanticbm.semantic_bm import collect_features
from semanticbm.study.planted import HEAD_ROLES, PLANTED, plant_circuit
from semanticbm.study.recovery import precision_recall, recover
from semanticbm.study.u0_experiments import edit_effects
from semanticbm.study.variants import evaluate_variants


@pytest.fixture(scope="module")
def small(classroom):
    """Sixteen queries of the classroom collection, with all its documents."""
    return with_queries(classroom, list(classroom.queries)[::7])


@pytest.fixture(scope="module")
def planted(small):
    return plant_circuit(small, seed=0)


def test_logit_is_the_mean_of_three_bm25_scores(small, planted):
    model, _ = planted
    for query in list(small.queries.values())[:6]:
        texts = list(small.documents.values())[::60]
        texts += [text for text in small.documents.values() if query.split()[-1] in text.lower()][:4]
        expected = model.reference(query, texts)
        assert expected.max() > 0
        np.testing.assert_allclose(model.score(query, texts), expected, rtol=1e-3, atol=1e-4)


def test_roles_cover_all_heads_once(planted):
    model, heads = planted
    everything = [head for role in heads.values() for head in role]
    assert len(set(everything)) == len(everything) == model.n_layers * model.n_heads == 16
    assert {role: len(found) for role, found in heads.items()}["matching"] == 3
    assert set(PLANTED) < set(heads) == {role for layer in HEAD_ROLES for role in layer}


def test_seed_decides_places_and_weights(small):
    first, again, other = (plant_circuit(small, seed) for seed in (1, 1, 2))
    assert first[1] == again[1] != other[1]
    for one, two in zip(first[0].hf.state_dict().values(), again[0].hf.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_u0_is_minus_log_idf(planted):
    model, _ = planted
    left, _, right = torch.linalg.svd(word_embeddings(model.hf).weight.double(), full_matrices=False)
    u0 = (left[4:, 0] * right[0].sum().sign()).numpy()
    log_idf = np.log([model.bm25.word_idf(word) for word in model.vocabulary])
    assert np.corrcoef(u0, log_idf)[0, 1] < -0.999


def test_precision_recall_by_hand():
    assert precision_recall(["0.1", "0.2", "0.3"], ["0.1", "1.1"]) == (1 / 3, 1 / 2)
    assert np.isnan(precision_recall([], ["0.1"])[0])


# --------------------------------------------------------------------------------------------------------------------
# Do the methods of the library find the circuit?


@pytest.fixture(scope="module", params=[0, 1])
def recovery(request, small):
    """The table of `recover` on eight queries for two seeds, which put the heads in different places."""
    fewer = with_queries(small, list(small.queries)[::2])
    model, heads = plant_circuit(fewer, seed=request.param)
    table = recover(model, heads, fewer, pairs_per_query=1).set_index(["kind", "role"])
    return table, heads


@pytest.mark.parametrize(
    ("kind", "role"),
    [
        ("intervenes", "scoring"),
        ("intervenes", "feeds the scoring heads"),
        ("both", "matching"),
        ("both", "contextual"),
    ],
)
def test_interventions_recover_the_planted_heads(recovery, kind, role):
    table, _ = recovery
    assert (table.loc[(kind, role), "precision"], table.loc[(kind, role), "recall"]) == (1.0, 1.0)


@pytest.mark.parametrize(("role", "decoy"), [("matching", "inert matching"), ("scoring", "inert scoring")])
def test_looking_alone_finds_the_planted_heads_and_exactly_the_inert_ones(recovery, role, decoy):
    table, heads = recovery
    found = set(table.loc[("looks", role), "found"].split(", "))
    assert found == set(heads[role]) | set(heads[decoy])
    assert table.loc[("looks", role), "recall"] == 1.0 > table.loc[("looks", role), "precision"]


def test_direct_effects_are_one_half_each(small, planted):
    model, heads = planted
    query = next(iter(small.queries.values()))
    rare = max(query.split(), key=model.bm25.word_idf)
    effects = direct_effects(model, (query, "some plain words fill"), (query, f"some plain words {rare}"))
    expected = np.zeros((4, 4))
    for head in heads["scoring"]:
        expected[parse_head(head)] = 0.5
    np.testing.assert_allclose(effects, expected, atol=1e-3)


def test_u0_correlates_with_idf_as_on_trained_models(small, planted):
    table = idf_correlations(planted[0], idf_values("collection", small), k=1)
    assert table.loc[0, "spearman"] < -0.99
    assert table.loc[0, "pearson"] < -0.9  # the planted number is ln idf, so a straight line misses a little


def test_raising_u0_lowers_what_a_word_is_worth(small, planted):
    pairs = diagnostic_pairs("TFC1", small, planted[0].tokenizer, Settings(documents_per_query=1)).pairs[:6]
    contribution = edit_effects(planted[0], pairs, steps=(-1.0, 0.0, 1.0), n=1).contribution[:, 0]
    assert (np.diff(contribution, axis=1) < -0.5).all()


def test_semantic_bm_prefers_the_planted_matching_heads(small, planted, monkeypatch):
    monkeypatch.setattr("semanticbm.semantic_bm.ALPHAS", (1.0, 10.0))  # each draw is fitted with each of them
    model, heads = planted
    scores = {query: model.bm25.scores(text) for query, text in small.queries.items()}
    run = {query: dict(zip(model.bm25.ids, values, strict=True)) for query, values in scores.items()}
    features = collect_features(model, small, run, depth=15)
    found = evaluate_variants(features, [parse_head(head) for head in heads["matching"]], n_draws=4)
    medians = found.table().set_index("variant")["median"]
    assert medians["SemanticBM"] > 0.9 > medians["matching scores only"]
    assert medians["SemanticBM"] > max(found.draws["random other heads"]) + 0.3
