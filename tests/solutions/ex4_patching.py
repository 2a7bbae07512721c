"""Reference answers for chapter 4."""

import nnsight
import torch

from semanticbm.bert import after_heads, layers, score_from_cls, self_attention, z_projection


def metric(patched, baseline, perturbed):
    return (patched - baseline) / (perturbed - baseline)


def query_effect(patched, baseline, perturbed):
    return (patched - baseline).sum() / (perturbed - baseline).sum()


def _columns(z, head, n_heads):
    d_head = z.shape[-1] // n_heads
    return slice(head * d_head, (head + 1) * d_head)


def _all_z(traced, inputs):
    with torch.no_grad(), traced.trace(**inputs):
        kept = nnsight.save([])
        for layer in layers(traced):
            kept.append(z_projection(layer).input.clone())
    return kept


def patch_head(traced, baseline, perturbed, layer, head, n_heads):
    with torch.no_grad(), traced.trace(**perturbed):
        source = z_projection(layers(traced)[layer]).input.clone().save()
    part = _columns(source, head, n_heads)
    with torch.no_grad(), traced.trace(**baseline):
        z = z_projection(layers(traced)[layer]).input.clone()
        z[..., part] = source[..., part]
        z_projection(layers(traced)[layer]).input = z
        scores = traced.output.logits[:, 0].save()
    return scores


def _frozen_with_sender(traced, baseline, perturbed, layer, head, n_heads):
    frozen, source = _all_z(traced, baseline), _all_z(traced, perturbed)
    part = _columns(source[layer], head, n_heads)
    frozen[layer][..., part] = source[layer][..., part]
    return frozen


def path_to_score(traced, baseline, perturbed, layer, head, n_heads):
    values = _frozen_with_sender(traced, baseline, perturbed, layer, head, n_heads)
    with torch.no_grad(), traced.trace(**baseline):
        for module, z in zip(layers(traced), values, strict=True):
            z_projection(module).input = z
        scores = traced.output.logits[:, 0].save()
    return scores


def cls_shortcut(hf, cls, z_baseline, z_perturbed, layer, head):
    part = _columns(z_baseline, head, hf.config.num_attention_heads)
    z = z_baseline.clone()
    z[layer, part] = z_perturbed[layer, part]
    for number, module in enumerate(layers(hf)):
        cls = after_heads(module, z[number], cls)
    return score_from_cls(hf, cls)


def path_to_head(traced, baseline, perturbed, sender, receiver, kind, n_heads):
    values = _frozen_with_sender(traced, baseline, perturbed, *sender, n_heads)
    with torch.no_grad(), traced.trace(**baseline):
        for number in range(receiver[0]):
            z_projection(layers(traced)[number]).input = values[number]
        seen = getattr(self_attention(layers(traced)[receiver[0]]), kind).output.clone().save()
    part = _columns(seen, receiver[1], n_heads)
    with torch.no_grad(), traced.trace(**baseline):
        value = getattr(self_attention(layers(traced)[receiver[0]]), kind).output.clone()
        value[..., part] = seen[..., part]
        getattr(self_attention(layers(traced)[receiver[0]]), kind).output = value
        scores = traced.output.logits[:, 0].save()
    return scores


def attribution(slopes, z_baseline, z_perturbed, n_heads):
    guess = (slopes * (z_perturbed - z_baseline)).sum(axis=0)
    return guess.reshape(n_heads, -1).sum(axis=1)
