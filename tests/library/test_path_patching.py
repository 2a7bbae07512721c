"""Path patching against plain PyTorch hooks, fast form against textbook form, many pairs, and bad input."""

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
from semanticbm.patching import encode_both
from semanticbm.path_patching import (
    METHODS,
    direct_effects,
    direct_effects_many,
    effects_on_receivers,
    effects_on_receivers_many,
    path_to_score,
)

OTHERS = [
    (BASELINE, PERTURBED),
    (("red house", "a house"), ("red house", "a river")),
    (
        ("stone", "light music in the old cat house by the river"),
        ("stone", "light music in the old stone house by the river"),
    ),
]
RECEIVERS = [(1, 0), (2, 1), (2, 3)]


def expected(model, baseline, perturbed, receivers=(), into=""):
    """The metric by hooks: float [layer, head]."""
    first, second = model.encode([baseline]).inputs, model.encode([perturbed]).inputs
    patched = (
        oracle.through(model.hf, first, second, receivers, into)
        if receivers
        else oracle.direct(model.hf, first, second)
    )[..., 0]
    score_b, score_p = float(oracle.run(model.hf, first)), float(oracle.run(model.hf, second))
    return (patched - score_b) / (score_p - score_b)


def close(found, wanted, atol=TOLERANCE):
    return np.allclose(found, wanted, rtol=0, atol=atol, equal_nan=True)


# Against the hooks


@pytest.mark.parametrize("method", METHODS)
def test_direct_effects_equal_the_hooks(tiny, method):
    found = direct_effects(tiny, BASELINE, PERTURBED, method)
    assert found.shape == (tiny.n_layers, tiny.n_heads) and np.abs(found).max() > 0.1
    assert close(found, expected(tiny, BASELINE, PERTURBED))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("into", ["q", "k", "v", "qk"])
def test_effects_on_receivers_equal_the_hooks(tiny, into, method):
    found = effects_on_receivers(tiny, BASELINE, PERTURBED, RECEIVERS, into, method)
    assert np.isnan(found[2]).all() and np.nanmax(np.abs(found)) > 0.1
    assert close(found, expected(tiny, BASELINE, PERTURBED, RECEIVERS, into))


@settings(**QUICK)
@given(n_layers=st.integers(1, 4), n_heads=st.integers(1, 4), length=st.integers(1, 20), seed=st.integers(0, 99))
def test_direct_effects_on_random_models(tokenizer, n_layers, n_heads, length, seed):
    model, pairs = small_bert(tokenizer, n_layers, n_heads), pair_of(seed, length)
    assume(abs(np.diff(model.score_pairs(pairs))[0]) > 0.01)  # the metric is for pairs that differ
    atol, textbook = tolerance(model, *pairs), direct_effects(model, *pairs, "textbook")
    assert close(direct_effects(model, *pairs), textbook, atol)
    assert close(textbook, expected(model, *pairs), atol)


@settings(**QUICK)
@given(
    data=st.data(),
    n_layers=st.integers(2, 4),
    n_heads=st.integers(1, 3),
    length=st.integers(1, 12),
    seed=st.integers(0, 99),
    into=st.sampled_from("qkv"),
)
def test_effects_on_receivers_on_random_models(tokenizer, data, n_layers, n_heads, length, seed, into):
    heads = st.tuples(st.integers(1, n_layers - 1), st.integers(0, n_heads - 1))
    receivers = data.draw(st.lists(heads, min_size=1, max_size=3, unique=True))
    model, pairs = small_bert(tokenizer, n_layers, n_heads), pair_of(seed, length)
    assume(abs(np.diff(model.score_pairs(pairs))[0]) > 0.01)
    atol, textbook = tolerance(model, *pairs), effects_on_receivers(model, *pairs, receivers, into, "textbook")
    assert close(effects_on_receivers(model, *pairs, receivers, into), textbook, atol)
    assert close(textbook, expected(model, *pairs, receivers, into), atol)


def test_compiled_model_has_the_circuit_that_was_written():
    """Head 1.0 sums up the score at [CLS]; head 0.0 reaches it through the values of 1.0, and in no direct way."""
    model = compile_bm25(CAT_MAT)
    wanted = expected(model, *COMPILED_PAIRS)
    through = expected(model, *COMPILED_PAIRS, [(1, 0)], "v")
    for method in METHODS:
        found = direct_effects(model, *COMPILED_PAIRS, method)
        assert close(found, wanted) and np.allclose(found, [[0], [1]], atol=1e-3)
        heard = effects_on_receivers(model, *COMPILED_PAIRS, [(1, 0)], "v", method)
        assert close(heard, through) and np.allclose(heard[0], 1, atol=1e-3)


def test_classroom_model(classroom_model):
    atol = tolerance(classroom_model, BASELINE, PERTURBED)
    fast = direct_effects(classroom_model, BASELINE, PERTURBED)
    assert close(fast, direct_effects(classroom_model, BASELINE, PERTURBED, "textbook"), atol)
    assert close(fast, expected(classroom_model, BASELINE, PERTURBED), atol)


@pytest.mark.parametrize("into", ["q", "k", "v", "qk"])
def test_receivers_in_the_last_layer_where_only_cls_counts(tiny, into):
    """The shortcut of the last layer: [CLS] asks alone, but all positions answer."""
    receivers = [(2, 0), (2, 3)]
    fast = effects_on_receivers(tiny, BASELINE, PERTURBED, receivers, into)
    assert close(fast, effects_on_receivers(tiny, BASELINE, PERTURBED, receivers, into, "textbook"))
    assert close(fast, expected(tiny, BASELINE, PERTURBED, receivers, into))
    assert np.abs(np.nan_to_num(fast)).max() > 1e-3


def test_receivers_in_the_classroom_model(classroom_model):
    atol, receivers = tolerance(classroom_model, BASELINE, PERTURBED), [(1, 3), (2, 7)]
    fast = effects_on_receivers(classroom_model, BASELINE, PERTURBED, receivers, "v")
    assert close(fast, effects_on_receivers(classroom_model, BASELINE, PERTURBED, receivers, "v", "textbook"), atol)
    assert close(fast, expected(classroom_model, BASELINE, PERTURBED, receivers, "v"), atol)


# Sanity


@pytest.mark.parametrize("method", METHODS)
def test_equal_inputs_give_exactly_zero(tiny, method):
    assert (direct_effects(tiny, BASELINE, BASELINE, method) == 0.0).all()
    found = effects_on_receivers(tiny, BASELINE, BASELINE, RECEIVERS, "k", method)
    assert (found[:2] == 0.0).all() and np.isnan(found[2]).all()


def test_freezing_to_the_own_values_changes_nothing_and_patching_all_heads_gives_the_perturbed_score(tiny):
    first, second = encode_both(tiny, [BASELINE], [PERTURBED])
    z_b, z_p = oracle.keep(tiny.hf, first.inputs).z, oracle.keep(tiny.hf, second.inputs).z
    assert float(path_to_score(tiny, first, z_b)) == pytest.approx(float(tiny.logits(first)), abs=1e-6)
    # [CLS] itself is the same in both pairs, so all heads together carry all of the change
    assert float(path_to_score(tiny, first, z_p)) == pytest.approx(float(tiny.logits(second)), abs=1e-6)


def test_a_head_that_does_not_write_at_cls_has_no_direct_effect(tiny):
    first, second = tiny.encode([BASELINE]).inputs, tiny.encode([PERTURBED]).inputs
    z_b, z_p = oracle.keep(tiny.hf, first).z, oracle.keep(tiny.hf, second).z
    elsewhere = [torch.cat([ours[:, :1], theirs[:, 1:]], dim=1) for ours, theirs in zip(z_b, z_p, strict=True)]
    assert float(oracle.run(tiny.hf, first, oracle.fix_heads(tiny.hf, elsewhere))) == pytest.approx(
        float(oracle.run(tiny.hf, first)), abs=1e-6
    )


def test_batch_equals_rows_and_padding_changes_nothing(tiny):
    baselines, perturbed = (list(side) for side in zip(*OTHERS, strict=True))
    many = direct_effects_many(tiny, baselines, perturbed, batch_size=3)
    for row, (one, other) in enumerate(OTHERS):
        assert close(many.effects[row] / many.changes[row], direct_effects(tiny, one, other))
        assert many.changes[row] == pytest.approx(float(np.diff(tiny.score_pairs([one, other]))[0]), abs=1e-5)
    assert close(direct_effects_many(tiny, baselines, perturbed, method="textbook").effects, many.effects)
    assert close(direct_effects_many(tiny, baselines, perturbed, batch_size=1).effects, many.effects)


@pytest.mark.parametrize("method", METHODS)
def test_receivers_on_many_pairs_equal_the_rows(tiny, method):
    baselines, perturbed = (list(side) for side in zip(*OTHERS, strict=True))
    many = effects_on_receivers_many(tiny, baselines, perturbed, RECEIVERS, "k", method)
    for row, (one, other) in enumerate(OTHERS):
        assert close(
            many.effects[row] / many.changes[row], effects_on_receivers(tiny, one, other, RECEIVERS, "k", method)
        )


def test_small_changes_are_counted_and_left_out(tiny):
    found = direct_effects_many(tiny, [BASELINE, BASELINE], [PERTURBED, BASELINE])
    assert found.left_out == 1 and found.kept.tolist() == [True, False]
    assert (found.effects[1] == 0.0).all() and found.changes[1] == 0.0
    shares = found.effects[found.kept] / found.changes[found.kept]
    assert close(shares, direct_effects(tiny, BASELINE, PERTURBED)[None])
    assert close(found.ratio_of_means(), direct_effects(tiny, BASELINE, PERTURBED))
    with pytest.raises(UserError, match="no pair moves"):
        direct_effects_many(tiny, [BASELINE], [BASELINE]).ratio_of_means()


def test_bfloat16_within_its_precision(tiny):
    model = copy_as(tiny, torch.bfloat16)
    atol = bfloat16_tolerance(model, BASELINE, PERTURBED)
    assert close(*(direct_effects(model, BASELINE, PERTURBED, method) for method in METHODS), atol)
    heard = [effects_on_receivers(model, BASELINE, PERTURBED, RECEIVERS, "v", method) for method in METHODS]
    assert close(*heard, atol)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_sent_to_layer_0(tiny, method):
    assert np.isnan(effects_on_receivers(tiny, BASELINE, PERTURBED, [(0, 1)], "v", method)).all()


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: direct_effects(model, BASELINE, ("cats and dogs", "the dog")), "13 tokens.* 8"),
        (lambda model: direct_effects(model, BASELINE, PERTURBED, "quick"), "method"),
        (lambda model: direct_effects(model, ("cat", "dog " * 600), ("cat", "cow " * 600)), "512"),
        (lambda model: direct_effects(model, BASELINE, PERTURBED, min_change=1e9), "differ by"),
        (lambda model: direct_effects_many(model, [BASELINE], []), "pair"),
        (lambda model: direct_effects_many(model, [], []), "no pair"),
        (lambda model: effects_on_receivers(model, BASELINE, PERTURBED, [], "v"), "receiver"),
        (lambda model: effects_on_receivers(model, BASELINE, PERTURBED, [(9, 0)], "v"), "no head 9.0"),
        (lambda model: effects_on_receivers(model, BASELINE, PERTURBED, RECEIVERS, "z"), "into"),
    ],
)
def test_bad_input_is_one_clear_line(tiny, call, message):
    with pytest.raises(UserError, match=message) as caught:
        call(tiny)
    assert "\n" not in str(caught.value)
