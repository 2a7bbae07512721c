"""One pass: the numbers of path patching, exactly, without a run for each sender.

**Why one pass is enough.** Attention is the only place where positions exchange anything. With all heads frozen it does
nothing: LayerNorm, MLP and residual stream act on each position alone. The score reads [CLS]. So a sender's direct
effect depends on its z at [CLS] and on nothing else, and "the model with frozen heads" is a stack of MLPs on one vector.
All senders together are one batch of such vectors (`frozen_streams`), about the work of one plain forward. For receivers
the same holds up to their layer, at every position; from there on the model runs freely (`_scores_hearing`), and in the
last layer again only [CLS] counts.

This is an identity, not an approximation. It also means that a head which does not write at [CLS] has no direct effect.

**nnsight or one pass.** The interventions of this library are nnsight traces. Written out by hand is only what saves a
factor of three or more against a batched trace where it is used most (all senders to the score, and receivers in early
layers; into middle layers it saves 2.5 to 2.8), and there the trace stays beside it as the oracle:

=========================================================  ========  =================================================
function                                                   runs      why
=========================================================  ========  =================================================
`patching.activation_patching`, `patching.record`          nnsight   a batch of patched copies is one trace
`patching.attribution_patching`                            nnsight   one trace and its gradient
`path_patching.direct_effects`, `.direct_effects_many`     one pass  one vector for each sender, not a whole run;
                                                                     oracle: `path_patching.score_effects_textbook`
`path_patching.effects_on_receivers`, `..._many`           one pass  no attention before the receivers, nothing twice;
                                                                     oracle: `path_patching.receiver_effects_textbook`
`ablation.role_means`, `mean_ablation`, `block_attention`  nnsight   one trace for each batch of pairs
`idf.edited_scores`, `edit_effects`                        nnsight   a batch of edited copies is one trace
`explaining.reading.read_pairs`, `.read_fillers`           nnsight   a batch of pairs is one trace
=========================================================  ========  =================================================

**The last layer.** The score reads [CLS], so nothing else has to go through the last layer. Ablations, edits and
explanations skip it (`.skip` in nnsight) and send [CLS] alone (`end_at_cls`): the same score, a seventh of the work less.

When it misleads: the shortcut holds for heads frozen at *all* positions, and for a score that reads one position. Free a
single head of a later layer, or read a second position, and it is wrong.

Shapes: batch, layer, head, position; `row` counts the senders of a batch, row 0 is the run without a sender.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from semanticbm.bert import after_heads, layers, projection, score_from_cls
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.heads import Head, all_heads
from semanticbm.patching import Run

MEMORY_BYTES = 64 * 2**20  # what one batch of senders may need, about


def frozen_streams(model: CrossEncoder, ours: Run, theirs: Run, senders: Sequence[Head]) -> Iterator[Tensor]:
    """The residual stream of the frozen model, for all senders at once, as it enters layers 0, 1, ..., n_layers.

    ours, theirs: the runs on baseline and perturbed pairs, at any subset of positions, since none of them looks at
    another one. senders: sorted by layer. Yields float [row, batch, position, d_model]: row 0 has no sender, row i the
    i-th one. A sender gets its row in its own layer, as a copy of row 0 with its z swapped; before that it could not
    differ. Chapter 4.
    """
    stream = ours.residual[0][None]
    for layer, block in enumerate(layers(model.hf)):
        yield stream
        heads = [head for own_layer, head in senders if own_layer == layer]
        swapped = ours.z[layer].repeat(len(heads), 1, 1, 1)
        slots, new = (z.unflatten(-1, (model.n_heads, -1)) for z in (swapped, theirs.z[layer]))
        for row, head in enumerate(heads):
            slots[row, ..., head, :] = new[..., head, :]
        z = torch.cat([ours.z[layer].expand(len(stream), -1, -1, -1), swapped])
        stream = after_heads(block, z, torch.cat([stream, stream[:1].expand(len(heads), -1, -1, -1)]))
    yield stream


@torch.no_grad()
def effects_on_score(model: CrossEncoder, ours: Run, theirs: Run, memory: int = MEMORY_BYTES) -> Tensor:
    """S_patched - S_b of every head on the path to the score: float [sender, batch] (chapter 4, paper 3.2)."""
    cls_ours, cls_theirs, effects = ours.at(slice(1)), theirs.at(slice(1)), []
    for senders in _chunks(model, all_heads(model.head_shape), len(ours.scores), memory):
        *_, last = frozen_streams(model, cls_ours, cls_theirs, senders)
        scores = score_from_cls(model.hf, last[:, :, 0])
        effects.append(scores[1:] - scores[0])
    return torch.cat(effects)


def _chunks(model: CrossEncoder, senders: Sequence[Head], n_tokens: int, memory: int) -> Iterator[Sequence[Head]]:
    """The senders in batches that need about `memory` bytes, with `n_tokens` tokens for each sender."""
    size = model.hf.config.intermediate_size + 6 * model.d_model + 2 * model.n_heads * n_tokens
    step = max(1, memory // (size * n_tokens * model.hf.dtype.itemsize))
    return (senders[start : start + step] for start in range(0, len(senders), step))


@torch.no_grad()
def effects_through_receivers(
    model: CrossEncoder, ours: Run, theirs: Run, receivers: dict[int, list[int]], into: str, memory: int = MEMORY_BYTES
) -> Tensor:
    """S_patched - S_b of every head before the last receiver's layer: float [sender, batch] (chapter 4, paper 3.3).

    receivers: {layer: heads}, sorted. into: some of "qkv". All positions matter, with one exception: queries in the last
    layer, where only [CLS] asks something that counts.
    """
    only_cls = into == "q" and min(receivers) == model.n_layers - 1
    runs = [run.at(slice(1)) if only_cls else run for run in (ours, theirs)]
    effects = [torch.empty(0, len(ours.scores), device=model.device)]
    for senders in _chunks(model, all_heads((max(receivers), model.n_heads)), ours.encoding.input_ids.numel(), memory):
        streams = islice(frozen_streams(model, *runs, senders), max(receivers) + 1)
        heard = {
            layer: _what_heads_read(model, layer, stream, receivers[layer], into, 1 + len(senders))
            for layer, stream in enumerate(streams)
            if layer in receivers
        }
        scores = _scores_hearing(model, ours, receivers, heard)
        effects.append(scores[1:] - scores[0])
    return torch.cat(effects)


def _what_heads_read(
    model: CrossEncoder, layer: int, stream: Tensor, heads: list[int], into: str, n_rows: int
) -> dict[str, Tensor]:
    """Step 2: {kind: float [row, batch, head, position, d_head]} of some heads; later senders' rows equal row 0."""
    read = {}
    for kind in into:
        vectors = projected(model, layer, kind, stream)[:, :, heads]
        read[kind] = torch.cat([vectors, vectors[:1].expand(n_rows - len(stream), -1, -1, -1, -1)])
    return read


def _scores_hearing(
    model: CrossEncoder, ours: Run, receivers: dict[int, list[int]], heard: dict[int, dict[str, Tensor]]
) -> Tensor:
    """Step 3: scores of the baseline when the receivers read what they heard: float [row, batch].

    Starts in the first receiver's layer, because nothing differs before it.
    """
    mask = ours.encoding.visible
    first = min(receivers)
    hidden = ours.residual[first][None]
    for layer in range(first, model.n_layers):
        vectors = {kind: projected(model, layer, kind, hidden) for kind in "qkv"}
        if layer == model.n_layers - 1:  # the score reads [CLS], so nothing else needs to ask
            vectors["q"], hidden = vectors["q"][..., :1, :], hidden[..., :1, :]
        for kind, new in heard.get(layer, {}).items():
            vectors[kind] = vectors[kind].expand(len(new), -1, -1, -1, -1).clone()
            vectors[kind][:, :, receivers[layer]] = new[..., : vectors[kind].shape[-2], :]
        z, _ = _attend(**vectors, mask=mask)
        hidden = after_heads(layers(model.hf)[layer], z, hidden.expand(len(z), -1, -1, -1))
    return score_from_cls(model.hf, hidden[..., 0, :])


def last_layer_of_cls(model: CrossEncoder, state: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The last layer for [CLS] alone, since the score reads nothing else: most of that layer's work is saved.

    state: float [batch, position, d_model], what enters the layer. mask: bool [batch, 1, 1, position], False at padding.
    Gives what leaves it, float [batch, 1, d_model], and the attention of [CLS], float [batch, head, 1, position]. Chapter 4.
    """
    last, cls = model.n_layers - 1, state[:, :1]
    q, k, v = (projected(model, last, kind, cls if kind == "q" else state) for kind in "qkv")
    z, pattern = _attend(q, k, v, mask)
    return after_heads(layers(model.hf)[last], z, cls), pattern


def end_at_cls(model: CrossEncoder, mask: Tensor) -> Tensor:
    """Inside an nnsight trace: skip the last layer, and let [CLS] alone through it. Its attention, as `last_layer_of_cls`.

    The score stays the same; other positions do not leave the model. Chapter 4.
    """
    last = layers(model.traced)[-1]
    state, pattern = last_layer_of_cls(model, last.input, mask)
    last.skip(state)
    return pattern


def projected(model: CrossEncoder, layer: int, kind: str, hidden: Tensor) -> Tensor:
    """Queries, keys or values of all heads: float [..., position, d_model] -> [..., head, position, d_head] (chapter 2)."""
    vectors = projection(layers(model.hf)[layer], kind)(hidden)
    return vectors.unflatten(-1, (model.n_heads, -1)).transpose(-2, -3)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax attention to the positions where `mask` is True.

    z, float [..., position, head * d_head], and the pattern, float [..., head, position, position].
    """
    logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    pattern = logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(-1)
    return (pattern @ v).transpose(-2, -3).flatten(-2), pattern
