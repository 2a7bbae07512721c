"""Ablation: take a part of the model away, and see whether it still ranks.

Patching asks what carries the difference between two inputs. Ablation asks a broader question: is this part *needed*,
and is it *enough*? Two ways of taking away are here.

**Mean ablation** (`mean_ablation`) replaces z of chosen heads by its mean over reference pairs. The head then says the
same for every pair, so it tells nothing about this one. Zero would also silence it, but would push the later layers to
inputs that they never saw; the mean keeps the usual level. What is usual differs between [CLS], query, [SEP] and
document, so each of these four *roles* has its own mean.

- Are the found heads needed? Ablate them, and compare with ablating as many others of the same layers (`other_draws`).
- Are they enough? Ablate all others (`other_heads`) and look whether the order of the documents stays.

**Blocked attention** (`block_attention`) forbids some positions to look at others, in all layers: the entries are
removed before the softmax, so the rest of the row still adds up to 1. With rows "cls" and columns "document" [CLS] sees
the document only through what the query tokens bring.

Both are nnsight traces, one for each batch of pairs: `ablated_scores` overwrites z, `blocked_scores` gives every layer's
attention another mask.

When it misleads: other heads may stand in for an ablated one, so a small loss does not show that a head is idle. Means
are taken over one set of pairs, and another set gives another ablation. And a model where most heads are frozen gets
inputs it never saw: failing then says little about the heads that were left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from semanticbm.bert import layers, self_attention, z_projection
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair, check_pairs
from semanticbm.errors import UserError
from semanticbm.heads import Head
from semanticbm.one_pass import end_at_cls
from semanticbm.patching import read_site, to_numpy

TOKEN_ROLES = ("cls", "query", "sep", "document")
PADDING = -1  # the role of a padding token
SIDES = ("cls", "query", "document")


def token_roles(encoding: Encoding) -> Tensor:
    """The role of each position as its number in `TOKEN_ROLES`, -1 for padding: int [batch, position] (chapter 8)."""
    roles = torch.where(encoding.attention_mask.bool(), TOKEN_ROLES.index("sep"), PADDING)
    roles[:, 0] = TOKEN_ROLES.index("cls")
    for row, (query, document) in enumerate(zip(encoding.query_spans, encoding.document_spans, strict=True)):
        roles[row, slice(*query)] = TOKEN_ROLES.index("query")
        roles[row, slice(*document)] = TOKEN_ROLES.index("document")
    return roles


def side(encoding: Encoding, name: str) -> Tensor:
    """Positions of "cls", the "query" with the [SEP] after it, or the "document" with its: bool [batch, position].

    A [SEP] belongs to the text before it. Left out, it would be a detour around a blocked path. Chapter 8.
    """
    if name not in SIDES:
        raise UserError(f"{name!r} is not a side: use {', '.join(SIDES)}.")
    first = torch.zeros_like(encoding.attention_mask, dtype=torch.bool)
    first[:, 0] = True
    sides = {"cls": first, "query": (encoding.token_type_ids == 0) & ~first, "document": encoding.token_type_ids == 1}
    return sides[name] & encoding.attention_mask.bool()


@torch.no_grad()
def role_means(model: CrossEncoder, pairs: Iterable[Pair], progress: bool = False) -> Tensor:
    """Mean z of each layer and role over all positions of all pairs: float [layer, role, head * d_head] (chapter 8)."""
    total = torch.zeros(model.n_layers, len(TOKEN_ROLES), model.d_model, dtype=torch.float64, device=model.device)
    count = torch.zeros(len(TOKEN_ROLES), dtype=torch.float64, device=model.device)
    label = f"means, {model.name}" if progress else ""
    for _, encoding in model.batches(check_pairs(pairs), label=label, longest_first=True):
        roles = token_roles(encoding)
        member = torch.stack([roles == role for role in range(len(TOKEN_ROLES))]).double()
        count += member.sum((1, 2))
        for layer, z in enumerate(read_site(model, encoding, "heads")):
            total[layer] += torch.einsum("rbp,bpd->rd", member, z.double())
    return (total / count[None, :, None]).to(model.hf.dtype)


@torch.no_grad()
def ablated_scores(
    model: CrossEncoder, encoding: Encoding, heads_by_layer: dict[int, list[int]], means: Tensor
) -> Tensor:
    """Scores with z of the heads at the mean of each token's role: float [batch] (chapter 8).

    heads_by_layer: {layer: heads}, layers upwards. means: float [layer, role, head * d_head].
    """
    roles = token_roles(encoding)
    with model.traced.trace(**encoding.inputs):
        for layer, heads in heads_by_layer.items():
            module = z_projection(layers(model.traced)[layer])
            module.input = _at_mean(module.input, roles, heads, means[layer], model.n_heads)
        if model.n_layers - 1 not in heads_by_layer:
            end_at_cls(model, encoding.visible)
        scores = model.traced.output.logits[:, 0].save()
    return scores


def _at_mean(z: Tensor, roles: Tensor, heads: Sequence[int], means: Tensor, n_heads: int) -> Tensor:
    """z of one layer with some heads at the mean of each position's role; padding stays as it is."""
    usual = torch.where((roles == PADDING)[..., None], z, means[roles])
    ablated = z.clone()
    ablated.unflatten(-1, (n_heads, -1))[:, :, heads] = usual.unflatten(-1, (n_heads, -1))[:, :, heads]
    return ablated


def _by_layer(model: CrossEncoder, heads: Iterable[Head], means: Tensor) -> dict[int, list[int]]:
    """{layer: heads to ablate in it}, layers upwards, checked."""
    expected = (model.n_layers, len(TOKEN_ROLES), model.d_model)
    if tuple(means.shape) != expected:
        raise UserError(f"means have shape {tuple(means.shape)}, {model.name} needs {expected}: use role_means.")
    by_layer: dict[int, list[int]] = {}
    for layer, head in sorted(heads):
        model.check_head(layer, head)
        by_layer.setdefault(layer, []).append(head)
    return by_layer


def mean_ablation(
    model: CrossEncoder,
    pairs: Sequence[Pair],
    heads: Iterable[Head],
    means: Tensor,
    batch_size: int | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Scores with z of the heads replaced by its mean for each token's role: float [pair] (chapter 8).

    `means` from `role_means`, best over pairs that are not the ones scored here.
    """
    heads_by_layer = _by_layer(model, heads, means)
    scores = np.empty(len(pairs))
    label = f"ablation, {model.name}" if progress else ""
    for places, encoding in model.batches(check_pairs(pairs), batch_size, label, longest_first=True):
        scores[places] = to_numpy(ablated_scores(model, encoding, heads_by_layer, means))
    return scores


def blocked_entries(encoding: Encoding, rows: str, columns: str) -> Tensor:
    """True where a position of side `rows` looks at one of side `columns`: bool [batch, position, position] (chapter 8)."""
    return side(encoding, rows)[:, :, None] & side(encoding, columns)[:, None, :]


@torch.no_grad()
def blocked_scores(model: CrossEncoder, encoding: Encoding, blocked: Tensor) -> Tensor:
    """Scores when no head of any layer may look at the blocked entries: float [batch] (chapter 8).

    blocked: bool [batch, position, position]. Eager BERT adds its mask to the attention scores before the softmax. Here
    every layer gets another one: the most negative number at blocked entries and at padding, 0 elsewhere.
    """
    closed = (blocked | ~encoding.attention_mask.bool()[:, None, :])[:, None]  # the axis of length 1 is for all heads
    mask = torch.zeros(closed.shape, dtype=model.hf.dtype, device=model.device)
    mask = mask.masked_fill(closed, torch.finfo(mask.dtype).min)
    with model.traced.trace(**encoding.inputs):
        for layer in layers(model.traced)[:-1]:
            positional, named = self_attention(layer).inputs
            self_attention(layer).inputs = (positional, named | {"attention_mask": mask})
        end_at_cls(model, ~closed[:, :, :1])
        scores = model.traced.output.logits[:, 0].save()
    return scores


def block_attention(
    model: CrossEncoder, pairs: Sequence[Pair], rows: str = "cls", columns: str = "document", progress: bool = False
) -> np.ndarray:
    """Scores without the attention from side `rows` to side `columns`, in all layers and heads: float [pair] (chapter 8)."""
    scores = np.empty(len(pairs))
    label = f"{rows} to {columns} blocked" if progress else ""
    for places, encoding in model.batches(check_pairs(pairs), label=label, longest_first=True):
        scores[places] = to_numpy(blocked_scores(model, encoding, blocked_entries(encoding, rows, columns)))
    return scores
