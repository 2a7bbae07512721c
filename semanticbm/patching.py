"""Activation patching: change one activation inside the model, and see what it does to the score.

**The method.** Take two inputs of the same number of tokens that differ in one thing: a *baseline* pair b and a
*perturbed* pair p. Run both. Run b again, but overwrite one activation by the value that it had in the run on p. If the
score moves from S_b to S_p, the overwritten activation carried the difference.

**The metric** (section 3.1 of the paper) is a share of the full change:

    m = (S_patched - S_b) / (S_p - S_b)        0: no effect, 1: all of it; below 0 and above 1 are possible

**Why not just look?** A probe can read a quantity from a layer that later layers never use. Patching asks what the
model uses: it interferes, and measures the answer of the model.

**The metric's trap.** It divides by S_p - S_b. Where the two scores are almost equal, m is huge and means nothing.
For one pair the functions here raise a `UserError` when |S_p - S_b| < `MIN_CHANGE`. For many pairs, do not average m:
use the ratio of the means, and count the pairs that you leave out (`direct_effects_many` in `semanticbm.path_patching`
reports them).

**What can be patched**: a *site* in every layer.

============  ========================================================================================
`residual`    the residual stream that enters the layer
`attention`   what the attention block adds, the output of W_O
`mlp`         what the MLP adds, before the last LayerNorm of the layer
`heads`       z of single heads, before W_O mixes them
============  ========================================================================================

At these positions: `positions=None` patches all positions at once, a list patches these at once, and "each" patches one
position at a time and adds an axis for it.

**Two forms.** `method="textbook"` is the definition: one traced run (nnsight) for each patched place. `method="fast"`
runs all places of a layer as one batch, and starts at the patched layer, because nothing changes before it. Tests hold
both against hooks in plain PyTorch.

**Attribution patching** (`attribution_patching`) replaces all these runs by one gradient: for a small change of z the
score changes by (dS/dz) (z_p - z_b). It is quick and it is not exact; measure how well it agrees before you use it.

When it misleads: an effect runs through everything that comes later, so a head with a large effect may only feed the
head that matters (`semanticbm.path_patching` cuts these wires). Two heads that can stand in for each other both show no
effect when patched alone. And the patched state is one that no input produces.

Shapes: batch, layer, head, position. Here `variant` counts the patched versions of one input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import nnsight
import numpy as np
import torch
from torch import Tensor

from semanticbm.bert import (
    after_attention,
    after_heads,
    after_mlp,
    embeddings,
    layers,
    mlp_hidden,
    mlp_projection,
    projection,
    score_from_cls,
    z_projection,
)
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair
from semanticbm.errors import UserError

MIN_CHANGE = 1e-4  # logits; below it one pair's metric is mostly float32 rounding
MEMORY = 256 * 2**20  # bytes that one batch of variants may need, about
SITES = ("residual", "attention", "mlp", "heads")
METHODS = ("fast", "textbook")
Positions = Sequence[int] | str | None


# --------------------------------------------------------------------------------------------------------------------
# Two inputs, one metric


def encode_both(model: CrossEncoder, baselines: Iterable[Pair], perturbed: Iterable[Pair]) -> tuple[Encoding, Encoding]:
    """Tokenise baseline and perturbed pairs; `UserError` unless each two have the same number of tokens."""
    first, second = model.encode(baselines, truncate=False), model.encode(perturbed, truncate=False)
    if len(first) != len(second):
        raise UserError(f"{len(first)} baseline pairs and {len(second)} perturbed pairs: give one for one.")
    for number, (one, other) in enumerate(zip(first.lengths.tolist(), second.lengths.tolist(), strict=True)):
        if one != other:
            raise UserError(
                f"pair {number}: the baseline has {one} tokens, the perturbed pair has {other}: patching "
                "needs equal lengths. Fill up the shorter document with a neutral word such as 'a'."
            )
    return first, second


def metric(patched: np.ndarray, baseline: float, perturbed: float, min_change: float = MIN_CHANGE) -> np.ndarray:
    """m = (S_patched - S_b) / (S_p - S_b) of one pair, any shape; `UserError` if |S_p - S_b| < `min_change` logits."""
    change = perturbed - baseline
    if not abs(change) >= min_change:
        raise UserError(
            f"the two scores differ by {abs(change):.2g} only (under {min_change:.2g}), so a share of the "
            "change has no meaning: take another pair, or use direct_effects_many, which gives logits."
        )
    return (np.asarray(patched) - baseline) / change


def same_tokens(first: Encoding, second: Encoding) -> np.ndarray:
    """Which pairs have the same tokens in both encodings: bool [batch]. Patching them is exactly nothing."""
    return (first.input_ids == second.input_ids).all(dim=1).cpu().numpy()


def check_choice(value: str, allowed: Sequence[str], name: str) -> None:
    """Raise `UserError` unless `value` is one of `allowed`."""
    if value not in allowed:
        raise UserError(f"{name}={value!r} is unknown: use one of {', '.join(allowed)}.")


def to_numpy(scores: Tensor) -> np.ndarray:
    """A tensor of any type and device as float64 array."""
    return scores.detach().double().cpu().numpy()


# --------------------------------------------------------------------------------------------------------------------
# The model, one step at a time


@dataclass(frozen=True)
class Record:
    """What a plain run left behind.

    `z`: one float [batch, position, head * d_head] for each layer. `residual`: one float [batch, position, d_model] for
    each layer, what entered it. `scores`: float [batch].
    """

    z: list[Tensor]
    residual: list[Tensor]
    scores: Tensor


def attention_bias(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a token may be attended, the most negative number at padding: float [batch, head, position, position]."""
    return torch.zeros_like(attention_mask, dtype=dtype).masked_fill_(attention_mask == 0, torch.finfo(dtype).min)[
        :, None, None, :
    ]


def split_heads(vectors: Tensor, n_heads: int) -> Tensor:
    """float [..., position, head * d_head] -> float [..., head, position, d_head]."""
    return vectors.unflatten(-1, (n_heads, -1)).transpose(-2, -3)


def project(layer, hidden: Tensor, n_heads: int) -> dict[str, Tensor]:
    """Queries, keys and values of all heads: {"q", "k", "v": float [..., head, position, d_head]}."""
    return {into: split_heads(projection(layer, into)(hidden), n_heads) for into in "qkv"}


def attend(vectors: dict[str, Tensor], bias: Tensor) -> Tensor:
    """Softmax attention from q, k and v to z: float [..., position, head * d_head]."""
    query, key, value = vectors["q"], vectors["k"], vectors["v"]
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias
    return (logits.softmax(-1) @ value).transpose(-2, -3).flatten(-2)


def embed(model: CrossEncoder, encoding: Encoding) -> Tensor:
    """What enters layer 0: float [batch, position, d_model]."""
    return embeddings(model.hf)(input_ids=encoding.input_ids, token_type_ids=encoding.token_type_ids)


def only_cls(vectors: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """Keep the query vector of [CLS] alone, in place; returns the [CLS] row of `hidden`.

    For the last layer: the score reads [CLS], so nothing reads what the other positions compute there.
    """
    vectors["q"] = vectors["q"][..., :1, :]
    return hidden[..., :1, :]


@torch.no_grad()
def record(model: CrossEncoder, encoding: Encoding) -> Record:
    """Run the model and keep every layer's z and input."""
    hidden = embed(model, encoding)
    bias = attention_bias(encoding.attention_mask, hidden.dtype)
    kept_z, kept_residual = [], []
    for layer in layers(model.hf):
        z = attend(project(layer, hidden, model.n_heads), bias)
        kept_z.append(z)
        kept_residual.append(hidden)
        hidden = after_heads(layer, z, hidden)
    return Record(kept_z, kept_residual, score_from_cls(model.hf, hidden[:, 0]))


def record_both(model: CrossEncoder, first: Encoding, second: Encoding) -> tuple[Record, Record]:
    """Records of two encodings of the same shape, from one run on both."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    both = Encoding(*(torch.cat([getattr(first, name), getattr(second, name)]) for name in names), [], [], [], [])
    kept, n = record(model, both), len(first)
    halves = [
        Record([z[part] for z in kept.z], [hidden[part] for hidden in kept.residual], kept.scores[part])
        for part in (slice(None, n), slice(n, None))
    ]
    return halves[0], halves[1]


@torch.no_grad()
def run_from(model: CrossEncoder, first: int, hidden: Tensor, bias: Tensor) -> Tensor:
    """Scores when `hidden` enters layer `first`: float [variant, batch, position, d_model] -> float [variant, batch]."""
    for number, layer in enumerate(layers(model.hf)[first:], start=first):
        vectors = project(layer, hidden, model.n_heads)
        if number == model.n_layers - 1:
            hidden = only_cls(vectors, hidden)
        hidden = after_heads(layer, attend(vectors, bias), hidden)
    return score_from_cls(model.hf, hidden[..., 0, :])


def chunks_within(model: CrossEncoder, n_variants: int, n_tokens: int, memory: int) -> Iterator[slice]:
    """Slices of the variants, so that a batch of them needs about `memory` bytes; each one has `n_tokens` tokens."""
    size = model.hf.config.intermediate_size + 6 * model.d_model + 2 * model.n_heads * n_tokens
    step = max(1, memory // (size * n_tokens * model.hf.dtype.itemsize))
    return (slice(start, start + step) for start in range(0, n_variants, step))


# --------------------------------------------------------------------------------------------------------------------
# Activation patching


def activation_patching(
    model: CrossEncoder,
    baseline: Pair,
    perturbed: Pair,
    site: str = "residual",
    positions: Positions = None,
    method: str = "fast",
    memory: int = MEMORY,
) -> np.ndarray:
    """The metric m after patching one place at a time (section 3.1).

    Returns float [layer] for the sites residual, attention and mlp, float [layer, head] for heads. With
    `positions="each"` a last axis [position] is added. Equal inputs give exactly 0.
    `UserError` for pairs of unequal length, for different pairs with (almost) equal
    scores, or an unknown site, method or position.
    """
    check_choice(site, SITES, "site")
    check_choice(method, METHODS, "method")
    first, second = encode_both(model, [baseline], [perturbed])
    places = _places(model, site, positions, first.input_ids.shape[1])
    if same_tokens(first, second).all():
        return np.zeros((model.n_layers, *places.shape[:-2]))
    patched = (_patched_fast if method == "fast" else _patched_textbook)(
        model, first, second, site, places.reshape(-1, *places.shape[-2:]), memory
    )
    both = to_numpy(torch.stack([model.logits(first)[0], model.logits(second)[0]]))
    return metric(patched.reshape(model.n_layers, *places.shape[:-2]), both[0], both[1])


def _places(model: CrossEncoder, site: str, positions: Positions, length: int) -> Tensor:
    """What each variant patches: bool [head, position, head'] for heads, bool [position, 1] for a whole site.

    With positions "each" there is one axis more, before the last two, that says which position is patched.
    """
    columns = torch.eye(model.n_heads if site == "heads" else 1, dtype=torch.bool)
    columns = columns[:, None] if site == "heads" else columns
    rows = _rows(positions, length)[..., None]
    if positions == "each":
        columns = columns.unsqueeze(-3)
    places = columns & rows
    return places.to(model.device)


def _rows(positions: Positions, length: int) -> Tensor:
    """Positions to patch at once, bool [position]; for "each" bool [variant, position]."""
    if isinstance(positions, str):
        check_choice(positions, ("each",), "positions")
        return torch.eye(length, dtype=torch.bool)
    chosen = list(range(length)) if positions is None else [int(position) for position in positions]
    if not chosen or min(chosen) < 0 or max(chosen) >= length:
        raise UserError(f"positions {chosen} are not all inside 0 to {length - 1}, the positions of this pair.")
    rows = torch.zeros(length, dtype=torch.bool)
    rows[chosen] = True
    return rows


def _mixed(places: Tensor, baseline: Tensor, perturbed: Tensor) -> Tensor:
    """Baseline values, perturbed ones at the places: float [variant, batch, position, width]."""
    width = baseline.shape[-1] // places.shape[-1]
    return torch.where(places.repeat_interleave(width, -1)[:, None], perturbed, baseline)


# The textbook form


def site_of(block, site: str):
    """The traced module of a layer, and which of its two ends, "input" or "output", holds the site."""
    return {
        "residual": (block, "input"),
        "attention": (z_projection(block), "output"),
        "mlp": (mlp_projection(block), "output"),
        "heads": (z_projection(block), "input"),
    }[site]


@torch.no_grad()
def read_site(model: CrossEncoder, encoding: Encoding, site: str = "heads") -> list[Tensor]:
    """The site's value in every layer of one traced run: list [layer] of float [batch, position, width]."""
    with model.traced.trace(**encoding.inputs):
        values = nnsight.save([])
        for block in layers(model.traced):
            module, end = site_of(block, site)
            values.append(getattr(module, end).clone())
    return values


@torch.no_grad()
def score_with(model: CrossEncoder, encoding: Encoding, layer: int, site: str, value: Tensor) -> float:
    """The score of one traced run in which one site of one layer is overwritten by `value`."""
    with model.traced.trace(**encoding.inputs):
        module, end = site_of(layers(model.traced)[layer], site)
        setattr(module, end, value)
        score = model.traced.output.logits.save()
    return float(score)


def _patched_textbook(model, first, second, site: str, places: Tensor, memory: int) -> np.ndarray:
    """One traced run for each layer and variant: float [layer * variant]."""
    values_b, values_p = read_site(model, first, site), read_site(model, second, site)
    return np.array(
        [
            score_with(model, first, layer, site, value)
            for layer in range(model.n_layers)
            for value in _mixed(places, values_b[layer], values_p[layer])
        ]
    )


# The fast form


@torch.no_grad()
def _patched_fast(model, first, second, site: str, places: Tensor, memory: int) -> np.ndarray:
    """All variants of a layer at once, from that layer on: float [layer * variant]."""
    one, other = record_both(model, first, second)
    bias = attention_bias(first.attention_mask, one.residual[0].dtype)
    scores = []
    for layer in range(model.n_layers):
        for chunk in chunks_within(model, len(places), places.shape[-2], memory):
            hidden, start = _enter(model, layer, site, places[chunk], one, other)
            scores.append(run_from(model, start, hidden, bias)[:, 0])
    return to_numpy(torch.cat(scores))


def _enter(
    model: CrossEncoder, layer: int, site: str, places: Tensor, one: Record, other: Record
) -> tuple[Tensor, int]:
    """The patched residual stream [variant, batch, position, d_model], and the layer that it enters."""
    block = layers(model.hf)[layer]
    if site == "residual":
        return _mixed(places, one.residual[layer], other.residual[layer]), layer
    if site == "mlp":
        attended = [after_attention(block, run.z[layer], run.residual[layer]) for run in (one, other)]
        inside = _mixed(places, *(mlp_hidden(block, value) for value in attended))
        return after_mlp(block, inside, attended[0].expand(len(places), -1, -1, -1)), layer + 1
    z = _mixed(places, one.z[layer], other.z[layer])  # W_O acts on each position alone: all heads' z is the whole block
    return after_heads(block, z, one.residual[layer]), layer + 1


# --------------------------------------------------------------------------------------------------------------------
# Attribution patching


@torch.enable_grad()
def gradients(model: CrossEncoder, encoding: Encoding) -> tuple[list[Tensor], list[Tensor]]:
    """z of every layer and dS/dz, two lists [layer] of float [batch, position, head * d_head]."""
    hidden = embed(model, encoding).requires_grad_(True)
    bias = attention_bias(encoding.attention_mask, hidden.dtype)
    kept = []
    for layer in layers(model.hf):
        kept.append(attend(project(layer, hidden, model.n_heads), bias))
        hidden = after_heads(layer, kept[-1], hidden)
    slopes = torch.autograd.grad(score_from_cls(model.hf, hidden[:, 0]).sum(), kept)
    return [z.detach() for z in kept], list(slopes)


def attribution_patching(model: CrossEncoder, baseline: Pair, perturbed: Pair) -> np.ndarray:
    """First-order guess at `activation_patching(..., site="heads")`: float [layer, head], as shares of S_p - S_b.

    sum over positions of (dS/dz at the baseline) (z_p - z_b), divided by S_p - S_b: two runs and one backward run.
    """
    first, second = encode_both(model, [baseline], [perturbed])
    if same_tokens(first, second).all():
        return np.zeros((model.n_layers, model.n_heads))
    z, slopes = gradients(model, first)
    other = record(model, second)
    guess = torch.stack(
        [
            (slope * (there - here)).unflatten(-1, (model.n_heads, -1)).sum((0, 1, 3))
            for here, slope, there in zip(z, slopes, other.z, strict=True)
        ]
    )
    score = float(model.logits(first)[0])
    return metric(score + to_numpy(guess), score, float(other.scores[0]))
