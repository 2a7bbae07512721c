"""Activation patching: change one activation inside the model, and see what it does to the score.

**The method.** Take two inputs of the same number of tokens that differ in one thing: a *baseline* pair b and a
*perturbed* pair p. Run both. Run b again, but overwrite one activation by the value that it had in the run on p. If the
score moves from S_b to S_p, the overwritten activation carried the difference.

**The metric** (chapter 4, eq-metric; section 3.1 of the paper) is a share of the full change:

    m = (S_patched - S_b) / (S_p - S_b)        0: no effect, 1: all of it; below 0 and above 1 are possible

**In nnsight** the method is two traces. A trace runs the model; the lines inside its block read or overwrite what a
module receives (`.input`) or returns (`.output`), at the moment when the run gets there:

    with model.traced.trace(**perturbed.inputs):
        z = z_projection(layers(model.traced)[2]).input.save()      # z of all heads of layer 2 in the run on p

    with model.traced.trace(**baseline.inputs):
        z_projection(layers(model.traced)[2]).input = z             # the run on b goes on with it
        score = model.traced.output.logits.save()                   # S_patched

`read_site` and `patched_scores` are these two traces for any layer and site. `patched_scores` runs many patched versions
of the pair as one batch. `activation_patching` does it for every place in turn and takes the metric.

**What can be patched**: a *site* in every layer.

============  ========================================================================================
`residual`    the residual stream that enters the layer
`attention`   what the attention block adds, the output of W_O
`mlp`         what the MLP adds, before the last LayerNorm of the layer
`heads`       z of single heads, before W_O mixes them
============  ========================================================================================

At these positions: `positions=None` patches all positions at once, a list patches these at once, and "each" patches one
position at a time and adds an axis for it.

**Why not just look?** A probe can read a quantity from a layer that later layers never use. Patching asks what the
model uses: it interferes, and measures the answer of the model.

**The metric's trap.** It divides by S_p - S_b. Where the two scores are almost equal, m is huge and means nothing.
For one pair the functions here raise a `UserError` when |S_p - S_b| < `MIN_CHANGE_LOGITS`. For many pairs, do not
average m: use the ratio of the means, and count the pairs that you leave out (`direct_effects_many` in
`semanticbm.path_patching` reports them).

**Attribution patching** (`attribution_patching`) replaces all these runs by one gradient: for a small change of z the
score changes by (dS/dz) (z_p - z_b). It is quick and it is not exact; measure how well it agrees before you use it.

When it misleads: an effect runs through everything that comes later, so a head with a large effect may only feed the
head that matters (`semanticbm.path_patching` cuts these wires). Two heads that can stand in for each other both show no
effect when patched alone. And the patched state is one that no input produces.

Shapes: batch, layer, head, position. Here `variant` counts the patched versions of one input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import nnsight
import numpy as np
import torch
from torch import Tensor

from semanticbm.bert import embeddings, layers, mlp_projection, z_projection
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair
from semanticbm.errors import UserError

MIN_CHANGE_LOGITS = 1e-4  # below it one pair's metric is mostly float32 rounding
SITES = ("residual", "attention", "mlp", "heads")
Positions = Sequence[int] | str | None


# ---- The method: read in one run, overwrite in another -------------------------------------------------------------


def site_of(layer, site: str):
    """The module of a traced layer, and which of its two ends, "input" or "output", holds the site (chapter 4)."""
    return {
        "residual": (layer, "input"),
        "attention": (z_projection(layer), "output"),
        "mlp": (mlp_projection(layer), "output"),
        "heads": (z_projection(layer), "input"),
    }[site]


@torch.no_grad()
def read_site(model: CrossEncoder, encoding: Encoding, site: str = "heads") -> list[Tensor]:
    """The site's value in every layer of one traced run: list [layer] of float [batch, position, width] (chapter 4).

    For the site "heads" the width is head * d_head, for the others it is d_model.
    """
    with model.traced.trace(**encoding.inputs):
        values = nnsight.save([])
        for layer in layers(model.traced):
            module, end = site_of(layer, site)
            values.append(getattr(module, end).clone())
    return values


@torch.no_grad()
def patched_scores(model: CrossEncoder, encoding: Encoding, layer: int, site: str, values: Tensor) -> Tensor:
    """Scores of a pair when one site of one layer is overwritten: float [variant] (chapter 4).

    encoding: one pair. values: float [variant, position, width]. One traced run on a batch of copies of the pair.
    """
    with model.traced.trace(**copies(encoding, len(values))):
        module, end = site_of(layers(model.traced)[layer], site)
        setattr(module, end, values)
        scores = model.traced.output.logits[:, 0].save()
    return scores


def metric(patched: np.ndarray, baseline: float, perturbed: float, min_change: float = MIN_CHANGE_LOGITS) -> np.ndarray:
    """m = (S_patched - S_b) / (S_p - S_b) of one pair, any shape (chapter 4, eq-metric).

    `UserError` if |S_p - S_b| < `min_change`, in logits.
    """
    change = perturbed - baseline
    if not abs(change) >= min_change:
        raise UserError(
            f"the two scores differ by {abs(change):.2g} only (under {min_change:.2g}), so a share of the "
            "change has no meaning: take another pair, or use direct_effects_many, which gives logits."
        )
    return (np.asarray(patched) - baseline) / change


def activation_patching(
    model: CrossEncoder,
    baseline: Pair,
    perturbed: Pair,
    site: str = "residual",
    positions: Positions = None,
    batch_size: int | None = None,
) -> np.ndarray:
    """The metric m after patching one place at a time (chapter 4, section 3.1 of the paper).

    Returns float [layer] for the sites residual, attention and mlp, float [layer, head] for heads. With
    `positions="each"` a last axis [position] is added. Equal inputs give exactly 0. `batch_size` places of a layer (by default
    `usual_batch`) share one traced run. `UserError` for pairs of unequal length, for different pairs with (almost) equal
    scores, or an unknown site or position.
    """
    check_choice(site, SITES, "site")
    ours, theirs = encode_both(model, [baseline], [perturbed])
    places = _places(model, site, positions, ours.input_ids.shape[1])
    if same_tokens(ours, theirs).all():
        return np.zeros((model.n_layers, *places.shape[:-2]))
    sources = zip(read_site(model, ours, site), read_site(model, theirs, site), strict=True)
    scores = [
        patched_scores(model, ours, layer, site, _mixed(variants, value_b, value_p))
        for layer, (value_b, value_p) in enumerate(sources)
        for variants in places.reshape(-1, *places.shape[-2:]).split(batch_size or model.usual_batch)
    ]
    patched = to_numpy(torch.cat(scores)).reshape(model.n_layers, *places.shape[:-2])
    return metric(patched, *(float(model.logits(encoding)[0]) for encoding in (ours, theirs)))


# ---- Attribution patching ------------------------------------------------------------------------------------------


@torch.enable_grad()
def gradients(model: CrossEncoder, encoding: Encoding) -> tuple[list[Tensor], list[Tensor]]:
    """z of every layer and dS/dz, two lists [layer] of float [batch, position, head * d_head] (chapter 4)."""
    with model.traced.trace(**encoding.inputs):
        embeddings(model.traced).output.requires_grad_(True)
        z = nnsight.save([])
        for layer in layers(model.traced):
            z.append(z_projection(layer).input)
        scores = model.traced.output.logits[:, 0].save()
    slopes = torch.autograd.grad(scores.sum(), list(z))
    return [value.detach() for value in z], list(slopes)


def attribution_patching(model: CrossEncoder, baseline: Pair, perturbed: Pair) -> np.ndarray:
    """First-order guess at `activation_patching(..., site="heads")`: float [layer, head], as shares of S_p - S_b.

    sum over positions of (dS/dz at the baseline) (z_p - z_b), divided by S_p - S_b: two runs and one backward run
    (chapter 4). Errors as in `activation_patching`.
    """
    ours, theirs = encode_both(model, [baseline], [perturbed])
    if same_tokens(ours, theirs).all():
        return np.zeros((model.n_layers, model.n_heads))
    values = zip(*gradients(model, ours), read_site(model, theirs), strict=True)
    products = torch.cat([slope * (z_p - z_b) for z_b, slope, z_p in values])  # [layer, position, head * d_head]
    guess = to_numpy(products.unflatten(-1, (model.n_heads, -1)).sum((1, 3)))
    score_b, score_p = (float(model.logits(encoding)[0]) for encoding in (ours, theirs))
    return metric(score_b + guess, score_b, score_p)


# ---- Recorded runs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What a run on `encoding` left behind.

    `z`: one float [batch, position, head * d_head] for each layer. `residual`: one float [batch, position, d_model] for
    each layer, what entered it. `scores`: float [batch]. Chapter 4.
    """

    encoding: Encoding
    z: list[Tensor]
    residual: list[Tensor]
    scores: Tensor

    def at(self, positions: slice) -> Run:
        """The same run at some positions only."""
        z, residual = ([value[:, positions] for value in values] for values in (self.z, self.residual))
        return replace(self, z=z, residual=residual)


@torch.no_grad()
def record(model: CrossEncoder, encoding: Encoding) -> Run:
    """Run the model once and keep every layer's z and input (chapter 4)."""
    with model.traced.trace(**encoding.inputs):
        z, residual = nnsight.save([]), nnsight.save([])
        for layer in layers(model.traced):
            residual.append(layer.input)
            z.append(z_projection(layer).input)
        scores = model.traced.output.logits[:, 0].save()
    return Run(encoding, list(z), list(residual), scores)


# ---- Two inputs, and the places to patch ---------------------------------------------------------------------------


def encode_both(model: CrossEncoder, baselines: Iterable[Pair], perturbed: Iterable[Pair]) -> tuple[Encoding, Encoding]:
    """Tokenise baseline and perturbed pairs; `UserError` unless each two have the same number of tokens (chapter 4)."""
    ours, theirs = model.encode(baselines, truncate=False), model.encode(perturbed, truncate=False)
    if len(ours) != len(theirs):
        raise UserError(f"{len(ours)} baseline pairs and {len(theirs)} perturbed pairs: give one for one.")
    for pair, (length, other) in enumerate(zip(ours.lengths.tolist(), theirs.lengths.tolist(), strict=True)):
        if length != other:
            raise UserError(
                f"pair {pair}: the baseline has {length} tokens, the perturbed pair has {other}: patching "
                "needs equal lengths. Fill up the shorter document with a neutral word such as 'a'."
            )
    return ours, theirs


def same_tokens(ours: Encoding, theirs: Encoding) -> np.ndarray:
    """Which pairs have the same tokens in both encodings: bool [batch]. Patching them is exactly nothing (chapter 4)."""
    return (ours.input_ids == theirs.input_ids).all(dim=1).cpu().numpy()


def copies(encoding: Encoding, n: int) -> dict[str, Tensor]:
    """The model's inputs with the whole batch repeated `n` times: each int [n * batch, position] (chapter 4)."""
    return {name: tensor.repeat(n, 1) for name, tensor in encoding.inputs.items()}


def check_choice(value: str, allowed: Sequence[str], name: str) -> None:
    """Raise `UserError` unless `value` is one of `allowed` (chapter 4)."""
    if value not in allowed:
        raise UserError(f"{name}={value!r} is unknown: use one of {', '.join(allowed)}.")


def to_numpy(scores: Tensor) -> np.ndarray:
    """A tensor of any type and device as float64 array (chapter 4)."""
    return scores.detach().double().cpu().numpy()


def _places(model: CrossEncoder, site: str, positions: Positions, length: int) -> Tensor:
    """What is patched, True there: bool [position, 1] for a whole site, [head, position, head] for single heads.

    With positions "each" there is one axis more, before the last two: which position this variant patches.
    """
    rows = _rows(positions, length)[..., None]
    if site != "heads":
        return rows.to(model.device)
    heads = torch.eye(model.n_heads, dtype=torch.bool)[:, None]
    return (heads.unsqueeze(1) & rows if positions == "each" else heads & rows).to(model.device)


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
    """Baseline values, perturbed ones at the places: float [variant, position, width]."""
    width = baseline.shape[-1] // places.shape[-1]
    return torch.where(places.repeat_interleave(width, -1), perturbed, baseline)
