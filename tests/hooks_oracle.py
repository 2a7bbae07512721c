"""Patching once more, in plain PyTorch hooks and nothing else: the oracle of `patching` and `path_patching`.

Nothing is shared with the library: modules are found by their names in the Hugging Face model, runs are whole forwards
of one pair, one patch each. Slow, and easy to check by eye.
"""

from collections import namedtuple
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

Kept = namedtuple("Kept", "score z residual attention mlp")  # lists [layer] of [batch, position, width], but score


@contextmanager
def before(module, change):
    """`change(first input)` gives the new first input, or None."""

    def hook(_, args):
        new = change(args[0])
        return None if new is None else (new, *args[1:])

    handle = module.register_forward_pre_hook(hook)
    yield
    handle.remove()


@contextmanager
def after(module, change):
    """`change(output)` gives the new output, or None."""
    handle = module.register_forward_hook(lambda _, args, output: change(output))
    yield
    handle.remove()


def blocks(hf):
    return hf.bert.encoder.layer


def ends(block):
    """(kind of hook, module) of each site."""
    return {
        "residual": (before, block),
        "heads": (before, block.attention.output.dense),
        "attention": (after, block.attention.output.dense),
        "mlp": (after, block.output.dense),
    }


@torch.no_grad()
def run(hf, inputs, hooks=()):
    """Scores [batch] of a whole forward under some hooks: (kind, module, change)."""
    with ExitStack() as stack:
        for kind, module, change in hooks:
            stack.enter_context(kind(module, change))
        return hf(**inputs).logits[:, 0]


def keep(hf, inputs):
    stores = {site: [] for site in ("heads", "residual", "attention", "mlp")}

    def keeper(site):
        return lambda value: stores[site].append(value.clone())

    hooks = [(*ends(block)[site], keeper(site)) for block in blocks(hf) for site in stores]
    score = run(hf, inputs, hooks)
    return Kept(score, stores["heads"], stores["residual"], stores["attention"], stores["mlp"])


def columns(hf, head):
    width = hf.config.hidden_size // hf.config.num_attention_heads
    return slice(head * width, (head + 1) * width)


def put(value, source, positions, where=slice(None)):
    """A copy of `value` with some positions and columns from `source`."""
    new = value.clone()
    for position in positions:
        new[:, position, where] = source[:, position, where]
    return new


def activation(hf, baseline, perturbed, site, layer, positions, head=None):
    """S_patched of one patch of one site in one layer."""
    source = {
        "heads": keep(hf, perturbed).z,
        "residual": keep(hf, perturbed).residual,
        "attention": keep(hf, perturbed).attention,
        "mlp": keep(hf, perturbed).mlp,
    }[site][layer]
    where = slice(None) if head is None else columns(hf, head)
    kind, module = ends(blocks(hf)[layer])[site]
    return run(hf, baseline, [(kind, module, lambda value: put(value, source, positions, where))])


def frozen_z(hf, z_b, z_p, sender):
    layer, head = sender
    z = [value.clone() for value in z_b]
    z[layer][:, :, columns(hf, head)] = z_p[layer][:, :, columns(hf, head)]
    return z


def fix_heads(hf, z):
    """Hooks that set every head's z."""
    return [
        (before, block.attention.output.dense, lambda _, new=new: new) for block, new in zip(blocks(hf), z, strict=True)
    ]


def direct(hf, baseline, perturbed):
    """S_patched of every sender: float [layer, head, batch]."""
    z_b, z_p = keep(hf, baseline).z, keep(hf, perturbed).z
    shape = (hf.config.num_hidden_layers, hf.config.num_attention_heads)
    scores = [
        run(hf, baseline, fix_heads(hf, frozen_z(hf, z_b, z_p, sender))).double().cpu().numpy()
        for sender in np.ndindex(*shape)
    ]
    return np.array(scores).reshape(*shape, -1)


def through(hf, baseline, perturbed, receivers, into):
    """S_patched of every sender before the last receiver's layer: float [layer, head, batch]; NaN for the others."""
    z_b, z_p = keep(hf, baseline).z, keep(hf, perturbed).z
    scores = np.full((hf.config.num_hidden_layers, hf.config.num_attention_heads, len(z_b[0])), np.nan)
    for sender in np.ndindex(max(layer for layer, _ in receivers), hf.config.num_attention_heads):
        heard = listen(hf, baseline, frozen_z(hf, z_b, z_p, sender), receivers, into)
        speak = [
            (after, module, lambda value, new=new, heads=heads: swap(hf, value, new, heads))
            for module, new, heads in heard
        ]
        scores[sender] = run(hf, baseline, speak).double().cpu().numpy()
    return scores


def listen(hf, inputs, z, receivers, into):
    """The receivers' projections in the frozen run: list of (module, value, heads)."""
    found = []
    for layer in {layer for layer, _ in receivers}:
        for kind in into:
            module = getattr(blocks(hf)[layer].attention.self, {"q": "query", "k": "key", "v": "value"}[kind])
            found.append([module, None, [head for place, head in receivers if place == layer]])

    def recorder(item):
        return lambda value: item.__setitem__(1, value.clone())

    run(hf, inputs, fix_heads(hf, z) + [(after, item[0], recorder(item)) for item in found])
    return found


def swap(hf, value, new, heads):
    value = value.clone()
    for head in heads:
        value[:, :, columns(hf, head)] = new[:, :, columns(hf, head)]
    return value
