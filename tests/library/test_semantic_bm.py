"""SemanticBM: features against the plain definitions, and planted linear models that the right variant must find."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from semanticbm.bm25 import BM25
from semanticbm.collection import Collection
from semanticbm.errors import UserError
from semanticbm.evaluation import pearson
from semanticbm.idf import idf_values, u0, word_table
from semanticbm.matching import matching_scores
from semanticbm.semantic_bm import (
    ALPHAS,
    Features,
    centre_within,
    collect_features,
    cross_predict,
    fit_predict,
    idf_from_u0,
    padded,
    query_folds,
    semantic_bm_columns,
)
from semanticbm.study.positional import cut_queries, leak_table, least_squares, positional_columns
from semanticbm.study.variants import (
    BM25_GRID,
    bm25_scores,
    coverage,
    evaluate_variants,
    matching_columns,
    no_interaction_columns,
    permuted_g,
    permuted_score,
    tuned_bm25,
    weighted_columns,
)

HEADS = [(0, 1), (1, 2)]
COLLECTION = Collection(
    "small",
    {"d1": "the river bank is wide", "d2": "a bank lends money to people", "d3": "rivers"},
    {"q1": "river bank", "q2": "embeddings of money and rivers"},
    {"q1": {"d1": 2}, "q2": {"d3": 1}},
)
RUN = {"q1": {"d1": 3.0, "d2": 2.0, "d3": 1.0}, "q2": {"d2": 1.0, "d3": 2.0}}


@pytest.fixture(scope="module")
def collected(tiny):
    return collect_features(tiny, COLLECTION, RUN)


def planted(seed=0, n_queries=30, n_documents=12, n_pieces=4, noise=0.01):
    """Random features of 2 x 4 heads; the score is sum of g MS over HEADS plus a level for each query plus noise."""
    rng = np.random.default_rng(seed)
    n = n_queries * n_documents
    query_ids = np.repeat([f"q{k}" for k in range(n_queries)], n_documents)
    g = np.repeat(rng.uniform(0, 8, (n_queries, n_pieces)), n_documents, axis=0)
    matching = rng.uniform(0, 1, (n, 2, 4, n_pieces))
    level = np.repeat(10 * rng.standard_normal(n_queries), n_documents)
    signal = sum((matching[:, layer, head] * g).sum(-1) for layer, head in HEADS)
    tf = rng.integers(0, 4, (n, n_pieces)).astype(float)
    document_ids, pieces = np.tile([f"d{k}" for k in range(n_documents)], n_queries), np.full(n, n_pieces)
    return Features(
        query_ids,
        document_ids,
        matching,
        g,
        pieces,
        tf,
        g.copy(),
        pieces,
        rng.integers(20, 80, n),
        50.0,
        signal + level + noise * rng.standard_normal(n),
    )


# --------------------------------------------------------------------------------------------------------------------
# Features


def test_features_are_the_matching_scores_and_scores_of_the_model(tiny, collected):
    assert collected.query_ids.tolist() == ["q1"] * 3 + ["q2"] * 2
    assert collected.document_ids.tolist() == ["d1", "d2", "d3", "d3", "d2"]
    for row, (query, document) in enumerate(zip(collected.query_ids, collected.document_ids, strict=True)):
        query, document = COLLECTION.queries[query], COLLECTION.documents[document]
        expected = matching_scores(tiny, query, [document])[0]
        n = expected.shape[-1]
        np.testing.assert_allclose(collected.matching[row, :, :, :n], expected, atol=1e-5)
        assert n == collected.n_pieces[row] and not collected.matching[row, :, :, n:].any()
        assert collected.score[row] == pytest.approx(tiny.score(query, [document])[0], abs=1e-5)


def test_g_is_u0_turned_to_rise_with_idf_at_its_mean_and_spread(tiny, collected):
    idf = idf_values("collection", COLLECTION)
    g, table = idf_from_u0(tiny, idf), word_table(tiny, idf)
    assert pearson(g[table.ids], table.idf) > 0
    opposite = idf_from_u0(tiny, {word: -value for word, value in idf.items()})
    np.testing.assert_allclose(opposite - opposite.mean(), -(g - g.mean()), atol=1e-9)
    assert g.mean() == pytest.approx(np.mean(list(idf.values())))
    assert g.std() == pytest.approx(np.std(list(idf.values())))
    assert abs(pearson(g, u0(tiny))) == pytest.approx(1)
    ids = tiny.tokenizer("river bank", add_special_tokens=False)["input_ids"]
    np.testing.assert_allclose(collected.g[0, :2], g[ids])


def test_bm25_and_coverage_equal_the_collections(collected):
    for k1, b in ((1.2, 0.75), (0.5, 0.0)):
        index = BM25(COLLECTION.documents, k1, b)
        expected = [
            index.score_text(COLLECTION.queries[query], COLLECTION.documents[document])
            for query, document in zip(collected.query_ids, collected.document_ids, strict=True)
        ]
        np.testing.assert_allclose(bm25_scores(collected, k1, b), expected)
    np.testing.assert_allclose(coverage(collected), [1, 0.5, 0, 0.2, 0.2])


def test_depth_takes_the_best_documents_and_an_empty_run_is_refused(tiny):
    assert collect_features(tiny, COLLECTION, RUN, depth=1).document_ids.tolist() == ["d1", "d3"]
    with pytest.raises(UserError, match="no documents"):
        collect_features(tiny, COLLECTION, {"q1": {}})


def test_columns_by_hand():
    """One query of two pieces, one head: MS (0.5, 0.25), g (2, 4)."""
    one = Features(
        np.array(["q"]),
        np.array(["d"]),
        np.array([[[[0.5, 0.25, 0.0]]]]),
        np.array([[2.0, 4.0, 0.0]]),
        np.array([2]),
        np.ones((1, 2)),
        np.ones((1, 2)),
        np.array([2]),
        np.array([9]),
        9.0,
        np.array([1.0]),
    )
    assert semantic_bm_columns(one, [(0, 0)]).tolist() == [[0.75, 2.0, 6.0, 2.0]]
    assert matching_columns(one, [(0, 0)]).tolist() == [[0.75, 2.0]]
    assert no_interaction_columns(one, [(0, 0)]).tolist() == [[0.75, 2.0, 6.0]]
    assert weighted_columns(one, [(0, 0)]).tolist() == [[2.0]]
    assert positional_columns(one, [(0, 0)]).tolist() == [[2.0, 4.0, 0.5, 0.25, 1.0, 1.0]]


def test_padding_is_zero_at_the_end():
    assert padded([np.array([[1.0, 2.0]]), np.array([[3.0]])]).tolist() == [[[1, 2]], [[3, 0]]]


# --------------------------------------------------------------------------------------------------------------------
# Fits


def test_every_query_is_tested_once_and_never_split():
    features = planted(n_queries=11)
    folds = query_folds(features, 5)
    assert np.array_equal(np.sum(folds, axis=0), np.ones(len(features)))
    for test in folds:
        assert not set(features.query_ids[test]) & set(features.query_ids[~test])
    with pytest.raises(UserError, match="too few"):
        query_folds(features, 6)


def test_centring_leaves_exact_zeros_for_constants():
    ids = np.array(["a", "a", "b", "b"])
    values = np.array([[0.1, 1.0], [0.1, 3.0], [0.7, 5.0], [0.7, 5.0]])
    assert centre_within(values, ids).tolist() == [[0, -1], [0, 1], [0, 0], [0, 0]]
    assert centre_within(values[:, 1], ids).tolist() == [-1, 1, 0, 0]


def test_planted_model_is_found_and_its_controls_fail():
    found = evaluate_variants(planted(), HEADS, n_draws=3, n_splits=3)
    median = found.table().set_index("variant")["median"]
    assert median["SemanticBM"] > 0.99 and median["weighted sums only"] > 0.99 and median["all heads"] > 0.98
    assert median["matching scores only"] < median["SemanticBM"] - 0.05
    assert median["IDF permuted"] < median["SemanticBM"] - 0.05
    assert abs(median["random other heads"]) < 0.35 and abs(median["target permuted"]) < 0.5
    assert abs(median["BM25"]) < 0.35
    assert found.pearson["no interaction"] == pytest.approx(found.pearson["matching scores only"], abs=1e-6)
    assert np.mean(found.difference("SemanticBM", "BM25")) > 0.5
    assert len(found.draws["random other heads"]) == 3 and len(found.bm25_choice) == 3


def test_a_model_without_idf_is_told_from_one_with_it():
    """Score = sum of MS: MS alone suffices, and permuting g costs nothing."""
    features = planted()
    signal = features.of_heads(HEADS).sum((-1, -2)) * 4
    features = type(features)(**(vars(features) | {"score": signal}))
    median = evaluate_variants(features, HEADS, n_draws=1, n_splits=3).table().set_index("variant")["median"]
    assert median["matching scores only"] > 0.99
    assert median["IDF permuted"] > 0.99 > median["weighted sums only"]


def test_centred_fit_ignores_the_level_of_a_query_and_the_raw_fit_does_not():
    features, shifted = planted(), planted()
    level = 5 * (np.unique(shifted.query_ids, return_inverse=True)[1] % 3)
    shifted = type(shifted)(**(vars(shifted) | {"score": shifted.score + level}))
    folds, columns = query_folds(features), semantic_bm_columns(features, HEADS)
    first, second = (cross_predict(one, columns, folds) for one in (features, shifted))
    np.testing.assert_allclose(first, second, atol=1e-6)
    raw, raw_shifted = (cross_predict(one, columns, folds, centred=False) for one in (features, shifted))
    assert np.abs(raw - raw_shifted).max() > 0.1


def test_predictions_of_a_query_do_not_use_its_scores():
    features = planted(n_queries=10)
    folds, columns = query_folds(features), semantic_bm_columns(features, HEADS)
    changed = features.score.copy()
    changed[folds[0]] = np.random.default_rng(1).standard_normal(folds[0].sum())
    before, after = (cross_predict(features, columns, folds, target=target) for target in (features.score, changed))
    np.testing.assert_array_equal(before[folds[0]], after[folds[0]])
    assert np.abs(before[folds[1]] - after[folds[1]]).max() > 0


def test_bm25_is_tuned_to_the_planted_parameters():
    features = planted(noise=0)
    features = type(features)(**(vars(features) | {"score": bm25_scores(features, 0.5, 0.25)}))
    predictions, chosen = tuned_bm25(features, query_folds(features))
    assert chosen == [(0.5, 0.25)] * 5 and (0.5, 0.25) in BM25_GRID
    np.testing.assert_allclose(predictions, features.score)


def test_permutations_stay_inside_a_query(collected):
    rng = np.random.default_rng(3)
    g, score = permuted_g(collected, rng), permuted_score(collected, rng)
    for query in collected.queries:
        rows = collected.query_ids == query
        assert sorted(score[rows]) == sorted(collected.score[rows])
        assert np.array_equal(g[rows], np.tile(g[rows][0], (rows.sum(), 1)))
        np.testing.assert_allclose(np.sort(g[rows][0]), np.sort(collected.g[rows][0]))
    assert not np.array_equal(g, collected.g)


def test_runs_hold_predictions_and_the_models_scores():
    features = planted(n_queries=10, n_documents=4)
    found = evaluate_variants(features, HEADS, n_draws=1, n_splits=2)
    assert found.runs["model"]["q3"]["d2"] == features.score[3 * 4 + 2]
    assert {len(scores) for scores in found.runs["SemanticBM"].values()} == {4}


def test_no_heads_is_a_clear_error(collected):
    with pytest.raises(UserError, match="no heads"):
        semantic_bm_columns(collected, [])


# --------------------------------------------------------------------------------------------------------------------
# The paper's form


def test_queries_are_cut_to_whole_words(tokenizer):
    cut = cut_queries(COLLECTION, tokenizer, 4)
    assert cut.queries == {"q2": "embeddings"}  # em ##bed ##ding ##s; "river bank" has two pieces
    assert set(cut.judgements) == {"q2"}
    with pytest.raises(UserError, match="can be cut"):
        cut_queries(COLLECTION, tokenizer, 30)


def test_least_squares_equals_sklearn_on_one_fold():
    features = planted(n_queries=10)
    columns, test = positional_columns(features, HEADS), query_folds(features)[0]
    expected = LinearRegression().fit(columns[~test], features.score[~test]).predict(columns[test])
    np.testing.assert_allclose(least_squares(columns, features.score, [test])[test], expected, atol=1e-6)


def test_a_split_over_pairs_leaks_the_level_of_a_query():
    """With eight queries and four positions, g alone tells queries apart: pooled correlation, but only with a leak."""
    table = leak_table(planted(n_queries=8, n_documents=30), HEADS, n_splits=4).set_index(["split", "features"])
    leaking, clean = table.loc[("over pairs", "g alone"), "pooled"], table.loc[("by query", "g alone"), "pooled"]
    assert leaking > 0.5 and clean < leaking - 0.3


def test_the_papers_form_holds_the_planted_model_exactly():
    """Without a level for each query, sum of g MS is a linear function of the paper's features under either split."""
    features = planted(n_queries=20)
    signal = (features.of_heads(HEADS) * features.g[:, None]).sum((-1, -2))
    features = type(features)(**(vars(features) | {"score": signal}))
    table = leak_table(features, HEADS, n_splits=4).set_index(["features", "split"])
    np.testing.assert_allclose(table.loc["all"][["pooled", "median"]], 1, atol=1e-9)
    assert table.loc[("g alone", "by query"), "pooled"] < 0.9


def test_positions_need_one_length(collected):
    with pytest.raises(UserError, match="one length"):
        positional_columns(collected, HEADS)


@pytest.mark.parametrize("noise", [0.01, 30.0])  # a weak and a strong penalty are best
def test_the_penalty_and_the_fit_are_those_of_ridge_cv(noise):
    features = planted(noise=noise)
    columns, test = features.matching.reshape(len(features), -1), query_folds(features)[0]
    columns, score = (centre_within(values, features.query_ids) for values in (columns, features.score))
    groups = GroupKFold(4).split(columns[~test], groups=features.query_ids[~test])
    oracle = make_pipeline(StandardScaler(), RidgeCV(ALPHAS, cv=list(groups))).fit(columns[~test], score[~test])
    found = fit_predict(columns, score, features.query_ids, test, centred=False)
    np.testing.assert_allclose(found, oracle.predict(columns[test]), atol=1e-8)
    assert (oracle[-1].alpha_ == ALPHAS[-1]) == (noise > 1)
