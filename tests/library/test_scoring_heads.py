"""[CLS] attention by IDF, scoring heads and relays: against plain computations and against planted circuits."""

import math

import numpy as np
import pytest
import torch
from builders import with_queries
from scipy.stats import spearmanr

from semanticbm.bert import layers, z_projection
from semanticbm.bm25 import BM25
from semanticbm.collection import Collection
from semanticbm.compiled import compile_bm25
from semanticbm.diagnostics import DiagnosticPair, Diagnostics, Settings, diagnostic_pairs
from semanticbm.errors import UserError
from semanticbm.evaluation import partial_correlation
from semanticbm.heads import parse_head
from semanticbm.matching import confirm_heads, find_matching_heads, head_effects, share_out
from semanticbm.patching import attribution_patching
from semanticbm.path_patching import direct_effects, effects_on_receivers
from semanticbm.scoring_heads import (
    attention_by_idf,
    cls_attention,
    cls_idf_correlations,
    direct_effects_by_query,
    few_pairs,
    find_contextual_heads,
    find_scoring_heads,
    path_effects_by_query,
    relays_among,
    scoring_attention,
)
from semanticbm.study.planted import plant_circuit
from semanticbm.study.relays import effects_by_position, relay_correlations, relay_report, written_changes

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))]  # of planted circuits


@pytest.fixture(scope="module")
def collection(classroom):
    return with_queries(classroom, list(classroom.queries)[:12])


@pytest.fixture(scope="module")
def planted(collection):
    return plant_circuit(collection)


def test_cls_attention_equals_the_plain_forward(model, collection):
    query_id = next(iter(collection.queries))
    one = cls_attention(model, collection, [query_id], documents_per_query=1)[0]
    documents = [collection.documents[document] for document in collection.judgements[query_id]]
    candidates = []
    for document in documents:
        encoding = model.encode([(collection.queries[query_id], document)])
        row = model.attention(encoding)[:, 0, :, 0].numpy()
        where = np.array(encoding.word_ids[0][slice(*encoding.query_spans[0])])
        on_query = row[..., slice(*encoding.query_spans[0])]
        candidates.append(np.stack([on_query[..., where == n].mean(-1) for n in range(where.max() + 1)], -1))
    assert min(np.abs(one.attention - expected).max() for expected in candidates) < 1e-12
    np.testing.assert_allclose(one.mass.sum(-1), 1)


def test_correlations_equal_scipy_and_the_plain_partial_correlation(model, collection):
    found = cls_attention(model, collection, documents_per_query=1)
    plain, partial = cls_idf_correlations(found), cls_idf_correlations(found, "position")
    by_id = {one.query_id: one for one in found}
    for row, query_id in enumerate(plain.query_ids):
        one = by_id[query_id]
        for layer, head in ((0, 0), (2, 3)):
            attention = one.attention[layer, head]
            assert plain.values[row, layer, head] == pytest.approx(spearmanr(attention, one.idf).statistic)
            ranks = [np.argsort(np.argsort(attention)).astype(float), spearman_ranks(one.idf)]
            assert partial.values[row, layer, head] == pytest.approx(
                partial_correlation(*ranks, one.position[:, None]), abs=1e-9
            )


def spearman_ranks(values):
    return np.array([(values < value).sum() + (values == value).sum() / 2 for value in values])


def test_the_compiled_scoring_head_attends_exactly_by_idf(collection):
    model = compile_bm25(collection)
    bm25 = BM25(collection.documents)
    for one in cls_attention(model, collection, documents_per_query=1):
        share = one.attention[1, 0] / one.attention[1, 0].sum()
        np.testing.assert_allclose(share, one.idf / one.idf.sum(), rtol=1e-3)
        np.testing.assert_allclose(one.idf, [bm25.word_idf(word) for word in one.words])


def test_attention_by_idf_rises_for_the_compiled_head(collection):
    found = cls_attention(compile_bm25(collection), collection, documents_per_query=1)
    table = attention_by_idf(found, [(1, 0)], n_bins=4)
    assert table["n_words"].sum() == sum(len(text.split()) for text in collection.queries.values())
    assert (np.diff(table["attention"]) > 0).all() and (table["low"] <= table["attention"]).all()


def test_attention_cannot_tell_a_scoring_head_from_an_inert_one(planted, collection):
    model, roles = planted
    table = scoring_attention(model, collection, documents_per_query=1).set_index("head")
    assert (table.loc[roles["scoring"] + roles["inert scoring"], "spearman"] > 0.95).all()
    assert (table.loc[roles["stray"] + roles["mute"], "spearman"].abs() < 0.6).all()


def test_content_words_only(model, collection):
    one = next(
        one for one in cls_attention(model, collection, documents_per_query=1) if "the" in one.words or "a" in one.words
    )
    content = one.content_only()
    assert {"the", "a", "how", "what"}.isdisjoint(content.words) and content.is_content.all()
    assert content.attention.shape == (3, 4, len(content.words))


def test_short_queries_have_no_correlation(model):
    tiny = Collection("tiny", {"d": "bark of a tree"}, {"q": "tree bark"}, {})
    found = cls_attention(model, tiny)
    with pytest.raises(UserError, match="no query has 4 words"):
        cls_idf_correlations(found)
    with pytest.raises(UserError, match="control='length' is unknown"):
        cls_idf_correlations(found, "length")
    assert math.isclose(found[0].mass[0, 0].sum(), 1)


# --------------------------------------------------------------------------------------------------------------------
# Did we find the circuit?


@pytest.fixture(scope="module")
def pairs(planted, collection):
    return diagnostic_pairs("TFC1", collection, planted[0].tokenizer, Settings(documents_per_query=2))


def precision_and_recall(found, planted):
    hits = len(set(found) & set(planted))
    return hits / len(found), hits / len(planted)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scoring_heads_are_the_planted_ones(collection, seed):
    model, roles = plant_circuit(collection, seed=seed)
    pairs = diagnostic_pairs("TFC1", collection, model.tokenizer, Settings(documents_per_query=1, seed=seed))
    assert precision_and_recall(find_scoring_heads(model, pairs).names, roles["scoring"]) == (1.0, 1.0)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_the_relay_is_the_planted_one(collection, seed):
    model, roles = plant_circuit(collection, seed=seed)
    pairs = diagnostic_pairs("TFC1", collection, model.tokenizer, Settings(documents_per_query=1, seed=seed))
    scoring, matching = (list(map(parse_head, roles[role])) for role in ("scoring", "matching"))
    found = find_contextual_heads(model, pairs, scoring, exclude=matching)
    assert precision_and_recall(found.names, roles["contextual"]) == (1.0, 1.0)
    feeders = find_contextual_heads(model, pairs, scoring)
    assert set(feeders.names) > set(roles["contextual"])
    assert relays_among(model, feeders, pairs).names == roles["contextual"], (
        "matching heads feed, but look at the document"
    )
    table = found.table.set_index("head")
    relay = table.loc[roles["contextual"][0]]
    assert relay["value"] == pytest.approx(relay["effect"], abs=0.02)  # the values alone carry the signal
    assert table.loc[roles["matching"], "excluded"].all() and table.loc[roles["scoring"], "excluded"].all()


@pytest.mark.parametrize("seed", SEEDS)
def test_matching_heads_attention_finds_all_and_patching_removes_the_inert_ones(collection, seed):
    model, roles = plant_circuit(collection, seed=seed)
    by_attention = find_matching_heads(model, collection, documents_per_query=1, seed=seed)
    assert precision_and_recall(by_attention.names, roles["matching"] + roles["inert matching"]) == (1.0, 1.0)
    pairs = diagnostic_pairs("TFC1", collection, model.tokenizer, Settings(documents_per_query=1, seed=seed))
    confirmed = confirm_heads(model, by_attention, pairs)
    assert precision_and_recall(confirmed.names, roles["matching"]) == (1.0, 1.0)


def test_the_compiled_model_has_one_scoring_head_fed_by_one_matching_head(collection):
    model = compile_bm25(collection)
    pairs = diagnostic_pairs("TFC1", collection, model.tokenizer, Settings(documents_per_query=1))
    scoring = find_scoring_heads(model, pairs)
    assert scoring.names == ["1.0"]
    assert scoring.table.set_index("head").loc["1.0", "effect"] == pytest.approx(1, abs=1e-3)
    fed_by = find_contextual_heads(model, pairs, scoring.heads)
    assert fed_by.names == ["0.0"]
    assert fed_by.table.set_index("head").loc["0.0", "effect"] == pytest.approx(1, abs=1e-3)


def test_effects_by_query_are_shares_of_the_mean_change_of_single_pairs(model, collection):
    queries = list(collection.queries)[:2]
    pairs = diagnostic_pairs("TFC1", collection, model.tokenizer, Settings(documents_per_query=2), queries)
    receivers = [(2, 1), (2, 3)]
    measured = {"direct": direct_effects_by_query(model, pairs), "path": path_effects_by_query(model, pairs, receivers)}
    single = {
        "direct": lambda *sides: direct_effects(model, *sides, method="textbook"),
        "path": lambda *sides: effects_on_receivers(model, *sides, receivers, "qkv", method="textbook"),
    }
    for kind, effects in measured.items():
        tops, changes = [], []
        for query_id in effects.query_ids:
            top, change = [], []
            for pair in pairs.by_query()[query_id]:
                baseline, perturbed = model.score_pairs([pair.baseline_pair, pair.perturbed_pair])
                share = np.nan_to_num(single[kind](pair.baseline_pair, pair.perturbed_pair))
                top.append(share * (perturbed - baseline))
                change.append(perturbed - baseline)
            tops.append(np.mean(top, axis=0))
            changes.append(np.mean(change))
        np.testing.assert_allclose(effects.values, np.array(tops) / np.mean(changes), atol=1e-8)


def diagnostic_pair(query_id):
    return DiagnosticPair("TFC1", query_id, "d", "q", "b", "p", "t")


def test_share_out_by_hand():
    """Two pairs of one query and a quiet one: the mean over queries is the ratio of the means, and no query is lost."""
    diagnostics = Diagnostics("TFC1", [diagnostic_pair("a"), diagnostic_pair("a"), diagnostic_pair("quiet")])
    effects = np.array([0.4, 0.2, 0.3])[:, None, None]
    shared = share_out(diagnostics, effects, np.array([4.0, 0.1, 0.001]))
    assert shared.query_ids == ["a", "quiet"] and shared.n_pairs == 3
    assert shared.values[:, 0, 0] == pytest.approx(np.array([0.3, 0.3]) / ((2.05 + 0.001) / 2))
    assert shared.values.mean() == pytest.approx(0.3 / 1.0255)
    with pytest.raises(UserError, match="nothing to share out"):
        share_out(diagnostics, effects, np.zeros(3))


def test_head_effects_equal_a_plain_hook(model, collection):
    pair = diagnostic_pairs("TFC1", collection, model.tokenizer, Settings(documents_per_query=1)).pairs[0]
    effects, first, second = head_effects(model, pair, [(1, 2)])
    inputs = [
        model.tokenizer(*side, return_tensors="pt", return_token_type_ids=True)
        for side in (pair.baseline_pair, pair.perturbed_pair)
    ]
    module, kept = z_projection(layers(model.hf)[1]), []
    hook = module.register_forward_pre_hook(lambda _, args: kept.append(args[0].clone()))
    with torch.no_grad():
        scores = [float(model.hf(**one).logits) for one in inputs]
    hook.remove()

    def patch(_, args):
        z = args[0].clone()
        z[..., 12:18] = kept[1][..., 12:18]  # head 2 of width 6
        return (z,)

    hook = module.register_forward_pre_hook(patch)
    with torch.no_grad():
        patched = float(model.hf(**inputs[0]).logits)
    hook.remove()
    assert (first, second) == pytest.approx(scores)
    assert effects[1, 2] == pytest.approx(patched - scores[0], abs=1e-12)
    assert np.isnan(effects).sum() == 11


def test_written_changes_add_up_to_the_attention_output(model, collection):
    """One head alone: its change is the change of its z times its columns of W_O; equal texts give 0."""
    pair = diagnostic_pairs("TFC1", collection, model.tokenizer, Settings(documents_per_query=1)).pairs[0]
    changes = written_changes(model, pair)
    kept = []
    hook = z_projection(layers(model.hf)[2]).register_forward_pre_hook(lambda _, args: kept.append(args[0].clone()))
    model.logits(model.encode([pair.baseline_pair, pair.perturbed_pair]))
    hook.remove()
    difference = (kept[0][1] - kept[0][0])[:, 6:12] @ z_projection(layers(model.hf)[2]).weight[:, 6:12].T
    np.testing.assert_allclose(changes[2, 1], difference.norm(dim=-1).numpy(), atol=1e-12)
    same = DiagnosticPair("TFC1", "q", "d", pair.query, pair.baseline, pair.baseline, pair.term)
    assert written_changes(model, same).max() == 0


def test_effects_by_position_add_up_to_attribution_and_are_the_slope(model, collection):
    """Sum over positions = the library's attribution; the size for a small step = a finite difference by hooks."""
    pair = diagnostic_pairs("TFC1", collection, model.tokenizer, Settings(documents_per_query=1)).pairs[0]
    effects = effects_by_position(model, pair)
    baseline, perturbed = model.score_pairs([pair.baseline_pair, pair.perturbed_pair])
    np.testing.assert_allclose(
        effects.sum(axis=-1) / (perturbed - baseline),
        attribution_patching(model, pair.baseline_pair, pair.perturbed_pair),
        atol=1e-8,
    )
    layer, head, position, step = 1, 2, 3, 1e-4
    module, kept = z_projection(layers(model.hf)[layer]), []
    hook = module.register_forward_pre_hook(lambda _, args: kept.append(args[0].clone()))
    encodings = [model.encode([side]) for side in (pair.baseline_pair, pair.perturbed_pair)]
    first = [float(model.logits(encoding)) for encoding in encodings][0]
    hook.remove()

    def nudge(_, args):
        z = args[0].clone()
        z[0, position, 12:18] += step * (kept[1] - kept[0])[0, position, 12:18]
        return (z,)

    hook = module.register_forward_pre_hook(nudge)
    slope = (float(model.logits(encodings[0])) - first) / step
    hook.remove()
    assert effects[layer, head, position] == pytest.approx(slope, rel=1e-3, abs=1e-9)


def test_relay_measure_leaves_out_the_edited_word(model, collection):
    pairs = diagnostic_pairs("TFC1", collection, model.tokenizer, Settings(documents_per_query=1, term="random"))
    idf = BM25(collection.documents).word_idf
    found = relay_correlations(model, pairs, idf)
    long_enough = [query for query, text in collection.queries.items() if len(text.split()) >= 5]
    assert found.query_ids == long_enough and found.values.shape == (len(long_enough), 3, 4)
    assert np.nanmax(np.abs(found.values)) <= 1 + 1e-9
    flat = [pair for pair in pairs.pairs if pair.query_id == long_enough[0]]
    with pytest.raises(UserError, match="besides the edited one"):
        relay_correlations(model, Diagnostics("TFC1", flat), lambda word: 1.0)
    report = relay_report(model, collection, pairs, [(1, 0)])
    assert report["n_heads"].tolist() == [1, 3]


def test_few_pairs_takes_one_a_query(pairs):
    few = few_pairs(pairs, 3)
    assert [pair.query_id for pair in few.pairs] == list(pairs.by_query())[:3]


def test_relays_need_scoring_heads(model, pairs):
    with pytest.raises(UserError, match="no scoring heads were given"):
        find_contextual_heads(model, pairs, [])
