"""U0 and IDF: the decomposition against numpy's, planted IDF, and edits against hooks."""

import hooks_oracle as oracle
import numpy as np
import pytest
import torch

from semanticbm.bert import word_embeddings
from semanticbm.collection import Collection
from semanticbm.diagnostics import DiagnosticPair, Pieces
from semanticbm.errors import UserError
from semanticbm.idf import (
    decompose,
    edit_directions,
    edited_scores,
    embedding_matrix,
    idf_correlations,
    idf_values,
    term_positions,
    u0,
    whole_words,
    word_table,
)
from semanticbm.study.u0_experiments import EditEffects, edit_effects, idf_controls

QUERY = "what do embeddings tell about rivers"
PAIRS = [
    DiagnosticPair("TFC1", "q1", "d1", QUERY, "the water a a a a", "the water embeddings", "embeddings"),
    DiagnosticPair("TFC1", "q1", "d2", QUERY, "embeddings help a a", "embeddings help embeddings", "embeddings"),
    DiagnosticPair("TFC1", "q2", "d1", "river banks", "it is a sunny day a", "it is a sunny day river", "river"),
]


@pytest.fixture
def planted(tiny):
    """`tiny` with word vectors 3 (10 - idf) e + noise, so that U0 falls with idf by construction; and that idf."""
    table = whole_words(tiny.tokenizer)
    rng = np.random.default_rng(0)
    idf = dict(zip(table, rng.uniform(0, 8, len(table)), strict=True))
    weight = word_embeddings(tiny.hf).weight
    before = weight.clone()
    direction = np.full(weight.shape[1], weight.shape[1] ** -0.5)
    level = np.full(len(weight), 6.0)
    level[list(table.values())] = 10 - np.array(list(idf.values()))
    planted = level[:, None] * direction + 0.3 * rng.standard_normal(tuple(weight.shape))
    weight.copy_(torch.as_tensor(planted, dtype=weight.dtype))
    yield tiny, idf
    weight.copy_(before)


@pytest.mark.parametrize("centred", [False, True])
def test_components_equal_numpy_svd(centred):
    matrix = np.random.default_rng(0).standard_normal((60, 8)) + 0.5
    parts = decompose(matrix, 5, centred)
    u, s, vt = np.linalg.svd(matrix - matrix.mean(axis=0) * centred, full_matrices=False)
    signs = np.sign(vt[:5] @ matrix.mean(axis=0))
    np.testing.assert_allclose(parts.s, s[:5], rtol=1e-10)
    np.testing.assert_allclose(parts.u, u[:, :5] * signs, atol=1e-10)
    np.testing.assert_allclose(parts.v, vt[:5] * signs[:, None], atol=1e-10)


def test_the_sign_follows_the_mean_row_where_the_sum_of_the_direction_would_turn_it_round():
    """Rows of -1 along one axis and a little along others: sum(v_0) > 0 would point away from every row."""
    rng = np.random.default_rng(0)
    axis = np.array([-3.0, 1.0, 1.0, 0.5, 0.0, 0.0])
    strength = rng.uniform(1, 2, 200)
    parts = decompose(np.outer(strength, axis) + 0.01 * rng.standard_normal((200, 6)), 1)
    assert parts.v[0].sum() < 0, "the old rule would have turned this direction"
    assert np.corrcoef(parts.u[:, 0], strength)[0, 1] > 0.99


def test_components_of_a_matrix_of_low_rank_are_refused():
    with pytest.raises(UserError, match="rank below"):
        decompose(np.outer(np.arange(1.0, 9), np.ones(3)), 2)


def test_u0_is_the_first_left_singular_vector_of_the_raw_matrix(tiny):
    matrix = embedding_matrix(tiny)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(u0(tiny), u[:, 0] * np.sign(vt[0] @ matrix.mean(axis=0)), atol=1e-8)


def test_planted_idf_is_found_in_component_0_and_nowhere_else(planted):
    model, idf = planted
    found = idf_correlations(model, idf, k=10)
    assert found["pearson"][0] < -0.95 and found["spearman"][0] < -0.95
    assert found["pearson"][1:].abs().max() < 0.1
    assert found["n_words"][0] == len(word_table(model, idf))


def test_controls_see_through_a_norm_that_carries_the_same_signal(planted):
    """In the planted matrix the norm tells the same as U0, so little is left of U0 once the norm is known."""
    model, idf = planted
    controls = idf_controls(model, idf, n=20).set_index("quantity")
    assert controls.loc["U0", "low"] <= controls.loc["U0", "pearson"] <= controls.loc["U0", "high"] < -0.95
    assert controls.loc["embedding norm", "pearson"] < -0.9
    assert abs(controls.loc["token id", "pearson"]) < 0.05
    assert abs(controls.loc["U0 given norm and token id", "pearson"]) < abs(controls.loc["U0", "pearson"])


def test_whole_words_are_words(tokenizer):
    table = whole_words(tokenizer)
    assert {"is", "river"} <= set(table)
    assert not {"##ing", "a", "1984", "[CLS]", "!"} & set(table)
    assert table["river"] == tokenizer.convert_tokens_to_ids("river")


def test_idf_of_a_collection_is_lucenes():
    collection = Collection("two", {"1": "river water", "2": "river bank"}, {"q": "river"}, {})
    found = idf_values("collection", collection)
    assert found["river"] == pytest.approx(np.log(1 + 0.5 / 2.5))
    assert found["bank"] == pytest.approx(np.log(1 + 1.5 / 1.5))


def test_missing_tables_and_unknown_sources_are_named(tmp_path, tiny):
    with pytest.raises(UserError, match="SEMANTICBM_DATA"):
        idf_values("msmarco", folder=tmp_path)
    with pytest.raises(UserError, match="unknown IDF source"):
        idf_values("wikipedia")
    with pytest.raises(UserError, match="pass the collection"):
        idf_values("collection")
    with pytest.raises(UserError, match="have an IDF"):
        word_table(tiny, {"river": 1.0})


def test_msmarco_table(data_folder):
    found = idf_values("msmarco", folder=data_folder)
    assert found["is"] < 1 < found["river"]


# --------------------------------------------------------------------------------------------------------------------
# Edit


def _encoded(model, pair):
    texts = [pair.baseline_pair, pair.perturbed_pair]
    return texts, model.encode(texts)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("both", ["em", "##bed", "##ding", "##s"] * 2),
        ("query", ["em", "##bed", "##ding", "##s"]),
        ("document", ["em", "##bed", "##ding", "##s"]),
    ],
)
def test_all_pieces_of_the_term_are_edited(tiny, where, expected):
    texts, encoding = _encoded(tiny, PAIRS[0])
    mask = term_positions(Pieces(tiny.tokenizer), encoding, texts, ["embeddings"] * 2, where)
    perturbed = [piece for piece, hit in zip(tiny.tokens(encoding, 1), mask[1].tolist(), strict=False) if hit]
    assert perturbed == expected
    assert int(mask[0].sum()) == (0 if where == "document" else 4)


@pytest.mark.parametrize("kind", ["u0", "random", "singular", "row"])
def test_edit_equals_the_hooks(tiny, kind):
    texts, encoding = _encoded(tiny, PAIRS[1])
    mask = term_positions(Pieces(tiny.tokenizer), encoding, texts, [PAIRS[1].term] * 2)
    directions = edit_directions(tiny, kind, n=3)
    edits = [(directions[-1], 2.0), (directions[0], -1.0)]
    found = edited_scores(tiny, encoding, mask, edits)
    np.testing.assert_allclose(edited_scores(tiny, encoding, mask, edits, batch_size=1), found, atol=1e-5)
    for (direction, steps), scores in zip(edits, found, strict=True):

        def move(vectors, direction=direction, steps=steps):
            vectors = vectors.clone()
            vectors[mask] += steps * direction.shift(vectors[mask])
            return vectors

        by_hooks = oracle.run(tiny.hf, encoding.inputs, [(oracle.after, word_embeddings(tiny.hf), move)])
        np.testing.assert_allclose(scores, by_hooks.numpy(), atol=1e-5)
        assert np.abs(scores - tiny.logits(encoding).numpy()).min() > 1e-4


def test_edit_moves_u0_by_the_stated_amount(tiny):
    """An edit of s moves the term's coordinate U0 by s std(U0), and no other coordinate."""
    direction, parts = edit_directions(tiny, "u0")[0], decompose(embedding_matrix(tiny), 5)
    vector = torch.as_tensor(embedding_matrix(tiny)[2000])
    moved = (vector + 2 * direction.shift(vector)).numpy()
    before, after = vector.numpy() @ parts.v.T / parts.s, moved @ parts.v.T / parts.s
    np.testing.assert_allclose(after - before, [2 * parts.u[:, 0].std(), 0, 0, 0, 0], atol=1e-9)


def test_step_0_gives_the_models_scores_and_weights_stay(tiny):
    before = word_embeddings(tiny.hf).weight.clone()
    found = edit_effects(tiny, PAIRS, direction="random", n=2)
    assert torch.equal(before, word_embeddings(tiny.hf).weight)
    assert found.baseline.shape == found.perturbed.shape == (3, 2, 5)
    for side, pairs in (
        (found.baseline, [pair.baseline_pair for pair in PAIRS]),
        (found.perturbed, [pair.perturbed_pair for pair in PAIRS]),
    ):
        for number in range(2):
            np.testing.assert_allclose(side[:, number, 2], tiny.score_pairs(pairs), atol=1e-5)


def test_edits_of_the_document_alone_leave_a_baseline_without_the_term(tiny):
    found = edit_effects(tiny, PAIRS[:1], where="document")
    assert np.ptp(found.baseline) < 1e-5 < np.ptp(found.perturbed)


def test_random_directions_are_fixed_by_their_seed(tiny):
    first, again, other = (edit_directions(tiny, "random", 3, seed)[2].vector for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.allclose(first, other)


def test_slopes_of_a_planted_line():
    """Two queries, S_p - S_b = -0.5 s and -1.5 s: slopes -0.5 and -1.5; documents of a query are averaged first."""
    steps = np.array([-1.0, 0.0, 1.0])
    contribution = np.array([-0.25, -0.75, -1.5])[:, None, None] * steps
    effects = EditEffects(["U0"], steps, ["a", "a", "b"], np.ones((3, 1, 3)), 1 + contribution)
    np.testing.assert_allclose(effects.slopes, [[-0.5], [-1.5]])
    row = effects.table().iloc[0]
    assert (row["slope"], row["n_queries"]) == (-1.0, 2)
    assert row["+1"] == pytest.approx(-1.0)


def test_bad_requests_are_named(tiny):
    with pytest.raises(UserError, match="unknown direction"):
        edit_effects(tiny, PAIRS, direction="up")
    with pytest.raises(UserError, match="where="):
        edit_effects(tiny, PAIRS, where="title")
    with pytest.raises(UserError, match="at least one pair"):
        edit_effects(tiny, [])
