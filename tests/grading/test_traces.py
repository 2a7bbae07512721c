"""Mistakes with traces: the hint says what to do, since the error itself does not."""

import inspect

import pytest
import torch

from semanticbm.bert import layers, z_projection
from semanticbm.grading.known_errors import explained
from semanticbm.grading.registry import find
from semanticbm.grading.report import SOLVED, describe, run_checks
from semanticbm.grading.student import Live


def _columns(z, head, n_heads):
    d_head = z.shape[-1] // n_heads
    return slice(head * d_head, (head + 1) * d_head)


def not_saved(traced, baseline, perturbed, layer, head, n_heads):
    with torch.no_grad(), traced.trace(**perturbed):
        source = z_projection(layers(traced)[layer]).input.clone()
    return source[..., _columns(source, head, n_heads)]


def still_none(traced, baseline, perturbed, layer, head, n_heads):
    source = None
    with torch.no_grad(), traced.trace(**perturbed):
        source = z_projection(layers(traced)[layer]).input.clone()
    return source[..., _columns(source, head, n_heads)]


def returns_none(traced, baseline, perturbed, layer, head, n_heads):
    scores = None
    with torch.no_grad(), traced.trace(**baseline):
        scores = traced.output.logits[:, 0]
    return scores


def a_list_not_saved(traced, baseline, perturbed, layer, head, n_heads):
    with torch.no_grad(), traced.trace(**baseline):
        kept = []
        kept.append(z_projection(layers(traced)[0]).input.clone())
    return kept[0][:, 0]


def wrong_order(traced, baseline, perturbed, layer, head, n_heads):
    with torch.no_grad(), traced.trace(**baseline):
        scores = traced.output.logits[:, 0].save()
        z_projection(layers(traced)[layer]).input = z_projection(layers(traced)[layer]).input * 0
    return scores


def later_layer_first(traced, baseline, perturbed, layer, head, n_heads):
    with torch.no_grad(), traced.trace(**baseline):
        late = z_projection(layers(traced)[2]).input.clone().save()
        early = z_projection(layers(traced)[0]).input.clone().save()
    return (late - early)[:, 0, 0]


def outside(traced, baseline, perturbed, layer, head, n_heads):
    return z_projection(layers(traced)[layer]).input[:, 0, 0]


def asks_for_value(traced, baseline, perturbed, layer, head, n_heads):
    with torch.no_grad(), traced.trace(**baseline):
        scores = traced.output.logits[:, 0].save()
    return scores.value


HINTS = {
    not_saved: "source set inside a trace",
    still_none: "still None after a trace",
    returns_none: "saved in the trace",
    a_list_not_saved: "kept = nnsight.save([])",
    wrong_order: "The order is wrong",
    later_layer_first: "The order is wrong",
    outside: "only inside a block",
    asks_for_value: "leave out `.value`",
}


@pytest.mark.parametrize("function", HINTS, ids=lambda one: one.__name__)
def test_a_mistake_with_a_trace_is_explained_at_once(function):
    result = run_checks(find("patch_head")[0], Live(function, inspect.getsourcefile(function)))
    assert result.status != SOLVED
    assert HINTS[function] in describe(result), describe(result)


def test_the_same_error_without_a_trace_is_left_alone():
    text = "f({}) raised:\n  UnboundLocalError: cannot access local variable 'scores'"
    assert explained(text.format("3")) is None and "scores" in explained(text.format("<NNsight>"))
    assert explained("f(<NNsight>) raised:\n  ZeroDivisionError: division by zero") is None
