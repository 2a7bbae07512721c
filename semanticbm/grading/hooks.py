"""Plain PyTorch hooks on a BERT: the independent oracle for the exercises on patching.

One function runs a model and lets the caller see and replace two kinds of values: z, what the heads of a layer computed
(the input of W_O), and the projections query, key, value. PyTorch is imported on first use: some exercises of the chapter
need numbers alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from semanticbm.cross_encoder import CrossEncoder

KINDS = ("query", "key", "value")


@dataclass
class Trace:
    """What a run saw. `scores`: float [batch]. `z`: [layer] of float [batch, position, head * d_head].
    `projections`: {(layer, kind): the same shape}.
    """

    scores: Tensor | None = None
    z: list[Tensor] = field(default_factory=list)
    projections: dict[tuple[int, str], Tensor] = field(default_factory=dict)


def columns(model: CrossEncoder, head: int) -> slice:
    """The columns of z that belong to a head."""
    return slice(head * model.d_head, (head + 1) * model.d_head)


def _hooks(trace: Trace, layer: int, kind: str | None, edit: Callable | None) -> Callable:
    def on_z(_, inputs):
        trace.z.append(inputs[0].clone() if edit is None else edit(layer, inputs[0].clone()))
        return (trace.z[-1],)

    def on_projection(_, __, output):
        trace.projections[layer, kind] = output.clone() if edit is None else edit(layer, kind, output.clone())
        return trace.projections[layer, kind]

    return on_z if kind is None else on_projection


def run(
    model: CrossEncoder, inputs: dict, edit_z: Callable | None = None, edit_projection: Callable | None = None
) -> Trace:
    """Run a model on a batch. `edit_z(layer, z) -> z`; `edit_projection(layer, kind, value) -> value`."""
    import torch

    from semanticbm.bert import layers, self_attention, z_projection

    trace = Trace()
    with ExitStack() as stack, torch.no_grad():
        for number, layer in enumerate(layers(model.hf)):
            hook = z_projection(layer).register_forward_pre_hook(_hooks(trace, number, None, edit_z))
            stack.callback(hook.remove)
            for kind in KINDS:
                part = getattr(self_attention(layer), kind)
                hook = part.register_forward_hook(_hooks(trace, number, kind, edit_projection))
                stack.callback(hook.remove)
        trace.scores = model.hf(**inputs).logits[:, 0]
    return trace


def with_columns(value: Tensor, source: Tensor, where: slice) -> Tensor:
    """A copy of `value` with some columns from `source`."""
    value = value.clone()
    value[..., where] = source[..., where]
    return value


def patch_head(model: CrossEncoder, baseline: dict, source: list[Tensor], layer: int, head: int) -> Tensor:
    """Scores on the baseline with one head's z from `source`; everything after it runs freely: float [batch]."""

    def edit(number, z):
        return with_columns(z, source[number], columns(model, head)) if number == layer else z

    return run(model, baseline, edit).scores


def path_to_score(model: CrossEncoder, baseline: dict, perturbed: dict, layer: int, head: int) -> Tensor:
    """Scores on the baseline with all heads frozen there, except the sender, which comes from the perturbed run."""
    frozen, source = run(model, baseline).z, run(model, perturbed).z
    where = columns(model, head)

    def edit(number, _):
        return with_columns(frozen[number], source[number], where) if number == layer else frozen[number]

    return run(model, baseline, edit).scores


def path_to_head(
    model: CrossEncoder,
    baseline: dict,
    perturbed: dict,
    sender: tuple[int, int],
    receiver: tuple[int, int],
    kind: str,
    frozen: bool = True,
    whole_layer: bool = False,
) -> Tensor:
    """Scores on the baseline with the receiver's projection as the sender alone would change it (paper section 3.3).

    `frozen=False` and `whole_layer=True` are two mistakes, for comparison.
    """
    clean, source = run(model, baseline).z, run(model, perturbed).z
    where = columns(model, sender[1])

    def edit(number, z):
        z = clean[number] if frozen else z
        return with_columns(z, source[number], where) if number == sender[0] else z

    seen = run(model, baseline, edit).projections[receiver[0], kind]
    part = slice(None) if whole_layer else columns(model, receiver[1])

    def put(number, name, value):
        return with_columns(value, seen, part) if (number, name) == (receiver[0], kind) else value

    return run(model, baseline, None, put).scores
