"""Ablation: take a part of the model away, and see whether it still ranks.

Patching asks what carries the difference between two inputs. Ablation asks a broader question: is this part *needed*,
and is it *enough*? Two ways of taking away are here.

**Mean ablation** (`mean_ablation`) replaces z of chosen heads by its mean over reference pairs. The head then says the
same for every pair, so it tells nothing about this one. Zero would also silence it, but would push the later layers to
inputs that they never saw; the mean keeps the usual level. What is usual differs between [CLS], query, [SEP] and
document, so each of these four *roles* has its own mean.

- Are the found heads needed? Ablate them, and compare with ablating as many others of the same layers (`other_draws`).
- Are they enough? Ablate all others (`complement`) and look whether the order of the documents stays.

**Blocked attention** (`block_attention`) forbids some positions to look at others, in all layers: the entries are
removed before the softmax, so the rest of the row still adds up to 1. With rows "cls" and columns "document" [CLS] sees
the document only through what the query tokens bring.

Each method has two forms with equal results: the definition as nnsight text, and plain hooks or masks that run faster.

When it misleads: other heads may stand in for an ablated one, so a small loss does not show that a head is idle. Means
are taken over one set of pairs, and another set gives another ablation. And a model where most heads are frozen gets
inputs it never saw: failing then says little about the heads that were left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from semanticbm.bert import layers, self_attention, z_projection
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair, check_pairs
from semanticbm.errors import UserError
from semanticbm.heads import Head

ROLES = ("cls", "query", "sep", "document")
PADDING = -1
SIDES = ("cls", "query", "document")

# --------------------------------------------------------------------------------------------------------------------
# Which position is what


def roles(encoding: Encoding) -> Tensor:
    """The role of each position as its number in `ROLES`, `PADDING` (-1) for padding: int [batch, position]."""
    found = torch.where(encoding.attention_mask.bool(), ROLES.index("sep"), PADDING)
    found[:, 0] = ROLES.index("cls")
    for row, (query, document) in enumerate(zip(encoding.query_spans, encoding.document_spans, strict=True)):
        found[row, slice(*query)] = ROLES.index("query")
        found[row, slice(*document)] = ROLES.index("document")
    return found


def side(encoding: Encoding, name: str) -> Tensor:
    """Positions of "cls", the "query" with the [SEP] after it, or the "document" with its: bool [batch, position].

    A [SEP] belongs to the text before it. Left out, it would be a detour around a blocked path.
    """
    if name not in SIDES:
        raise UserError(f"{name!r} is not a side: use {', '.join(SIDES)}.")
    first = torch.zeros_like(encoding.attention_mask, dtype=torch.bool)
    first[:, 0] = True
    sides = {"cls": first, "query": (encoding.token_type_ids == 0) & ~first, "document": encoding.token_type_ids == 1}
    return sides[name] & encoding.attention_mask.bool()


def _batches(
    model: CrossEncoder, pairs: Iterable[Pair], batch_size: int, label: str
) -> Iterator[tuple[list[int], Encoding]]:
    """Encoded batches with the numbers of their pairs, long pairs first; with a `label`, a progress bar."""
    from tqdm.auto import tqdm

    pairs = check_pairs(pairs)
    order = sorted(range(len(pairs)), key=lambda number: -len(pairs[number][0]) - len(pairs[number][1]))
    for start in tqdm(range(0, len(pairs), batch_size), desc=label, disable=not label, leave=False):
        numbers = order[start : start + batch_size]
        yield numbers, model.encode([pairs[number] for number in numbers])


# --------------------------------------------------------------------------------------------------------------------
# Mean ablation


@torch.no_grad()
def role_means(model: CrossEncoder, pairs: Iterable[Pair], batch_size: int = 32, progress: bool = False) -> Tensor:
    """Mean z of each layer and role over all positions of all pairs: float [layer, role, head * d_head]."""
    total = torch.zeros(model.n_layers, len(ROLES), model.d_model, dtype=torch.float64, device=model.device)
    count = torch.zeros(len(ROLES), dtype=torch.float64, device=model.device)
    for _, encoding in _batches(model, pairs, batch_size, f"means, {model.name}" if progress else ""):
        member = torch.stack([roles(encoding) == number for number in range(len(ROLES))]).double()
        count += member.sum((1, 2))
        for layer, z in enumerate(_all_z(model, encoding)):
            total[layer] += torch.einsum("rbp,bpd->rd", member, z.double())
    return (total / count[None, :, None]).to(model.hf.dtype)


def _all_z(model: CrossEncoder, encoding: Encoding) -> list[Tensor]:
    """z of each layer: a list of float [batch, position, head * d_head]."""
    found: list[Tensor] = []
    handles = [
        z_projection(layer).register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
        for layer in layers(model.hf)
    ]
    try:
        model.logits(encoding)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _ablated(model: CrossEncoder, z: Tensor, role: Tensor, heads: Sequence[int], means: Tensor) -> Tensor:
    """z of one layer with some heads at the mean of each position's role; padding stays as it is."""
    z = z.clone()
    split, usual = z.unflatten(-1, (model.n_heads, model.d_head)), means.unflatten(-1, (model.n_heads, model.d_head))
    real = role != PADDING
    for head in heads:
        split[:, :, head][real] = usual[:, head][role[real]]
    return z


def _by_layer(model: CrossEncoder, heads: Iterable[Head], means: Tensor) -> dict[int, list[int]]:
    """{layer: heads to ablate in it}, checked."""
    expected = (model.n_layers, len(ROLES), model.d_model)
    if tuple(means.shape) != expected:
        raise UserError(f"means have shape {tuple(means.shape)}, {model.name} needs {expected}: use role_means.")
    chosen: dict[int, list[int]] = {}
    for layer, head in heads:
        model.check_head(layer, head)
        chosen.setdefault(layer, []).append(head)
    return chosen


def mean_ablation_textbook(model: CrossEncoder, pair: Pair, heads: Iterable[Head], means: Tensor) -> float:
    """Score of one pair with z of the heads at its mean, in nnsight."""
    chosen, encoding = _by_layer(model, heads, means), model.encode([pair])
    role = roles(encoding)
    with torch.no_grad(), model.traced.trace(**encoding.inputs):
        for number, layer in enumerate(layers(model.traced)):
            if number in chosen:
                z = z_projection(layer).input
                z_projection(layer).input = _ablated(model, z, role, chosen[number], means[number])
        score = model.traced.output.logits[0, 0].save()
    return float(score)


@torch.no_grad()
def mean_ablation(
    model: CrossEncoder,
    pairs: Sequence[Pair],
    heads: Iterable[Head],
    means: Tensor,
    batch_size: int = 32,
    progress: bool = False,
) -> np.ndarray:
    """Scores with z of the heads replaced by its mean for each token's role: float [pair].

    `means` from `role_means`, best over pairs that are not the ones scored here.
    """
    chosen = _by_layer(model, heads, means)
    scores = np.empty(len(pairs))
    for numbers, encoding in _batches(model, pairs, batch_size, f"ablation, {model.name}" if progress else ""):
        with _ablating(model, roles(encoding), chosen, means):
            scores[numbers] = model.logits(encoding).double().cpu().numpy()
    return scores


@contextmanager
def _ablating(model: CrossEncoder, role: Tensor, chosen: dict[int, list[int]], means: Tensor) -> Iterator[None]:
    """Hooks that ablate, as long as the context lasts."""

    def hook_of(layer: int):
        return lambda module, inputs: (_ablated(model, inputs[0], role, chosen[layer], means[layer]), *inputs[1:])

    handles = [z_projection(layers(model.hf)[layer]).register_forward_pre_hook(hook_of(layer)) for layer in chosen]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# --------------------------------------------------------------------------------------------------------------------
# Blocked attention


def blocked_entries(encoding: Encoding, rows: str, columns: str) -> Tensor:
    """True where a position of side `rows` looks at one of side `columns`: bool [batch, position, position]."""
    return side(encoding, rows)[:, :, None] & side(encoding, columns)[:, None, :]


def attention_bias(encoding: Encoding, blocked: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the attention scores: a huge negative number at blocked entries and at padding, else 0.

    float [batch, 1, position, position]; the axis of length 1 stands for all heads.
    """
    closed = blocked | ~encoding.attention_mask.bool()[:, None, :]
    open_everywhere = torch.zeros(closed.shape, dtype=dtype, device=closed.device)
    return open_everywhere.masked_fill(closed, torch.finfo(dtype).min)[:, None]


def block_attention_textbook(model: CrossEncoder, pair: Pair, rows: str = "cls", columns: str = "document") -> float:
    """Score of one pair without the blocked entries: each layer's attention written out, in nnsight."""
    encoding = model.encode([pair])
    bias = attention_bias(encoding, blocked_entries(encoding, rows, columns), model.hf.dtype)
    with torch.no_grad(), model.traced.trace(**encoding.inputs):
        for layer in layers(model.traced):
            maps = self_attention(layer)
            q, k, v = (_split(model, part.output) for part in (maps.query, maps.key, maps.value))
            pattern = torch.softmax(q @ k.transpose(-1, -2) / model.d_head**0.5 + bias, dim=-1)
            z_projection(layer).input = (pattern @ v).transpose(1, 2).flatten(2)
        score = model.traced.output.logits[0, 0].save()
    return float(score)


def _split(model: CrossEncoder, projected: Tensor) -> Tensor:
    """float [batch, position, head * d_head] -> [batch, head, position, d_head]."""
    return projected.unflatten(-1, (model.n_heads, model.d_head)).transpose(1, 2)


@torch.no_grad()
def block_attention(
    model: CrossEncoder,
    pairs: Sequence[Pair],
    rows: str = "cls",
    columns: str = "document",
    batch_size: int = 32,
    progress: bool = False,
) -> np.ndarray:
    """Scores without the attention from `rows` ("cls" or "query") to `columns`, in all layers and heads: float [pair].

    The mask goes in with four axes, which Hugging Face's eager BERT adds to the attention scores as it is.
    """
    scores = np.empty(len(pairs))
    for numbers, encoding in _batches(model, pairs, batch_size, f"{rows} to {columns} blocked" if progress else ""):
        bias = attention_bias(encoding, blocked_entries(encoding, rows, columns), model.hf.dtype)
        output = model.hf(**encoding.inputs | {"attention_mask": bias})
        scores[numbers] = output.logits[:, 0].double().cpu().numpy()
    return scores
