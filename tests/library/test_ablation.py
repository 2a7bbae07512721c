"""Ablation: roles and means by hand, nnsight against hooks, blocked attention against attention written out."""

import hooks_oracle as oracle
import numpy as np
import pytest
import torch

from semanticbm.ablation import (
    TOKEN_ROLES,
    block_attention,
    blocked_entries,
    blocked_scores,
    mean_ablation,
    role_means,
    side,
    token_roles,
)
from semanticbm.bert import layers, z_projection
from semanticbm.errors import UserError
from semanticbm.heads import all_heads, other_draws

PAIRS = [
    ("river bank", "the bank of the river is steep and green"),
    ("what are embeddings", "cold water"),
    ("money", "a bank has money"),
]
HEADS = [(0, 1), (1, 0), (1, 3), (2, 2)]


@pytest.fixture(scope="module")
def means(tiny):
    return role_means(tiny, PAIRS)


def captured_z(model, encoding):
    """z of each layer by plain hooks, apart from the module under test: float [layer, batch, position, d_model]."""
    found = []

    def keep(module, inputs, output):
        return found.append(inputs[0].clone())

    handles = [z_projection(layer).register_forward_hook(keep) for layer in layers(model.hf)]
    model.logits(encoding)
    for handle in handles:
        handle.remove()
    return torch.stack(found)


def test_roles_by_hand(tiny):
    encoding = tiny.encode(PAIRS[1:])
    assert " ".join(tiny.tokens(encoding, 0)) == "[CLS] what are em ##bed ##ding ##s [SEP] cold water [SEP]"
    assert token_roles(encoding)[0].tolist() == [0] + [1] * 6 + [2] + [3] * 2 + [2]
    assert token_roles(encoding)[1].tolist() == [0, 1, 2, 3, 3, 3, 3, 2, -1, -1, -1]


def test_a_sep_belongs_to_the_text_before_it(tiny):
    encoding = tiny.encode(PAIRS[1:])
    assert side(encoding, "cls")[1].nonzero().flatten().tolist() == [0]
    assert side(encoding, "query")[1].nonzero().flatten().tolist() == [1, 2]
    assert side(encoding, "document")[1].nonzero().flatten().tolist() == [3, 4, 5, 6, 7]
    assert int(blocked_entries(encoding, "query", "document")[1].sum()) == 2 * 5
    with pytest.raises(UserError, match="is not a side"):
        side(encoding, "title")


def test_means_equal_a_loop_over_single_pairs(tiny, means):
    collected = {role: [] for role in range(len(TOKEN_ROLES))}
    for pair in PAIRS:
        encoding = tiny.encode([pair])
        z = captured_z(tiny, encoding)[:, 0]
        for position, role in enumerate(token_roles(encoding)[0].tolist()):
            collected[role].append(z[:, position])
    for role, values in collected.items():
        torch.testing.assert_close(means[:, role], torch.stack(values).mean(dim=0), atol=1e-5, rtol=0)


def test_ablated_z_is_the_mean_and_other_heads_keep_theirs(tiny, means):
    """In the first ablated layer nothing upstream has changed. Read by a hook on what W_O makes of it."""
    encoding = tiny.encode(PAIRS[:1])
    wanted, seen, module = captured_z(tiny, encoding)[1, 0], [], z_projection(layers(tiny.hf)[1])
    wanted[:, 3 * tiny.d_head :] = means[1][token_roles(encoding)[0]][:, 3 * tiny.d_head :]
    watch = module.register_forward_hook(lambda _, given, output: seen.append(output[0].clone()))
    mean_ablation(tiny, PAIRS[:1], [(1, 3)], means)
    watch.remove()
    torch.testing.assert_close(seen[0], module(wanted), atol=1e-5, rtol=0)


def ablated_by_hooks(model, pair, heads, means):
    """The score of one pair, head by head and position by position in plain PyTorch hooks."""
    encoding = model.encode([pair])
    roles = token_roles(encoding)[0].tolist()

    def at_mean(layer):
        def change(z):
            z = z.clone()
            for position, role in enumerate(roles):
                for head in (head for place, head in heads if place == layer):
                    columns = oracle.columns(model.hf, head)
                    z[0, position, columns] = means[layer, role, columns]
            return z

        return change

    hooks = [(*oracle.ends(block)["heads"], at_mean(layer)) for layer, block in enumerate(oracle.blocks(model.hf))]
    return float(oracle.run(model.hf, encoding.inputs, hooks))


def test_ablation_equals_the_hooks(tiny, means):
    scores = mean_ablation(tiny, PAIRS, HEADS, means)
    np.testing.assert_allclose(scores, [ablated_by_hooks(tiny, pair, HEADS, means) for pair in PAIRS], atol=1e-5)
    assert np.abs(scores - tiny.score_pairs(PAIRS)).min() > 1e-4


def test_no_head_ablated_is_the_model_which_stays_as_it_was(tiny, means):
    before = tiny.score_pairs(PAIRS)
    np.testing.assert_allclose(mean_ablation(tiny, PAIRS, [], means), before, atol=1e-5)
    mean_ablation(tiny, PAIRS, HEADS, means)
    np.testing.assert_array_equal(tiny.score_pairs(PAIRS), before)


def test_padding_does_not_change_an_ablated_score(tiny, means):
    together = mean_ablation(tiny, PAIRS, HEADS, means, batch_size=3)
    alone = mean_ablation(tiny, PAIRS, HEADS, means, batch_size=1)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_all_heads_ablated_leaves_nothing_of_the_document_order(tiny, means):
    """With every head at its mean [CLS] gets the same from every pair: one score for all."""
    scores = mean_ablation(tiny, PAIRS, all_heads(tiny.head_shape), means)
    assert np.ptp(scores) < 1e-5 < np.ptp(tiny.score_pairs(PAIRS))


def test_bad_heads_and_means_are_named(tiny, means):
    with pytest.raises(UserError, match="no head 3.0"):
        mean_ablation(tiny, PAIRS, [(3, 0)], means)
    with pytest.raises(UserError, match="role_means"):
        mean_ablation(tiny, PAIRS, HEADS, means[:2])


def test_control_draws_have_the_same_size_and_layers(tiny):
    draws = other_draws(HEADS, tiny.head_shape, n=5)
    for draw in draws:
        assert not set(draw) & set(HEADS) and len(set(draw)) == len(HEADS)
        assert [layer for layer, _ in draw] == [0, 1, 1, 2]
    assert len({tuple(draw) for draw in draws}) > 1
    assert all((1, 1) not in draw for draw in other_draws(HEADS, tiny.head_shape, n=5, exclude=[(1, 1)]))


def test_control_draws_never_come_from_behind_the_heads_that_they_control(tiny):
    full_layer = [(1, head) for head in range(4)]
    assert other_draws(full_layer, tiny.head_shape, n=3) == [[(0, head) for head in range(4)]] * 3
    two_of_three = other_draws([(1, 0), (1, 1), (1, 2)], tiny.head_shape, n=20)
    assert all([layer for layer, _ in draw] == [0, 0, 1] and (1, 3) in draw for draw in two_of_three)
    with pytest.raises(UserError, match="no control"):
        other_draws([(0, 0), (0, 1), (0, 2)], tiny.head_shape)


# --------------------------------------------------------------------------------------------------------------------
# Blocked attention


def blocked_by_hooks(model, pair, rows, columns):
    """The score of one pair with every layer's attention written out, in plain PyTorch hooks."""
    encoding = model.encode([pair])
    open_entries = ~(side(encoding, rows)[0][:, None] & side(encoding, columns)[0][None, :])
    vectors = {}

    def keeper(kind):
        def keep(value):
            vectors[kind] = value[0].unflatten(-1, (model.n_heads, -1)).transpose(0, 1)  # head, position, d_head

        return keep

    def written_out(_):
        weights = (vectors["query"] @ vectors["key"].transpose(-1, -2) / model.d_head**0.5).exp() * open_entries
        z = weights / weights.sum(-1, keepdim=True) @ vectors["value"]
        return z.transpose(0, 1).flatten(1)[None]

    hooks = []
    for block in oracle.blocks(model.hf):
        hooks += [
            (oracle.after, getattr(block.attention.self, kind), keeper(kind)) for kind in ("query", "key", "value")
        ]
        hooks.append((*oracle.ends(block)["heads"], written_out))
    return float(oracle.run(model.hf, encoding.inputs, hooks))


@pytest.mark.parametrize(("rows", "columns"), [("cls", "document"), ("query", "document"), ("document", "query")])
def test_blocked_attention_equals_attention_written_out(tiny, rows, columns):
    scores = block_attention(tiny, PAIRS, rows, columns)
    np.testing.assert_allclose(scores, [blocked_by_hooks(tiny, pair, rows, columns) for pair in PAIRS], atol=1e-5)
    assert np.abs(scores - tiny.score_pairs(PAIRS)).min() > 1e-4


def test_blocking_nothing_is_the_model(tiny):
    encoding = tiny.encode(PAIRS)
    nothing = torch.zeros(len(encoding), *encoding.input_ids.shape[1:] * 2, dtype=torch.bool)
    np.testing.assert_allclose(blocked_scores(tiny, encoding, nothing), tiny.score_pairs(PAIRS), atol=1e-5)


def test_blocked_patterns_are_zero_there_and_still_sum_to_one(tiny):
    seen = []
    attentions = [layer.attention.self for layer in layers(tiny.hf)]
    handles = [module.register_forward_hook(lambda m, inputs, output: seen.append(output[1])) for module in attentions]
    block_attention(tiny, PAIRS[:1], "cls", "document")
    for handle in handles:
        handle.remove()
    columns = side(tiny.encode(PAIRS[:1]), "document")[0]
    assert len(seen) == tiny.n_layers - 1  # the last layer is computed for [CLS] alone
    for pattern in seen:
        assert not pattern[0, :, 0, columns].any() and pattern[0, :, 1, columns].any()
        torch.testing.assert_close(pattern.sum(-1), torch.ones_like(pattern.sum(-1)))


def test_with_both_ways_closed_the_document_cannot_matter(tiny):
    """[CLS] and query blind for the document: two documents of the same length give the same score."""
    both = [("river bank", "the water is cold"), ("river bank", "a bank has money")]
    encoding = tiny.encode(both)
    closed = blocked_entries(encoding, "cls", "document") | blocked_entries(encoding, "query", "document")
    assert np.ptp(blocked_scores(tiny, encoding, closed).numpy()) < 1e-6 < np.ptp(tiny.score_pairs(both))
