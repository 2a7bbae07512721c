"""What an explanation reads in one trace with a short last layer is what whole passes give, pair by pair."""

import numpy as np
import pytest
import torch
from builders import random_bert

from semanticbm.bert import layers, projection
from semanticbm.errors import UserError
from semanticbm.explaining.explanation import explain
from semanticbm.explaining.reading import read_fillers, read_pairs
from semanticbm.one_pass import last_layer_of_cls
from semanticbm.written import query_slopes, read_query

PAIRS = [
    ("river bank", "The bank of the river was steep."),
    ("deep water in the river", "Water runs."),
    ("bank", "A bank lends money to people who can prove that they need none, and takes it back when it rains."),
]
HEADS = [(0, 1), (0, 3), (1, 0)]


@torch.no_grad()
def plain_pair(model, pair):
    """(score, state, pattern, values) of one pair alone, from Hugging Face's own outputs."""
    encoding = model.encode([pair])
    query, document = slice(*encoding.query_spans[0]), slice(*encoding.document_spans[0])
    found = model.hf(**encoding.inputs, output_attentions=True, output_hidden_states=True)
    states = found.hidden_states
    values = [projection(layer, "v")(state)[0] for layer, state in zip(layers(model.hf), states[:-1], strict=True)]
    by_head = [of_layer.unflatten(-1, (model.n_heads, -1)) for of_layer in values]
    pattern = torch.stack([found.attentions[layer][0, head, query, document] for layer, head in HEADS])
    return found.logits[0, 0], states[-2][0, query], pattern, torch.stack([by_head[a][document, b] for a, b in HEADS])


def plain_slopes(model, pair):
    """(score, state, slope, head slopes, weights) of one pair alone, from chapter 9's traces and their gradient."""
    query, document = pair
    reading, slopes = read_query(model, query, [document]), query_slopes(model, query, [document])
    chosen, cls = np.stack([slopes.heads[0, layer, :, head] for layer, head in HEADS]), reading.cls[0, -1].mean(axis=0)
    return reading.score[0], reading.state[0], slopes.state[0], chosen, cls / cls.sum()


def assert_same(found, wanted, names, tolerance):
    for name, value in zip(names, wanted, strict=True):
        np.testing.assert_allclose(getattr(found, name), value, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("fixture", "tolerance"), [("model", 1e-10), ("classroom_model", 1e-4)])
def test_a_padded_batch_reads_what_each_pair_reads_alone(request, fixture, tolerance):
    model = request.getfixturevalue(fixture)
    for pair, found in zip(PAIRS, read_pairs(model, PAIRS, HEADS), strict=True):
        assert_same(found, plain_pair(model, pair), ("score", "state", "pattern", "values"), tolerance)
        assert found.pieces == model.tokenizer.tokenize(pair[1])


@pytest.mark.parametrize(("fixture", "tolerance"), [("model", 1e-10), ("classroom_model", 1e-4)])
def test_slopes_are_those_of_a_trace(request, fixture, tolerance):
    model = request.getfixturevalue(fixture)
    found, names = read_fillers(model, PAIRS, HEADS), ("score", "state", "slope", "head_slopes", "weights")
    for pair in PAIRS:
        assert_same(found[pair], plain_slopes(model, pair), names, tolerance)


@torch.no_grad()
def test_the_last_layer_of_cls_alone_is_the_last_layer(model):
    encoding = model.encode(PAIRS)
    whole = model.hf(**encoding.inputs, output_attentions=True, output_hidden_states=True)
    mask = encoding.visible
    written, pattern = last_layer_of_cls(model, whole.hidden_states[-2], mask)
    np.testing.assert_allclose(written, whole.hidden_states[-1][:, :1], atol=1e-10)
    np.testing.assert_allclose(pattern, whole.attentions[-1][:, :, :1], atol=1e-12)
    assert (pattern * ~mask).abs().max() == 0


def test_a_model_of_one_layer_is_refused_in_one_line(tokenizer):
    one = random_bert(tokenizer, 1, 2, d_head=4, d_mlp=8, name="one")
    with pytest.raises(UserError, match="two layers"):
        explain(one, *PAIRS[0])
