"""One pass against nnsight and hooks: streams of frozen heads, positions apart, batches of senders."""

import hooks_oracle as oracle
import numpy as np
import pytest
import torch

from semanticbm.one_pass import effects_on_score, effects_through_receivers, frozen_streams
from semanticbm.patching import record
from semanticbm.path_patching import receiver_effects_textbook, score_effects_textbook

BASELINES = [("cats and dogs", "the dog runs over a hill today"), ("red house", "a house")]
PERTURBED = [("cats and dogs", "the dog runs over a cat today"), ("red house", "a river")]
RECEIVERS = {1: [0, 2], 2: [3]}


@pytest.fixture(scope="module")
def runs(tiny):
    """The runs on two pairs of different lengths, so that one of them is padded."""
    return [record(tiny, tiny.encode(pairs)) for pairs in (BASELINES, PERTURBED)]


def senders(model):
    return list(np.ndindex(model.n_layers, model.n_heads))


def close(found, wanted):
    return torch.allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("memory", [1, 2**28])
def test_effects_on_the_score_equal_the_traces_and_the_hooks(tiny, runs, memory):
    """memory=1: one sender at a time."""
    ours, theirs = runs
    effects = effects_on_score(tiny, ours, theirs, memory)
    assert effects.shape == (12, 2) and float(effects.abs().max()) > 0.01
    assert close(effects, score_effects_textbook(tiny, ours, theirs))
    by_hooks = oracle.direct(tiny.hf, ours.encoding.inputs, theirs.encoding.inputs).reshape(12, 2)
    assert np.allclose(effects.numpy(), by_hooks - ours.scores.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("memory", [1, 2**28])
@pytest.mark.parametrize("into", ["q", "kv"])
def test_effects_through_receivers_in_two_layers_equal_the_traces_and_the_hooks(tiny, runs, into, memory):
    ours, theirs = runs
    effects = effects_through_receivers(tiny, ours, theirs, RECEIVERS, into, memory)
    assert effects.shape == (8, 2) and float(effects.abs().max()) > 1e-3  # only layers 0 and 1 send
    assert close(effects, receiver_effects_textbook(tiny, ours, theirs, RECEIVERS, into))
    heads = [(layer, head) for layer, some in RECEIVERS.items() for head in some]
    by_hooks = oracle.through(tiny.hf, ours.encoding.inputs, theirs.encoding.inputs, heads, into)[:2].reshape(8, 2)
    assert np.allclose(effects.numpy(), by_hooks - ours.scores.numpy(), rtol=0, atol=1e-5)


def test_the_stream_without_a_sender_is_the_baselines(tiny, runs):
    ours, theirs = runs
    streams = list(frozen_streams(tiny, ours, theirs, senders(tiny)))
    assert [len(stream) for stream in streams] == [1, 5, 9, 13]  # a sender gets its row in its own layer
    for stream, residual in zip(streams, ours.residual, strict=False):
        assert close(stream[0], residual)


def test_no_position_looks_at_another_one_while_heads_are_frozen(tiny, runs):
    """What the whole argument rests on: [CLS] alone gives the [CLS] of all positions together."""
    ours, theirs = runs
    *_, everywhere = frozen_streams(tiny, ours, theirs, senders(tiny))
    *_, alone = frozen_streams(tiny, ours.at(slice(1)), theirs.at(slice(1)), senders(tiny))
    assert close(alone[:, :, 0], everywhere[:, :, 0])
    assert float((alone[1:] - alone[:1]).abs().max()) > 0.01


def test_a_run_against_itself_moves_nothing(tiny, runs):
    ours, _ = runs
    assert float(effects_on_score(tiny, ours, ours).abs().max()) < 1e-6
    assert float(effects_through_receivers(tiny, ours, ours, RECEIVERS, "qkv").abs().max()) < 1e-6


def test_nothing_is_sent_to_layer_0(tiny, runs):
    assert effects_through_receivers(tiny, *runs, {0: [1]}, "v").shape == (0, 2)
