"""Path patching: cut all wires but one, and measure what that one carries.

**The question.** Activation patching tells that a head matters. It does not tell whether the head talks to the score or
to another head. Path patching (section 3 of the paper) measures one *path*: sender -> score, or sender -> receivers.

**Sender -> score, the direct effect** (3.2). Run the baseline pair with the output z of *every* head frozen to the
value that it has there. Only the sender's z is set to its value in the run on the perturbed pair. No other head can
react, so what reaches the score went straight: through the residual stream and the MLPs and LayerNorms on the way,
which stay free. In nnsight (`path_to_score`), with `frozen` from `freeze`:

    with model.traced.trace(**baseline.inputs):
        for layer, z in zip(layers(model.traced), frozen):
            z_projection(layer).input = z
        score = model.traced.output.logits.save()

**Sender -> receivers** (3.3). (1) Record z in both runs. (2) Do the frozen run, and keep the queries, keys or values of
the receiver heads in it (`read_receivers`): that is what they would read if they heard the sender alone. (3) Run the
baseline pair once more, nothing frozen, with these vectors put into the receivers, and read the score
(`path_to_receivers`).

Both give the metric m = (S_patched - S_b) / (S_p - S_b) of `semanticbm.patching`.

**Two forms.** `method="textbook"` is this definition: one or two traced runs for each sender. `method="fast"` gives the
same numbers for all senders in one pass, for the reason that `semanticbm.one_pass` explains. They must agree to
rounding (1e-5 in float32), and both are tested against hooks in plain PyTorch.

**Many pairs.** `direct_effects_many` and `effects_on_receivers_many` return logits, not shares, so that you can take
the ratio of means; `left_out` counts the pairs whose own |S_p - S_b| is under a threshold.

When it misleads: "direct" includes the MLPs of the [CLS] position after the sender. In a post-LayerNorm model the
residual stream is rescaled at every layer, so effects of two heads do not add up to the effect of both. And freezing
keeps the heads at values that belong to another stream: far from the baseline, the frozen model is not the model.

Shapes: batch, pair, layer, head, position; `sender` counts the sending heads, in the order of `all_heads`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import nnsight
import numpy as np
import torch
from torch import Tensor

from semanticbm import one_pass
from semanticbm.bert import layers, projection, z_projection
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair, progress_bar
from semanticbm.errors import UserError
from semanticbm.heads import Head, all_heads
from semanticbm.patching import MIN_CHANGE_LOGITS, Run, check_choice, encode_both, metric, record, same_tokens, to_numpy

CLEAR_CHANGE_LOGITS = 0.1  # pairs that move the score by less are counted as left out
METHODS = ("fast", "textbook")
Receivers = dict[int, list[int]]  # {layer: its receiving heads}, both in order


# ---- The method: traced runs with frozen heads ---------------------------------------------------------------------


def freeze(z_b: Sequence[Tensor], z_p: Sequence[Tensor], sender: Head, n_heads: int) -> list[Tensor]:
    """z of all heads from the baseline, that of the sender from the perturbed run: list [layer] (chapter 4).

    z_b, z_p: lists [layer] of float [batch, position, head * d_head].
    """
    layer, head = sender
    frozen = [z.clone() for z in z_b]
    heads = frozen[layer].unflatten(-1, (n_heads, -1))
    heads[..., head, :] = z_p[layer].unflatten(-1, (n_heads, -1))[..., head, :]
    return frozen


@torch.no_grad()
def path_to_score(model: CrossEncoder, encoding: Encoding, frozen: Sequence[Tensor]) -> Tensor:
    """Scores when every head's z is set to `frozen`, and nothing else is touched: float [batch] (chapter 4)."""
    with model.traced.trace(**encoding.inputs):
        for layer, z in zip(layers(model.traced), frozen, strict=True):
            z_projection(layer).input = z
        scores = model.traced.output.logits[:, 0].save()
    return scores


@torch.no_grad()
def read_receivers(
    model: CrossEncoder, encoding: Encoding, frozen: Sequence[Tensor], receivers: Receivers, into: str
) -> list[Tensor]:
    """Step 2: q, k or v of the receivers' layers in the frozen run, by layer and then in the order of `into`.

    Each float [batch, position, head * d_head]. The run stops in the last receiver's layer (chapter 4).
    """
    with model.traced.trace(**encoding.inputs) as tracer:
        heard = nnsight.save([])
        for layer, block in enumerate(layers(model.traced)):
            if layer in receivers:
                for kind in into:
                    heard.append(projection(block, kind).output.clone())
            if layer == max(receivers):
                tracer.stop()
            z_projection(block).input = frozen[layer]
    return heard


@torch.no_grad()
def path_to_receivers(
    model: CrossEncoder, encoding: Encoding, heard: Sequence[Tensor], receivers: Receivers, into: str
) -> Tensor:
    """Step 3: scores when the receivers read what they `heard`, and nothing is frozen: float [batch] (chapter 4)."""
    queue = iter(heard)
    with model.traced.trace(**encoding.inputs):
        for layer, heads in receivers.items():
            for kind in into:
                module = projection(layers(model.traced)[layer], kind)
                value = module.output.clone()
                slots, new = (vectors.unflatten(-1, (model.n_heads, -1)) for vectors in (value, next(queue)))
                slots[..., heads, :] = new[..., heads, :]
                module.output = value
        scores = model.traced.output.logits[:, 0].save()
    return scores


def score_effects_textbook(model: CrossEncoder, ours: Run, theirs: Run) -> Tensor:
    """S_patched - S_b of every head on the path to the score: float [sender, batch]. One trace a sender (chapter 4)."""
    frozen = (freeze(ours.z, theirs.z, sender, model.n_heads) for sender in all_heads(model.head_shape))
    return torch.stack([path_to_score(model, ours.encoding, z) - ours.scores for z in frozen])


def receiver_effects_textbook(model: CrossEncoder, ours: Run, theirs: Run, receivers: Receivers, into: str) -> Tensor:
    """S_patched - S_b of every head before the last receiver's layer: float [sender, batch]. Two traces a sender.

    Chapter 4.
    """
    effects = [torch.empty(0, len(ours.scores), device=model.device)]
    for sender in all_heads((max(receivers), model.n_heads)):
        frozen = freeze(ours.z, theirs.z, sender, model.n_heads)
        heard = read_receivers(model, ours.encoding, frozen, receivers, into)
        scores = path_to_receivers(model, ours.encoding, heard, receivers, into)
        effects.append((scores - ours.scores)[None])
    return torch.cat(effects)


# ---- What the book calls -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PathEffects:
    """Effects of every head on some pairs, in logits.

    `effects`: S_patched - S_b, float [pair, layer, head]; NaN where the head is no sender. `baseline`, `perturbed`: S_b
    and S_p, float [pair]. Pairs with |S_p - S_b| < `min_change` are in the arrays, and left out of the summaries. Chapter 4.
    """

    effects: np.ndarray
    baseline: np.ndarray
    perturbed: np.ndarray
    min_change: float

    @property
    def changes(self) -> np.ndarray:
        """S_p - S_b: float [pair]."""
        return self.perturbed - self.baseline

    @property
    def kept(self) -> np.ndarray:
        """Which pairs move the score by at least `min_change`: bool [pair]."""
        return np.abs(self.changes) >= self.min_change

    @property
    def left_out(self) -> int:
        """Number of pairs that move the score by less."""
        return int((~self.kept).sum())

    def ratio_of_means(self) -> np.ndarray:
        """Mean effect over mean change of the kept pairs, float [layer, head]: larger changes weigh more."""
        if not self.kept.any():
            raise UserError(
                f"no pair moves the score by {self.min_change:.2g} or more: take other pairs or a lower min_change."
            )
        return self.effects[self.kept].mean(0) / self.changes[self.kept].mean()

    def share_of_only_pair(self) -> np.ndarray:
        """The metric of a single pair, float [layer, head]; 0 if nothing differs and nothing moves."""
        if self.changes[0] == 0 and not np.nan_to_num(self.effects).any():
            return self.effects[0]
        return metric(self.baseline[0] + self.effects[0], self.baseline[0], self.perturbed[0], self.min_change)


def direct_effects(
    model: CrossEncoder, baseline: Pair, perturbed: Pair, method: str = "fast", min_change: float = MIN_CHANGE_LOGITS
) -> np.ndarray:
    """Direct effect of every head on the score, as share of the full change: float [layer, head].

    Chapter 4, section 3.2 of the paper. Equal inputs give exactly 0. `UserError` if the pairs have unequal token
    lengths, or if |S_p - S_b| < `min_change` logits.
    """
    return direct_effects_many(model, [baseline], [perturbed], method, min_change).share_of_only_pair()


def effects_on_receivers(
    model: CrossEncoder,
    baseline: Pair,
    perturbed: Pair,
    receivers: Iterable[Head],
    into: str = "v",
    method: str = "fast",
) -> np.ndarray:
    """Effect of every head on the score through the receivers' q, k or v: float [layer, head].

    Chapter 4, section 3.3 of the paper. receivers: a set of (layer, head), patched together. into: "q", "k", "v", or
    several such as "qkv". Senders are the heads before the last receiver's layer; the others are NaN. Errors as in
    `direct_effects`.
    """
    found = effects_on_receivers_many(model, [baseline], [perturbed], receivers, into, method, MIN_CHANGE_LOGITS)
    return found.share_of_only_pair()


def direct_effects_many(
    model: CrossEncoder,
    baselines: Iterable[Pair],
    perturbed: Iterable[Pair],
    method: str = "fast",
    min_change: float = CLEAR_CHANGE_LOGITS,
    batch_size: int = 16,
    progress: bool = False,
) -> PathEffects:
    """Direct effects of every head on many pairs, in logits (chapter 4); batches may hold different lengths.

    Pairs with |S_p - S_b| < `min_change` (default 0.1 logits) stay in the arrays and are counted in `left_out`.
    """
    check_choice(method, METHODS, "method")
    paths = partial(one_pass.effects_on_score if method == "fast" else score_effects_textbook, model)
    return _measure(model, paths, baselines, perturbed, min_change, batch_size, progress)


def effects_on_receivers_many(
    model: CrossEncoder,
    baselines: Iterable[Pair],
    perturbed: Iterable[Pair],
    receivers: Iterable[Head],
    into: str = "v",
    method: str = "fast",
    min_change: float = CLEAR_CHANGE_LOGITS,
    progress: bool = False,
) -> PathEffects:
    """As `direct_effects_many`, through the q, k or v of a set of receivers (chapter 4)."""
    check_choice(method, METHODS, "method")
    form = one_pass.effects_through_receivers if method == "fast" else receiver_effects_textbook
    paths = partial(form, model, receivers=_by_layer(model, receivers, into), into=into)
    return _measure(model, paths, baselines, perturbed, min_change, 1, progress)  # all senders of one pair fill a batch


# ---- Batches of pairs ----------------------------------------------------------------------------------------------


def _by_layer(model: CrossEncoder, receivers: Iterable[Head], into: str) -> Receivers:
    """Receivers by layer; `UserError` for heads or inputs that do not exist."""
    by_layer: Receivers = {}
    for layer, head in sorted(set(receivers)):
        model.check_head(layer, head)
        by_layer.setdefault(layer, []).append(head)
    if not by_layer:
        raise UserError("no receiver was given: name at least one head as (layer, head).")
    if not into or len(set(into)) != len(into) or set(into) - set("qkv"):
        raise UserError(f"into={into!r} is unknown: use q, k or v, or several of them such as 'qkv'.")
    return by_layer


def _measure(
    model: CrossEncoder,
    paths: Callable[[Run, Run], Tensor],
    baselines: Iterable[Pair],
    perturbed: Iterable[Pair],
    min_change: float,
    batch_size: int,
    progress: bool,
) -> PathEffects:
    """What `paths` measures, over batches of pairs; `UserError` unless there are as many of both."""
    baselines, perturbed = list(baselines), list(perturbed)
    if len(baselines) != len(perturbed):
        raise UserError(f"{len(baselines)} baseline pairs and {len(perturbed)} perturbed pairs: give one for one.")
    if not baselines:
        raise UserError("no pair was given: path patching needs at least one.")
    starts = progress_bar(range(0, len(baselines), batch_size), f"path patching {model.name}" if progress else "")
    batches = (slice(start, start + batch_size) for start in starts)
    parts = [_effects_of_batch(model, paths, baselines[batch], perturbed[batch]) for batch in batches]
    effects, score_b, score_p = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return PathEffects(effects, score_b, score_p, min_change)


def _effects_of_batch(
    model: CrossEncoder, paths: Callable[[Run, Run], Tensor], baselines: Sequence[Pair], perturbed: Sequence[Pair]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effects [pair, layer, head], S_b and S_p [pair]. Equal inputs get exactly 0, where rounding may leave 1e-7."""
    both = encode_both(model, baselines, perturbed)
    ours, theirs = (record(model, encoding) for encoding in both)
    by_sender = to_numpy(paths(ours, theirs)).T
    effects = np.full((len(baselines), model.n_layers * model.n_heads), np.nan)
    effects[:, : by_sender.shape[1]] = by_sender
    score_b, score_p, same = to_numpy(ours.scores), to_numpy(theirs.scores), same_tokens(*both)
    effects[same] *= 0.0
    score_p[same] = score_b[same]
    return effects.reshape(-1, *model.head_shape), score_b, score_p
