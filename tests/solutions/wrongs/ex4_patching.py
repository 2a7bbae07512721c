"""Plausible wrong answers for chapter 4. Named exercise__mistake__check_that_must_fail."""

import nnsight
import numpy as np
import torch

from semanticbm.bert import after_heads, layers, score_from_cls, self_attention, z_projection


def metric__exchanged__ends(patched, baseline, perturbed):
    return (patched - perturbed) / (baseline - perturbed)


def metric__relative_to_baseline__ends(patched, baseline, perturbed):
    return (patched - baseline) / baseline


def metric__not_divided__ends(patched, baseline, perturbed):
    return patched - baseline


def metric__cut__outside(patched, baseline, perturbed):
    return float(np.clip((patched - baseline) / (perturbed - baseline), 0, 1))


def metric__no_sign__outside(patched, baseline, perturbed):
    return abs(patched - baseline) / abs(perturbed - baseline)


def query_effect__mean_of_ratios__tiny_change(patched, baseline, perturbed):
    return ((patched - baseline) / (perturbed - baseline)).mean()


def query_effect__median_of_ratios__tiny_change(patched, baseline, perturbed):
    return float(np.median((patched - baseline) / (perturbed - baseline)))


def query_effect__no_signs__tiny_change(patched, baseline, perturbed):
    return np.abs(patched - baseline).sum() / np.abs(perturbed - baseline).sum()


def query_effect__sum_of_ratios__equal_changes(patched, baseline, perturbed):
    return ((patched - baseline) / (perturbed - baseline)).sum()


def query_effect__first_document__equal_changes(patched, baseline, perturbed):
    return (patched[0] - baseline[0]) / (perturbed[0] - baseline[0])


def _part(z, head, n_heads):
    d_head = z.shape[-1] // n_heads
    return slice(head * d_head, (head + 1) * d_head)


def _patched(traced, baseline, perturbed, layer, place):
    """One trace to fetch, one to patch; `place` indexes z."""
    with torch.no_grad(), traced.trace(**perturbed):
        source = z_projection(layers(traced)[layer]).input.clone().save()
    with torch.no_grad(), traced.trace(**baseline):
        z = z_projection(layers(traced)[layer]).input.clone()
        z[place] = source[place]
        z_projection(layers(traced)[layer]).input = z
        scores = traced.output.logits[:, 0].save()
    return scores


def _width(traced):
    return layers(traced._module)[0].attention.self.all_head_size


def _head(traced, head, n_heads):
    d_head = _width(traced) // n_heads
    return slice(head * d_head, (head + 1) * d_head)


ALL = slice(None)


def patch_head__after_projection__one_pair(traced, baseline, perturbed, layer, head, n_heads):
    with torch.no_grad(), traced.trace(**perturbed):
        source = z_projection(layers(traced)[layer]).output.clone().save()
    part = _part(source, head, n_heads)
    with torch.no_grad(), traced.trace(**baseline):
        out = z_projection(layers(traced)[layer]).output.clone()
        out[..., part] = source[..., part]
        z_projection(layers(traced)[layer]).output = out
        scores = traced.output.logits[:, 0].save()
    return scores


def patch_head__next_head__one_pair(traced, baseline, perturbed, layer, head, n_heads):
    return _patched(traced, baseline, perturbed, layer, (ALL, ALL, _head(traced, (head + 1) % n_heads, n_heads)))


def patch_head__next_layer__one_pair(traced, baseline, perturbed, layer, head, n_heads):
    wrong = (layer + 1) % len(layers(traced._module))
    return _patched(traced, baseline, perturbed, wrong, (ALL, ALL, _head(traced, head, n_heads)))


def patch_head__exchanged__one_pair(traced, baseline, perturbed, layer, head, n_heads):
    return _patched(traced, perturbed, baseline, layer, (ALL, ALL, _head(traced, head, n_heads)))


def patch_head__only_cls__one_pair(traced, baseline, perturbed, layer, head, n_heads):
    return _patched(traced, baseline, perturbed, layer, (ALL, slice(0, 1), _head(traced, head, n_heads)))


def patch_head__not_assigned__one_pair(traced, baseline, perturbed, layer, head, n_heads):
    with torch.no_grad(), traced.trace(**baseline):
        scores = traced.output.logits[:, 0].save()
    return scores


def patch_head__first_row__batch(traced, baseline, perturbed, layer, head, n_heads):
    return _patched(traced, baseline, perturbed, layer, (slice(0, 1), ALL, _head(traced, head, n_heads)))


def _all_z(traced, inputs):
    with torch.no_grad(), traced.trace(**inputs):
        kept = nnsight.save([])
        for layer in layers(traced):
            kept.append(z_projection(layer).input.clone())
    return kept


def _run_with(traced, inputs, values):
    """Scores with z replaced in the layers of `values`: {layer: z}."""
    with torch.no_grad(), traced.trace(**inputs):
        for number in sorted(values):
            z_projection(layers(traced)[number]).input = values[number]
        scores = traced.output.logits[:, 0].save()
    return scores


def _mixed(frozen, source, layer, part):
    values = [z.clone() for z in frozen]
    values[layer][..., part] = source[layer][..., part]
    return dict(enumerate(values))


def path_to_score__no_freeze__direct(traced, baseline, perturbed, layer, head, n_heads):
    values = _mixed(_all_z(traced, baseline), _all_z(traced, perturbed), layer, _head(traced, head, n_heads))
    return _run_with(traced, baseline, {layer: values[layer]})


def path_to_score__next_layer_only__direct(traced, baseline, perturbed, layer, head, n_heads):
    values = _mixed(_all_z(traced, baseline), _all_z(traced, perturbed), layer, _head(traced, head, n_heads))
    return _run_with(traced, baseline, {number: z for number, z in values.items() if layer <= number <= layer + 1})


def path_to_score__frozen_at_perturbed__last_layer(traced, baseline, perturbed, layer, head, n_heads):
    values = _mixed(_all_z(traced, perturbed), _all_z(traced, baseline), layer, _head(traced, head, n_heads))
    return _run_with(traced, baseline, values)


def path_to_score__whole_layer__last_layer(traced, baseline, perturbed, layer, head, n_heads):
    return _run_with(traced, baseline, _mixed(_all_z(traced, baseline), _all_z(traced, perturbed), layer, ALL))


def path_to_score__sender_frozen__last_layer(traced, baseline, perturbed, layer, head, n_heads):
    return _run_with(traced, baseline, dict(enumerate(_all_z(traced, baseline))))


def path_to_score__wrong_head__last_layer(traced, baseline, perturbed, layer, head, n_heads):
    part = _head(traced, (head + 1) % n_heads, n_heads)
    return _run_with(traced, baseline, _mixed(_all_z(traced, baseline), _all_z(traced, perturbed), layer, part))


def _stream(hf, cls, z, first=0, residual=True):
    for number, module in enumerate(layers(hf)):
        if number >= first:
            cls = after_heads(module, z[number], cls if residual else torch.zeros_like(cls))
    return score_from_cls(hf, cls)


def _at(hf, z_baseline, z_perturbed, layer, head):
    part = _part(z_baseline, head, hf.config.num_attention_heads)
    z = z_baseline.clone()
    z[layer, part] = z_perturbed[layer, part]
    return z


def cls_shortcut__no_residual__no_difference(hf, cls, z_baseline, z_perturbed, layer, head):
    return _stream(hf, cls, _at(hf, z_baseline, z_perturbed, layer, head), residual=False)


def cls_shortcut__from_the_sender__no_difference(hf, cls, z_baseline, z_perturbed, layer, head):
    return _stream(hf, cls, _at(hf, z_baseline, z_perturbed, layer, head), first=layer)


def cls_shortcut__whole_layer__direct_effect(hf, cls, z_baseline, z_perturbed, layer, head):
    z = z_baseline.clone()
    z[layer] = z_perturbed[layer]
    return _stream(hf, cls, z)


def cls_shortcut__every_layer__direct_effect(hf, cls, z_baseline, z_perturbed, layer, head):
    return _stream(hf, cls, _at(hf, z_baseline, z_perturbed, slice(None), head))


def cls_shortcut__later_layers_perturbed__direct_effect(hf, cls, z_baseline, z_perturbed, layer, head):
    return _stream(hf, cls, torch.cat([z_baseline[:layer], z_perturbed[layer:]]))


def cls_shortcut__exchanged__direct_effect(hf, cls, z_baseline, z_perturbed, layer, head):
    return _stream(hf, cls, _at(hf, z_perturbed, z_baseline, layer, head))


def cls_shortcut__next_head__direct_effect(hf, cls, z_baseline, z_perturbed, layer, head):
    return _stream(hf, cls, _at(hf, z_baseline, z_perturbed, layer, (head + 1) % hf.config.num_attention_heads))


def _seen(traced, baseline, values, layer, kind):
    """The receiver's projection in a run with some z replaced."""
    with torch.no_grad(), traced.trace(**baseline):
        for number in sorted(values):
            z_projection(layers(traced)[number]).input = values[number]
        seen = getattr(self_attention(layers(traced)[layer]), kind).output.clone().save()
    return seen


def _put(traced, baseline, layer, kind, seen, part):
    with torch.no_grad(), traced.trace(**baseline):
        value = getattr(self_attention(layers(traced)[layer]), kind).output.clone()
        value[..., part] = seen[..., part]
        getattr(self_attention(layers(traced)[layer]), kind).output = value
        scores = traced.output.logits[:, 0].save()
    return scores


def _sent(traced, baseline, perturbed, sender, receiver, n_heads):
    values = _mixed(_all_z(traced, baseline), _all_z(traced, perturbed), sender[0], _head(traced, sender[1], n_heads))
    return {number: z for number, z in values.items() if number < receiver[0]}


def path_to_head__always_query__key_and_value(traced, baseline, perturbed, sender, receiver, kind, n_heads):
    seen = _seen(traced, baseline, _sent(traced, baseline, perturbed, sender, receiver, n_heads), receiver[0], "query")
    return _put(traced, baseline, receiver[0], "query", seen, _head(traced, receiver[1], n_heads))


def path_to_head__not_frozen__query(traced, baseline, perturbed, sender, receiver, kind, n_heads):
    sent = _sent(traced, baseline, perturbed, sender, receiver, n_heads)
    seen = _seen(traced, baseline, {sender[0]: sent[sender[0]]}, receiver[0], kind)
    return _put(traced, baseline, receiver[0], kind, seen, _head(traced, receiver[1], n_heads))


def path_to_head__whole_layer__query(traced, baseline, perturbed, sender, receiver, kind, n_heads):
    seen = _seen(traced, baseline, _sent(traced, baseline, perturbed, sender, receiver, n_heads), receiver[0], kind)
    return _put(traced, baseline, receiver[0], kind, seen, ALL)


def path_to_head__total_effect__query(traced, baseline, perturbed, sender, receiver, kind, n_heads):
    sent = _sent(traced, baseline, perturbed, sender, receiver, n_heads)
    return _run_with(traced, baseline, {sender[0]: sent[sender[0]]})


def path_to_head__to_the_score__query(traced, baseline, perturbed, sender, receiver, kind, n_heads):
    values = _mixed(_all_z(traced, baseline), _all_z(traced, perturbed), sender[0], _head(traced, sender[1], n_heads))
    return _run_with(traced, baseline, values)


def path_to_head__baseline__query(traced, baseline, perturbed, sender, receiver, kind, n_heads):
    return _run_with(traced, baseline, {})


def _guess(slopes, change, n_heads):
    return (slopes * change).sum(axis=0).reshape(n_heads, -1).sum(axis=1)


def attribution__exchanged__one_position(slopes, z_baseline, z_perturbed, n_heads):
    return _guess(slopes, z_baseline - z_perturbed, n_heads)


def attribution__no_baseline__one_position(slopes, z_baseline, z_perturbed, n_heads):
    return _guess(slopes, z_perturbed, n_heads)


def attribution__strided__one_position(slopes, z_baseline, z_perturbed, n_heads):
    return (slopes * (z_perturbed - z_baseline)).sum(axis=0).reshape(-1, n_heads).sum(axis=0)


def attribution__only_cls__all_positions(slopes, z_baseline, z_perturbed, n_heads):
    return _guess(slopes[:1], (z_perturbed - z_baseline)[:1], n_heads)


def attribution__mean__all_positions(slopes, z_baseline, z_perturbed, n_heads):
    return _guess(slopes, z_perturbed - z_baseline, n_heads) / len(slopes)
