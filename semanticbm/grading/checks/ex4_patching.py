"""Checks for chapter 4. Oracle: the same interventions by plain PyTorch hooks (`semanticbm.grading.hooks`)."""

from __future__ import annotations

import numpy as np

from semanticbm.grading import hooks
from semanticbm.grading.registry import ExerciseFile

FILE = ExerciseFile(4)
TOLERANCE = 1e-5  # scores of the random models are of size 1, in float32

# --------------------------------------------------------------------------------------------------------------------
metric = FILE.exercise("metric", "The share of a score's change that a patch brings about.", 1, 5, 1)


def _metric_mistakes(patched, baseline, perturbed) -> dict:
    full = perturbed - baseline
    return {
        "Baseline and perturbed are exchanged: no patch must give 0, a full patch 1.": (patched - perturbed) / -full,
        "The change is divided by the baseline score; divide by the full change.": (patched - baseline) / baseline,
        "The change is divided by the perturbed score; divide by the full change.": (patched - baseline) / perturbed,
        "The change is not divided by the full change.": patched - baseline,
        "The value was cut to 0 ... 1. Effects below 0 and above 1 are real.": np.clip(
            (patched - baseline) / full, 0, 1
        ),
        "The sign was lost: a patch can push the other way.": np.abs((patched - baseline) / full),
        "The full change is S_p - S_b, with its sign.": (patched - baseline) / np.abs(full),
    }


@metric.check(
    1,
    "Two cases you know: a patch that changes nothing, and a patch that changes everything.",
    "No effect must give 0, the perturbed score must give 1.",
    "m = (S_patched - S_b) / (S_p - S_b).",
)
def ends(answer, case):
    baseline, perturbed = case.pick((-2.0, 3.0), (1.5, -4.0), (0.5, 8.0))
    for patched, right in ((baseline, 0.0), (perturbed, 1.0)):
        answer.gives((patched, baseline, perturbed), right, _metric_mistakes(patched, baseline, perturbed))


@metric.check(
    1,
    "Now values outside 0 and 1, and a perturbation that lowers the score.",
    "Nothing is cut off, and no sign is dropped.",
    "metric(4, 0, -2) = -2.",
)
def outside(answer, case):
    for patched, baseline, perturbed in case.pick(
        ((-3.0, -2.0, 4.0), (5.0, 1.0, -1.0)), ((9.0, 1.0, 4.0), (2.0, 1.0, -6.0)), ((0.0, 2.0, 5.0), (3.0, 2.0, -5.0))
    ):
        right = (patched - baseline) / (perturbed - baseline)
        answer.gives((patched, baseline, perturbed), right, _metric_mistakes(patched, baseline, perturbed))


# --------------------------------------------------------------------------------------------------------------------
query_effect = FILE.exercise("query_effect", "One effect for a query with many documents, without the trap.", 2, 15, 2)


def _effects(patched, baseline, perturbed) -> dict:
    change, full = patched - baseline, perturbed - baseline
    return {
        "This is the mean of the ratios. A pair whose score hardly changes rules it: put the changes together first.": (
            change / full
        ).mean(),
        "This is the median of the ratios: put the changes together first.": np.median(change / full),
        "This is the sum of the ratios.": (change / full).sum(),
        "The signs were dropped: changes in opposite directions must cancel.": np.abs(change).sum()
        / np.abs(full).sum(),
        "The full changes lost their sign.": change.sum() / np.abs(full).sum(),
        "The changes are not divided by the full changes.": change.sum(),
        "Only the first document was used.": change[0] / full[0],
        "Baseline and perturbed are exchanged: no patch must give 0.": (patched - perturbed).sum() / -full.sum(),
    }


@query_effect.check(
    1,
    "First an easy case: every document changes by the same amount.",
    "The result is one number: a share of the full change.",
    "Sum of (S_patched - S_b), divided by the sum of (S_p - S_b).",
)
def equal_changes(answer, case):
    baseline = np.array(case.pick([1.0, -2.0, 0.5], [3.0, 4.0], [0.0, 1.0, 5.0, 2.0]))
    patched, perturbed = baseline + np.linspace(0.3, 0.9, len(baseline)), baseline + 2
    right = (patched - baseline).sum() / (2 * len(baseline))
    wrong = {name: value for name, value in _effects(patched, baseline, perturbed).items() if abs(value - right) > 1e-3}
    answer.gives((patched, baseline, perturbed), right, wrong)


@query_effect.check(
    1,
    "One of these documents hardly changes at all. What does it do to your result?",
    "A ratio with a denominator near 0 can be any number.",
    "Add up the changes of all documents above the line, and the full changes below it; divide once.",
)
def tiny_change(answer, case):
    full = np.array(case.pick([4.0, 0.001, -1.0], [-0.002, 3.0, -0.5, 2.0], [5.0, 0.01, -2.0]))
    change = np.resize([0.8, 0.3, -0.4, 0.5], len(full))
    _check_effect(answer, change, full)


def _check_effect(answer, change, full) -> None:
    baseline = np.linspace(-1, 2, len(full))
    args = (baseline + change, baseline, baseline + full)
    right = change.sum() / full.sum()
    answer.gives(args, right, {name: one for name, one in _effects(*args).items() if abs(one - right) > 1e-3})


@query_effect.check(
    1,
    "Now the perturbation lowers the scores, and a patch pushes the other way.",
    "No sign is dropped: neither of the sum above the line nor of the one below.",
    "query_effect of changes [-1, 0] out of full changes [3, 1] = -1 / 4 = -0.25.",
)
def signs(answer, case):
    full = np.array(case.pick([-4.0, 1.0, -2.0], [-3.0, -1.0], [2.0, -6.0, 0.5, -1.0]))
    change = np.resize([0.8, 0.3, -0.4, 0.5], len(full))
    for change_sign, full_sign in ((1, 1), (1, -1), (-1, 1)):
        _check_effect(answer, change_sign * change, full_sign * full)


# --------------------------------------------------------------------------------------------------------------------
patch_head = FILE.exercise(
    "patch_head", "Replace one head's output by its value in another run, with nnsight.", 4, 45, 5
)


def _sliced_output(model, baseline, perturbed, layer, head):
    """The usual mistake: slices of W_O's output are no heads."""
    from semanticbm.bert import layers, z_projection

    module, where, seen = z_projection(layers(model.hf)[layer]), hooks.columns(model, head), []
    hook = module.register_forward_hook(lambda _, __, output: seen.append(output.clone()))
    hooks.run(model, perturbed)
    hook.remove()
    hook = module.register_forward_hook(lambda _, __, output: hooks.with_columns(output, seen[0], where))
    scores = hooks.run(model, baseline).scores
    hook.remove()
    return scores


def _patch_mistakes(model, baseline, perturbed, layer, head) -> dict:
    base, source = hooks.run(model, baseline), hooks.run(model, perturbed)
    right = hooks.patch_head(model, baseline, source.z, layer, head)
    other_head, other_layer = (head + 1) % model.n_heads, (layer + 1) % model.n_layers

    own = hooks.columns(model, head)

    def places(rows=slice(None), positions=slice(None), width=own):
        def edit(number, z):
            if number == layer:
                z[rows, positions, width] = source.z[layer][rows, positions, width]
            return z

        return hooks.run(model, baseline, edit).scores

    return {
        "This is the baseline score: the patch had no effect. Assign the new z to `z_projection(...).input`.": base.scores,
        "This is the perturbed score: run the model on the baseline and patch there.": source.scores,
        "The slices were cut after W_O. There the heads are mixed: use the *input* of z_projection.": lambda: (
            _sliced_output(model, baseline, perturbed, layer, head)
        ),
        "Another head was patched: head h owns columns h * d_head to (h + 1) * d_head.": hooks.patch_head(
            model, baseline, source.z, layer, other_head
        ),
        "Another layer was patched; layers count from 0.": hooks.patch_head(
            model, baseline, source.z, other_layer, head
        ),
        "The whole layer was patched: replace the columns of one head only.": places(width=slice(None)),
        "Only the first pair of the batch was patched: keep the batch axis.": places(rows=slice(0, 1)),
        "Only [CLS] was patched: replace all positions.": places(positions=slice(0, 1)),
        "Baseline and perturbed are exchanged: the patch goes from the perturbed run into the baseline run.": lambda: (
            hooks.patch_head(model, perturbed, base.z, layer, head)
        ),
        "The shape is [batch, 1]; return float [batch].": right[:, None],
    }


def _check_patch(answer, case, n_pairs: int) -> None:
    model, (baseline, perturbed) = case.model(), case.pairs(n_pairs)
    layer, head = case.pick((1, 1), (2, 0), (1, 2))
    source = hooks.run(model, perturbed).z
    answer.gives(
        (model.traced, baseline, perturbed, layer, head, model.n_heads),
        hooks.patch_head(model, baseline, source, layer, head),
        lambda: _patch_mistakes(model, baseline, perturbed, layer, head),
        TOLERANCE,
    )


@patch_head.check(
    2,
    "Two traces: one on the perturbed pair to fetch z, one on the baseline pair to put it in.",
    "z is the input of z_projection(layers(traced)[layer]), [batch, position, head * d_head]; save a clone.",
    "z = z_projection(...).input.clone(); replace z[..., h * d : (h + 1) * d]; assign it back to `.input`.",
)
def one_pair(answer, case):
    _check_patch(answer, case, 1)


@patch_head.check(
    2,
    "Now a batch of several pairs.",
    "Every row has its own perturbed z.",
    "Slice the last axis only: z[..., columns] = source[..., columns].",
)
def batch(answer, case):
    _check_patch(answer, case, case.pick(3, 2, 4))


# --------------------------------------------------------------------------------------------------------------------
path_to_score = FILE.exercise("path_to_score", "The direct effect of a head: freeze every other head.", 4, 45, 5)


def _path_mistakes(model, baseline, perturbed, layer, head) -> dict:
    base, source = hooks.run(model, baseline), hooks.run(model, perturbed)
    where = hooks.columns(model, head)

    def sent(number, z):
        return hooks.with_columns(base.z[number], source.z[number], where) if number == layer else z

    def swapped(number, _):
        return hooks.with_columns(source.z[number], base.z[number], where) if number == layer else source.z[number]

    def whole(number, _):
        return source.z[number] if number == layer else base.z[number]

    def next_only(number, z):
        return base.z[number] if number == layer + 1 else sent(number, z)

    return {
        "This is the baseline score: the sender was frozen, too, or its patch was overwritten.": base.scores,
        "This is the perturbed score: start from the baseline pair.": source.scores,
        "Nothing is frozen after the sender, so this is its *total* effect. Freeze the later heads at the baseline.": hooks.run(
            model, baseline, sent
        ).scores,
        "The other heads were frozen at the perturbed run, and the sender at the baseline: exchange them.": hooks.run(
            model, baseline, swapped
        ).scores,
        "The whole layer of the sender was patched.": hooks.run(model, baseline, whole).scores,
        "Only the next layer is frozen; freeze all later ones.": hooks.run(model, baseline, next_only).scores,
        "Another head was the sender.": hooks.path_to_score(
            model, baseline, perturbed, layer, (head + 1) % model.n_heads
        ),
    }


def _check_path(answer, case, layer: int, head: int) -> None:
    model, (baseline, perturbed) = case.model(), case.pairs(2)
    answer.gives(
        (model.traced, baseline, perturbed, layer, head, model.n_heads),
        hooks.path_to_score(model, baseline, perturbed, layer, head),
        lambda: _path_mistakes(model, baseline, perturbed, layer, head),
        TOLERANCE,
    )


@path_to_score.check(
    1,
    "First a sender in the last layer: no head comes after it.",
    "Fetch z of all layers in both runs, in the order of the layers.",
    "In the third run set each layer's z to the baseline's; in the sender's layer replace its columns.",
)
def last_layer(answer, case):
    _check_path(answer, case, case.model().n_layers - 1, case.pick(1, 2, 0))


@path_to_score.check(
    3,
    "Now heads stand between the sender and the score. They must not pass its message on.",
    "Heads after the sender see a changed input. Their z must be put back to the baseline's.",
    "For every layer l: z_projection(layers(traced)[l]).input = frozen[l].",
)
def direct(answer, case):
    _check_path(answer, case, 0, case.pick(0, 3, 1))


# --------------------------------------------------------------------------------------------------------------------
cls_shortcut = FILE.exercise("cls_shortcut", "The same direct effect from the [CLS] position alone.", 4, 30, 4)


def _at_cls(case):
    import torch

    from semanticbm.bert import embeddings

    model, (baseline, perturbed) = case.model(), case.pairs(1)
    first, second = hooks.run(model, baseline), hooks.run(model, perturbed)
    with torch.no_grad():
        cls = embeddings(model.hf)(input_ids=baseline["input_ids"], token_type_ids=baseline["token_type_ids"])[0, 0]
    rows = [torch.stack([z[0, 0] for z in trace.z]) for trace in (first, second)]
    return model, baseline, perturbed, cls, *rows


def _stream(model, cls, z, start=0, residual=True):
    """The [CLS] stream through the layers, for the mistakes."""
    import torch

    from semanticbm.bert import after_heads, layers, score_from_cls

    for number, layer in list(enumerate(layers(model.hf)))[start:]:
        cls = after_heads(layer, z[number], cls if residual else torch.zeros_like(cls))
    return score_from_cls(model.hf, cls)


@cls_shortcut.check(
    1,
    "First both runs are the same: the result must be the model's own score.",
    "Start from the embedding at [CLS] and go through all layers with after_heads.",
    "cls = after_heads(layers(hf)[l], z[l], cls) for l = 0, 1, ...; then score_from_cls(hf, cls).",
)
def no_difference(answer, case):
    model, baseline, _, cls, z, _ = _at_cls(case)
    layer = case.pick(1, 2, 1)
    answer.gives(
        (model.hf, cls, z, z.clone(), layer, 0),
        hooks.run(model, baseline).scores[0],
        {
            "The residual stream is missing: pass the current [CLS] vector on to after_heads.": lambda: _stream(
                model, cls, z, residual=False
            ),
            "The layers before the sender are missing: start at layer 0.": lambda: _stream(model, cls, z, start=layer),
            "The last layer is missing.": lambda: _stream_until(model, cls, z, model.n_layers - 1),
            "This is a vector; score_from_cls turns it into the score.": lambda: _vector(model, cls, z),
            "Every layer starts from the embedding: carry the result of one layer into the next.": lambda: _stream(
                model, cls, z, start=model.n_layers - 1
            ),
        },
        TOLERANCE,
    )


def _stream_until(model, cls, z, stop):
    from semanticbm.bert import after_heads, layers, score_from_cls

    for number in range(stop):
        cls = after_heads(layers(model.hf)[number], z[number], cls)
    return score_from_cls(model.hf, cls)


def _vector(model, cls, z):
    from semanticbm.bert import after_heads, layers

    for number, layer in enumerate(layers(model.hf)):
        cls = after_heads(layer, z[number], cls)
    return cls


@cls_shortcut.check(
    3,
    "All z come from the baseline, except one head in one layer.",
    "Copy z of the baseline, then replace the columns of the head in its layer.",
    "d = z.shape[-1] // hf.config.num_attention_heads; head h owns columns h * d to (h + 1) * d.",
)
def direct_effect(answer, case):
    model, baseline, perturbed, cls, z, other = _at_cls(case)
    layer, head = case.pick((0, 1), (2, 1), (1, 2))
    where = hooks.columns(model, head)
    right = hooks.path_to_score(model, baseline, perturbed, layer, head)[0]

    def mixed(rows, columns, one=z, two=other):
        values = one.clone()
        values[rows, columns] = two[rows, columns]
        return _stream(model, cls, values)

    answer.gives(
        (model.hf, cls, z, other, layer, head),
        right,
        {
            "This is the baseline score: the head was not replaced.": lambda: _stream(model, cls, z),
            "The whole layer was replaced; replace the columns of one head.": lambda: mixed(layer, slice(None)),
            "The head was replaced in every layer.": lambda: mixed(slice(None), where),
            "The layers after the sender use the perturbed run, too: they stay at the baseline.": lambda: mixed(
                slice(layer, None), slice(None)
            ),
            "Baseline and perturbed are exchanged.": lambda: mixed(layer, where, other, z),
            "Another head was replaced.": lambda: mixed(layer, hooks.columns(model, (head + 1) % model.n_heads)),
            "Another layer was patched; layers count from 0.": lambda: mixed((layer + 1) % model.n_layers, where),
        },
        TOLERANCE,
    )


# --------------------------------------------------------------------------------------------------------------------
path_to_head = FILE.exercise("path_to_head", "A path from one head into the query, key or value of another.", 5, 60, 6)


def _receiver_mistakes(model, baseline, perturbed, sender, receiver, kind) -> dict:
    def effect(*args, **settings):
        return hooks.path_to_head(model, baseline, perturbed, *args, **settings)

    wrong = {
        f"This is the path into the receiver's {other}, not its {kind}.": effect(sender, receiver, other)
        for other in hooks.KINDS
        if other != kind
    }
    return wrong | {
        "This is the baseline score: the receiver was not changed.": hooks.run(model, baseline).scores,
        "Heads between sender and receiver were not frozen.": effect(sender, receiver, kind, frozen=False),
        "The whole layer of the receiver was changed: replace the columns of one head.": effect(
            sender, receiver, kind, whole_layer=True
        ),
        "This is the sender's total effect: in the last run only the receiver is changed.": hooks.patch_head(
            model, baseline, hooks.run(model, perturbed).z, *sender
        ),
        "This is the sender's direct effect on the score; the path must go through the receiver.": hooks.path_to_score(
            model, baseline, perturbed, *sender
        ),
        "Sender and receiver have exchanged their heads.": effect(
            (sender[0], receiver[1]), (receiver[0], sender[1]), kind
        ),
    }


def _check_path_to_head(answer, case, pairs, ends, kinds) -> None:
    model, (baseline, perturbed) = case.model(), pairs
    for kind in kinds:
        answer.gives(
            (model.traced, baseline, perturbed, *ends, kind, model.n_heads),
            hooks.path_to_head(model, baseline, perturbed, *ends, kind),
            lambda kind=kind: _receiver_mistakes(model, baseline, perturbed, *ends, kind),
            TOLERANCE,
        )


@path_to_head.check(
    1,
    "If both runs are the same, nothing may change.",
    "Fetch z in both runs; freeze; save the receiver's projection; then a clean run with it.",
    "The result must be the model's own score on the baseline.",
)
def no_difference_(answer, case):
    model, (baseline, _) = case.model(), case.pairs(2)
    same = {name: value.clone() for name, value in baseline.items()}
    answer.gives(
        (model.traced, baseline, same, (0, 1), (2, 0), "query", model.n_heads),
        hooks.run(model, baseline).scores,
        {"The shape is [batch, 1]; return float [batch].": hooks.run(model, baseline).scores[:, None]},
        TOLERANCE,
    )


@path_to_head.check(
    2,
    "After the two runs that fetch z come two more: one frozen, one clean.",
    "Frozen run: all z from the baseline but the sender's columns; save self_attention(layer).query.output.",
    "Clean run: replace only the receiver's columns of that output; freeze nothing.",
)
def query(answer, case):
    ends = case.pick(((0, 0), (2, 0)), ((0, 1), (2, 0)), ((0, 2), (2, 2)))  # where each mistake shows
    _check_path_to_head(answer, case, case.pairs(2, changed=4), ends, ["query"])


@path_to_head.check(
    2,
    "The same for the key and the value.",
    "`kind` names the module: getattr(self_attention(layer), kind).",
    "Save and replace the output of the module called `kind`.",
)
def key_and_value(answer, case):
    ends = case.pick(((0, 1), (2, 0)), ((1, 2), (3, 1)), ((1, 0), (3, 2)))
    _check_path_to_head(answer, case, case.pairs(2), ends, ["key", "value"])


# --------------------------------------------------------------------------------------------------------------------
attribution = FILE.exercise("attribution", "Guess all patches of a layer from one gradient.", 3, 20, 2)


def _check_attribution(answer, case, n_positions: int) -> None:
    rng, (n_heads, d_head) = case.rng(7), case.pick((2, 3), (3, 2), (4, 3))
    slopes, before, after = rng.normal(size=(3, n_positions, n_heads * d_head))
    product = slopes * (after - before)

    def by_head(values):
        return np.array([values[:, head * d_head : (head + 1) * d_head].sum() for head in range(n_heads)])

    right = by_head(product)
    mistakes = {
        "The change is z_perturbed - z_baseline, not the other way round.": -right,
        "The perturbed z is no change: take the baseline off.": by_head(slopes * after),
        "The slopes are missing.": by_head(after - before),
        "A head's numbers stand side by side: columns h * d_head to (h + 1) * d_head.": np.array(
            [product[:, head::n_heads].sum() for head in range(n_heads)]
        ),
        "Only [CLS] is counted: add up over all positions.": by_head(product[:1]),
        "This is the mean over positions; take the sum.": right / n_positions,
        "The signs were dropped: changes in opposite directions must cancel.": by_head(np.abs(product)),
    }
    wrong = {name: value for name, value in mistakes.items() if not np.allclose(value, right)}
    answer.gives((slopes, before, after, n_heads), right, wrong)


@attribution.check(
    1,
    "First one position. Slope times change, for each number; then add up what belongs to a head.",
    "Head h owns the columns h * d_head to (h + 1) * d_head.",
    "(slopes * (z_perturbed - z_baseline)).reshape(positions, n_heads, d_head), summed over the last axis.",
)
def one_position(answer, case):
    _check_attribution(answer, case, 1)


@attribution.check(
    1,
    "Now several positions: a patch of a head replaces its z at all of them.",
    "Add up over the positions, too.",
    "The result has one number for each head.",
)
def all_positions(answer, case):
    _check_attribution(answer, case, case.pick(5, 4, 7))
