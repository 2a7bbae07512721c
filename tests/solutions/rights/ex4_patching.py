"""Right answers for chapter 4, written another way: in place on views, as one batch, with plain hooks."""

import numpy as np
import torch

from semanticbm.bert import after_heads, layers, score_from_cls, self_attention, z_projection


def metric__rearranged(patched, baseline, perturbed):
    return 1 - (perturbed - patched) / (perturbed - baseline)


def query_effect__means(patched, baseline, perturbed):
    return float((np.mean(patched) - np.mean(baseline)) / (np.mean(perturbed) - np.mean(baseline)))


def patch_head__one_batch(traced, baseline, perturbed, layer, head, n_heads):
    both = {name: torch.cat([baseline[name], perturbed[name]]) for name in baseline}
    n = len(baseline["input_ids"])
    with torch.no_grad(), traced.trace(**both):
        z = z_projection(layers(traced)[layer]).input
        heads = z.unflatten(-1, (n_heads, -1))
        heads[:n, :, head] = heads[n:, :, head]
        scores = traced.output.logits[:n, 0].save()
    return scores


def _run(hf, inputs, before=None, projection=None):
    """Scores and z of every layer. `before(layer, z) -> z`; `projection`: (layer, kind, function)."""
    seen, handles = {}, []
    for number, layer in enumerate(layers(hf)):

        def hook(_, args, number=number):
            seen[number] = args[0] if before is None else before(number, args[0])
            return (seen[number],)

        handles.append(z_projection(layer).register_forward_pre_hook(hook))
    if projection:
        number, kind, function = projection
        module = getattr(self_attention(layers(hf)[number]), kind)
        handles.append(module.register_forward_hook(lambda _, __, output: function(output)))
    with torch.no_grad():
        scores = hf(**inputs).logits[:, 0]
    for handle in handles:
        handle.remove()
    return scores, seen


def _sent(hf, baseline, perturbed, layer, head, n_heads):
    """A function of (layer, z) that freezes all heads but the sender."""
    frozen, source = _run(hf, baseline)[1], _run(hf, perturbed)[1]

    def before(number, _):
        z = frozen[number].clone().unflatten(-1, (n_heads, -1))
        if number == layer:
            z[:, :, head] = source[number].unflatten(-1, (n_heads, -1))[:, :, head]
        return z.flatten(-2)

    return before


def path_to_score__hooks(traced, baseline, perturbed, layer, head, n_heads):
    return _run(traced._module, baseline, _sent(traced._module, baseline, perturbed, layer, head, n_heads))[0]


def cls_shortcut__only_later_layers_change(hf, cls, z_baseline, z_perturbed, layer, head):
    mask = torch.zeros_like(z_baseline).unflatten(-1, (hf.config.num_attention_heads, -1))
    mask[layer, head] = 1
    rows = torch.where(mask.flatten(-2) == 1, z_perturbed, z_baseline)
    for module, z in zip(layers(hf), rows, strict=True):
        cls = after_heads(module, z[None], cls[None])[0]
    return score_from_cls(hf, cls[None])[0]


def path_to_head__hooks(traced, baseline, perturbed, sender, receiver, kind, n_heads):
    hf, kept = traced._module, {}
    place = (receiver[0], kind, lambda output: kept.setdefault("value", output))
    _run(hf, baseline, _sent(hf, baseline, perturbed, *sender, n_heads), place)

    def put(output):
        output = output.clone().unflatten(-1, (n_heads, -1))
        output[:, :, receiver[1]] = kept["value"].unflatten(-1, (n_heads, -1))[:, :, receiver[1]]
        return output.flatten(-2)

    return _run(hf, baseline, None, (receiver[0], kind, put))[0]


def attribution__einsum(slopes, z_baseline, z_perturbed, n_heads):
    shape = (len(slopes), n_heads, -1)
    return torch.einsum(
        "phd,phd->h", torch.tensor(slopes.reshape(shape)), torch.tensor((z_perturbed - z_baseline).reshape(shape))
    )
