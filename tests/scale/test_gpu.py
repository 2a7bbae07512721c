"""The same numbers on CPU and GPU, within 1e-3 logits: run where a GPU is.

float32 products are summed in another order on a GPU. Scores of the classroom model are of size 10: 1e-3 is one in 10,000.
"""

import numpy as np
import pytest
import torch

from semanticbm.attention import attention_patterns, mass_on_document
from semanticbm.ladder import load, pick_device
from semanticbm.path_patching import direct_effects
from semanticbm.scale.measurements import rows_that_fit

TOLERANCE = 1e-3
PAIRS = [("river bank", "The bank of the stream is steep."), ("river bank", "Banks lend money to people.")] * 5
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.fixture(scope="module")
def both():
    return load("classroom", "cpu"), load("classroom", "cuda")


@gpu
def test_scores_and_matching_scores_are_those_of_the_cpu(both):
    here, there = both
    np.testing.assert_allclose(there.score_pairs(PAIRS), here.score_pairs(PAIRS), atol=TOLERANCE)
    for ours, theirs in zip(attention_patterns(here, PAIRS), attention_patterns(there, PAIRS), strict=True):
        np.testing.assert_allclose(mass_on_document(theirs), mass_on_document(ours), atol=TOLERANCE)


@gpu
def test_direct_effects_are_those_of_the_cpu(both):
    pair = ("river bank", "the hill of the stream"), ("river bank", "the bank of the stream")
    ours, theirs = (direct_effects(model, *pair) for model in both)
    np.testing.assert_allclose(theirs, ours, atol=TOLERANCE)


@gpu
def test_batches_follow_the_free_memory(both):
    assert 1 <= rows_that_fit(both[1], 10**6) < 10**6


@pytest.mark.parametrize(("free", "rows"), [(0, 1), (2**34, 64)])
def test_batches_follow_a_faked_free_memory(tiny, monkeypatch, free, rows):
    monkeypatch.setattr(type(tiny), "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 * 2**30))
    assert rows_that_fit(tiny, 64) == rows


def test_mps_is_a_device_where_a_mac_has_it(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("mps").type == "mps"
