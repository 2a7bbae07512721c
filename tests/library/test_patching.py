"""Activation patching against plain PyTorch hooks, batched against one by one, sanity checks and bad input."""

import hooks_oracle as oracle
import numpy as np
import pytest
import torch
from builders import (
    BASELINE,
    CAT_MAT,
    COMPILED_PAIRS,
    PERTURBED,
    QUICK,
    TOLERANCE,
    bfloat16_tolerance,
    copy_as,
    pair_of,
    small_bert,
    tolerance,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from semanticbm.compiled import compile_bm25
from semanticbm.errors import UserError
from semanticbm.patching import SITES, activation_patching, attribution_patching, gradients, metric, record


def both_inputs(model, baseline, perturbed):
    return model.encode([baseline]).inputs, model.encode([perturbed]).inputs


def expected(model, baseline, perturbed, site, positions):
    """The metric by hooks, one position set at a time: float [layer] or [layer, head]."""
    first, second = both_inputs(model, baseline, perturbed)
    heads = range(model.n_heads) if site == "heads" else [None]
    patched = np.array(
        [
            [float(oracle.activation(model.hf, first, second, site, layer, positions, head)) for head in heads]
            for layer in range(model.n_layers)
        ]
    )
    score_b, score_p = float(oracle.run(model.hf, first)), float(oracle.run(model.hf, second))
    shares = (patched - score_b) / (score_p - score_b)
    return shares if site == "heads" else shares[:, 0]


@pytest.mark.parametrize("site", SITES)
def test_equals_the_hooks_at_all_positions(tiny, site):
    found = activation_patching(tiny, BASELINE, PERTURBED, site)
    everywhere = range(tiny.encode([BASELINE]).input_ids.shape[1])
    assert np.allclose(found, expected(tiny, BASELINE, PERTURBED, site, everywhere), rtol=0, atol=TOLERANCE)
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("site", SITES)
def test_equals_the_hooks_at_each_position(tiny, site):
    found = activation_patching(tiny, BASELINE, PERTURBED, site, "each")
    for position in (0, 5, found.shape[-1] - 1):
        there = expected(tiny, BASELINE, PERTURBED, site, [position])
        assert np.allclose(found[..., position], there, rtol=0, atol=TOLERANCE)
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("site", SITES)
def test_chosen_positions_are_patched_together(tiny, site):
    found = activation_patching(tiny, BASELINE, PERTURBED, site, [0, 3])
    assert np.allclose(found, expected(tiny, BASELINE, PERTURBED, site, [0, 3]), rtol=0, atol=TOLERANCE)


@settings(**QUICK)
@given(
    n_layers=st.integers(1, 4),
    n_heads=st.integers(1, 4),
    length=st.integers(1, 20),
    seed=st.integers(0, 99),
    site=st.sampled_from(SITES),
)
def test_batched_equals_one_by_one_equals_hooks_on_random_models(tokenizer, n_layers, n_heads, length, seed, site):
    model, pairs = small_bert(tokenizer, n_layers, n_heads), pair_of(seed, length)
    assume(abs(np.diff(model.score_pairs(pairs))[0]) > 0.01)  # the metric is for pairs that differ
    atol = tolerance(model, *pairs)
    alone = activation_patching(model, *pairs, site=site, positions=[0, 4], batch_size=1)
    assert np.allclose(activation_patching(model, *pairs, site=site, positions=[0, 4]), alone, rtol=0, atol=atol)
    assert np.allclose(alone, expected(model, *pairs, site, [0, 4]), rtol=0, atol=atol)


@pytest.mark.parametrize("site", SITES)
def test_compiled_model(site):
    model = compile_bm25(CAT_MAT)
    everywhere = range(model.encode([COMPILED_PAIRS[0]]).input_ids.shape[1])
    found = activation_patching(model, *COMPILED_PAIRS, site=site)
    assert np.allclose(found, expected(model, *COMPILED_PAIRS, site, everywhere), rtol=0, atol=TOLERANCE)
    if site == "heads":  # the two heads of BM25 stand in line: either of them carries everything
        assert np.allclose(found, 1.0, atol=1e-3)


@pytest.mark.parametrize("site", SITES)
def test_classroom_model(classroom_model, site):
    together = activation_patching(classroom_model, BASELINE, PERTURBED, site, [0, 2])
    parts = activation_patching(classroom_model, BASELINE, PERTURBED, site, [0, 2], batch_size=5)
    atol = tolerance(classroom_model, BASELINE, PERTURBED)
    assert np.allclose(together, parts, rtol=0, atol=atol)
    assert np.allclose(together, expected(classroom_model, BASELINE, PERTURBED, site, [0, 2]), rtol=0, atol=atol)


@pytest.mark.parametrize("site", SITES)
def test_equal_inputs_give_exactly_zero(tiny, site):
    found = activation_patching(tiny, BASELINE, BASELINE, site, "each")
    assert found.shape[0] == tiny.n_layers and (found == 0.0).all()


def test_the_whole_residual_stream_gives_one(tiny):
    assert np.allclose(activation_patching(tiny, BASELINE, PERTURBED, "residual"), 1.0, atol=TOLERANCE)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_size_of_the_batch_does_not_matter(tiny, batch_size):
    whole = activation_patching(tiny, BASELINE, PERTURBED, "heads", "each")
    parts = activation_patching(tiny, BASELINE, PERTURBED, "heads", "each", batch_size)
    assert np.allclose(parts, whole, rtol=0, atol=TOLERANCE)


def test_a_recorded_run_equals_the_hooks(tiny):
    encoding = tiny.encode([BASELINE, PERTURBED])
    run, kept = record(tiny, encoding), oracle.keep(tiny.hf, encoding.inputs)
    for ours, theirs in ((run.z, kept.z), (run.residual, kept.residual), ([run.scores], [kept.score])):
        assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(ours, theirs, strict=True))
    assert torch.equal(run.at(slice(1)).z[2], run.z[2][:, :1])


def test_patching_leaves_the_model_as_it_was(tiny):
    before = tiny.score_pairs([BASELINE, PERTURBED])
    activation_patching(tiny, BASELINE, PERTURBED, "heads")
    attribution_patching(tiny, BASELINE, PERTURBED)
    assert np.array_equal(before, tiny.score_pairs([BASELINE, PERTURBED]))
    assert not any(parameter.requires_grad for parameter in tiny.hf.parameters())


# Attribution patching


def test_gradient_is_the_limit_of_small_patches(tiny):
    """Finite differences in float64, by hooks: a small step in z changes the score by gradient times step."""
    model = copy_as(tiny, torch.double)
    encoding, layer, step = model.encode([BASELINE]), 1, 1e-5
    z, slopes = gradients(model, encoding)
    direction = torch.randn(z[layer].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kind, module = oracle.ends(oracle.blocks(model.hf)[layer])["heads"]
    scores = [
        float(
            oracle.run(
                model.hf, encoding.inputs, [(kind, module, lambda value, sign=sign: value + sign * step * direction)]
            )
        )
        for sign in (1, -1)
    ]
    assert (scores[0] - scores[1]) / (2 * step) == pytest.approx(float((slopes[layer] * direction).sum()), rel=1e-6)


def test_attribution_is_gradient_times_difference(tiny):
    first, second = (tiny.encode([pair]) for pair in (BASELINE, PERTURBED))
    z_b, slopes = gradients(tiny, first)
    z_p = oracle.keep(tiny.hf, second.inputs).z
    change = float(tiny.logits(second)) - float(tiny.logits(first))
    guess = [
        [
            float((slopes[layer] * (z_p[layer] - z_b[layer]))[..., oracle.columns(tiny.hf, head)].sum()) / change
            for head in range(tiny.n_heads)
        ]
        for layer in range(tiny.n_layers)
    ]
    assert np.allclose(attribution_patching(tiny, BASELINE, PERTURBED), guess, atol=1e-4)
    assert (attribution_patching(tiny, BASELINE, BASELINE) == 0.0).all()


def test_attribution_follows_the_exact_effects_on_the_classroom_model(classroom_model):
    exact = activation_patching(classroom_model, BASELINE, PERTURBED, "heads")
    guess = attribution_patching(classroom_model, BASELINE, PERTURBED)
    assert np.corrcoef(exact.ravel(), guess.ravel())[0, 1] > 0.5


# bfloat16


def test_bfloat16_within_its_precision(tiny):
    model = copy_as(tiny, torch.bfloat16)
    atol = bfloat16_tolerance(model, BASELINE, PERTURBED)
    together, alone = (activation_patching(model, BASELINE, PERTURBED, "heads", batch_size=n) for n in (64, 1))
    assert np.allclose(together, alone, rtol=0, atol=atol)


# The metric and bad input


def test_metric_is_a_share_and_refuses_to_divide_by_nothing():
    assert metric(np.array([1.0, 2.0, 3.0]), 1.0, 3.0).tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(UserError, match="differ by"):
        metric(np.array([1.0]), 1.0, 1.0)


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ((BASELINE, ("cats and dogs", "the dog")), {}, "tokens"),
        ((BASELINE, PERTURBED), {"site": "value"}, "site"),
        ((BASELINE, PERTURBED), {"positions": [99]}, "positions"),
        ((BASELINE, PERTURBED), {"positions": []}, "positions"),
        ((BASELINE, PERTURBED), {"positions": "every"}, "positions"),
        ((("q", ""), ("q", "a")), {}, "empty"),
        ((("cat", "dog " * 600), ("cat", "cow " * 600)), {}, "512"),
    ],
)
def test_bad_input_is_one_clear_line(tiny, pairs, options, message):
    with pytest.raises(UserError, match=message) as caught:
        activation_patching(tiny, *pairs, **options)
    assert "\n" not in str(caught.value)


def test_unequal_lengths_are_named(tiny):
    with pytest.raises(UserError, match=r"13 tokens.* 8"):
        activation_patching(tiny, BASELINE, ("cats and dogs", "the dog"))
