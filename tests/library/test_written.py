"""What heads write: against the definition computed by plain hooks, and exact where the truth is known."""

import hooks_oracle as oracle
import numpy as np
import pytest
import torch

from semanticbm.collection import Collection
from semanticbm.compiled import compile_bm25
from semanticbm.errors import UserError
from semanticbm.evaluation import pearson
from semanticbm.written import (
    SOURCES,
    add_up,
    by_length,
    leave_one_out,
    match_direction,
    match_signals,
    query_slopes,
    read_query,
    term_weights,
    written,
)

QUERY = "red house river"
DOCUMENTS = ["a red cat", "the river runs by an old red house today", "stone", "house house house of music"]


@pytest.fixture(scope="module")
def reading(tiny):
    return read_query(tiny, QUERY, DOCUMENTS)


def plain_run(model, document):
    """Attention, values, z and score of one pair from the Hugging Face model, with plain hooks for the values."""
    encoding, values = model.encode([(QUERY, document)]), []
    handles = [
        block.attention.self.value.register_forward_hook(lambda module, inputs, output: values.append(output[0]))
        for block in oracle.blocks(model.hf)
    ]
    try:
        with torch.no_grad():
            output = model.hf(**encoding.inputs, output_attentions=True, output_hidden_states=True)
    finally:
        for handle in handles:
            handle.remove()
    return encoding, output, values


@pytest.mark.parametrize("sources", SOURCES)
def test_z_is_the_sum_of_attention_times_values_over_the_sources(tiny, sources):
    found = read_query(tiny, QUERY, DOCUMENTS, sources)
    for row, document in enumerate(DOCUMENTS):
        encoding, output, values = plain_run(tiny, document)
        (first, stop), columns = encoding.query_spans[0], range(encoding.input_ids.shape[1])
        if sources == "document":
            columns = range(*encoding.document_spans[0])
        for layer in range(tiny.n_layers):
            v = values[layer].unflatten(-1, (tiny.n_heads, -1))  # [position, head, d_head]
            for head in range(tiny.n_heads):
                pattern = output.attentions[layer][0, head]
                for piece, i in enumerate(range(first, stop)):
                    expected = sum(pattern[i, j] * v[j, head] for j in columns)
                    assert np.allclose(found.z[row, layer, piece, head], expected.numpy(), atol=1e-5)


def test_state_cls_and_score_are_the_models(tiny, reading):
    for row, document in enumerate(DOCUMENTS):
        encoding, output, _ = plain_run(tiny, document)
        pieces = slice(*encoding.query_spans[0])
        assert np.allclose(reading.state[row], output.hidden_states[-2][0, pieces].numpy(), atol=1e-5)
        assert reading.score[row] == pytest.approx(float(output.logits), abs=1e-5)
        for layer in range(tiny.n_layers):
            cls = output.attentions[layer][0, :, 0, pieces].numpy()
            assert np.allclose(reading.cls[row, layer], cls, atol=1e-5)


def test_term_weights_average_heads_and_documents(tiny, reading):
    assert np.allclose(
        reading.term_weights([(1, 2), (2, 0)]), (reading.cls[:, 1, 2] + reading.cls[:, 2, 0]).mean(0) / 2
    )
    assert np.allclose(reading.term_weights(), reading.cls[:, -1].mean(axis=(0, 1)))
    assert np.allclose(term_weights(tiny, QUERY, DOCUMENTS, [(1, 2)]), reading.cls[:, 1, 2].mean(0))


def test_slopes_are_derivatives(tiny):
    """Finite differences: a small step in z (and in the state) changes the score by slope times step."""
    slopes, step = query_slopes(tiny, QUERY, DOCUMENTS), 1e-2
    encoding = tiny.encode([(QUERY, DOCUMENTS[1])])
    first = encoding.query_spans[0][0]
    rng = np.random.default_rng(0)
    for layer in range(tiny.n_layers - 1):
        kick = rng.normal(size=tiny.d_model)
        kind, module = oracle.ends(oracle.blocks(tiny.hf)[layer])["heads"]

        def pushed(value, sign, kick=kick):
            moved = value.clone()
            moved[:, first + 1] += sign * step * torch.tensor(kick, dtype=value.dtype)
            return moved

        scores = [
            float(oracle.run(tiny.hf, encoding.inputs, [(kind, module, lambda value, s=sign: pushed(value, s))]))
            for sign in (1, -1)
        ]
        expected = slopes.heads[1, layer, 1].reshape(-1) @ kick
        assert (scores[0] - scores[1]) / (2 * step) == pytest.approx(expected, rel=0.05, abs=1e-3)


def test_written_is_the_product_with_the_slopes(tiny, reading):
    direction = match_direction(tiny, {QUERY: DOCUMENTS, "cat": DOCUMENTS[:2]})
    found = written(tiny, QUERY, DOCUMENTS, direction.heads)
    by_hand = reading.z[2, 1, 0, 3] @ direction.heads[0, 1, 0, 3]
    assert found.shape == (4, tiny.n_layers, tiny.n_heads, 3) and found[2, 1, 3, 0] == pytest.approx(by_hand, abs=1e-6)
    signals = match_signals(tiny, QUERY, DOCUMENTS, direction)
    assert signals[1, 2] == pytest.approx(reading.state[1, 2] @ direction.state, abs=1e-6)


def test_direction_averages_inside_queries_first(tiny):
    one, other = query_slopes(tiny, QUERY, DOCUMENTS), query_slopes(tiny, "cat", DOCUMENTS[:2])
    direction = match_direction(tiny, {QUERY: DOCUMENTS, "cat": DOCUMENTS[:2]})
    expected = (one.heads.mean(axis=(0, 2)) + other.heads.mean(axis=(0, 2))) / 2
    assert np.allclose(direction.heads[0, :, 0], expected)
    assert np.allclose(direction.state, (one.state.mean(axis=(0, 1)) + other.state.mean(axis=(0, 1))) / 2)


def test_leave_one_out_never_uses_the_document_at_hand():
    slopes = np.array([1.0, 2.0, 6.0])[:, None]
    assert leave_one_out(slopes)[:, 0].tolist() == [4.0, 3.5, 1.5]
    with pytest.raises(UserError, match="two documents"):
        leave_one_out(slopes[:1])


def test_add_up_weighs_and_sums():
    at = np.arange(2 * 1 * 2 * 3, dtype=float).reshape(2, 1, 2, 3)  # [document, layer, head, piece]
    assert add_up(at, [(0, 1)]).tolist() == [3 + 4 + 5, 9 + 10 + 11]
    assert add_up(at, [(0, 0), (0, 1)], np.array([1.0, 0.0, 2.0])).tolist() == [3 + 14, 15 + 38]


def test_on_the_compiled_model_the_reading_is_the_score():
    """What head 0.0 writes along each word's own slope is BM25, and so is weight times match one step later."""
    texts = {str(n): text for n, text in enumerate(DOCUMENTS)} | {"x": "a cat and a red stone by the house"}
    model = compile_bm25(Collection("tiny", texts, {"q": QUERY}, {}, {}))
    documents = list(texts.values())
    reading, slopes = read_query(model, QUERY, documents), query_slopes(model, QUERY, documents)
    assert pearson(add_up(reading.written(leave_one_out(slopes.heads)), [(0, 0)]), reading.score) > 0.9999
    direction = match_direction(model, {QUERY: documents})
    signals = (reading.match_signals(direction.state) * reading.term_weights([(1, 0)])).sum(-1)
    assert pearson(signals, reading.score) > 0.9999


def test_unknown_sources_are_refused(tiny):
    with pytest.raises(UserError, match="sources"):
        read_query(tiny, QUERY, DOCUMENTS, "query")


def test_reading_by_length_is_reading_in_one_batch(tiny):
    documents = ["bank " * n for n in (9, 1, 5, 30, 2, 7, 12, 3, 4, 20)]
    together, parts = (read(tiny, "river bank", documents) for read in (query_slopes, partly))
    np.testing.assert_allclose(parts.heads, together.heads, atol=1e-5)
    np.testing.assert_allclose(parts.state, together.state, atol=1e-5)


def partly(model, query, documents):
    return by_length(model, query, documents, query_slopes)
