"""Exercises for chapter 4, on patching: book/04-cutting-wires.qmd, #sec-patching.

Replace each `raise NotImplementedError` by your code, then run `semanticbm check`. No exercise needs another one.

`traced` is an nnsight model. Interventions are written in a block, and the first line of the block stands below `with`:

    with torch.no_grad(), traced.trace(**inputs):
        z = z_projection(layers(traced)[0]).input.clone().save()      # read; float [batch, position, head * d_head]

    with torch.no_grad(), traced.trace(**inputs):
        z_projection(layers(traced)[0]).input = z                     # write
        scores = traced.output.logits[:, 0].save()                    # float [batch]

Inside a block, touch the modules in the order in which the model runs them. Several values: `kept = nnsight.save([])`,
then append to it. `inputs` is {"input_ids", "attention_mask", "token_type_ids"}, each int [batch, position].
Head h owns the columns h * d_head to (h + 1) * d_head of z, with d_head = z.shape[-1] // n_heads.
"""

from __future__ import annotations

import nnsight
import numpy as np
import torch

from semanticbm.bert import after_heads, layers, score_from_cls, self_attention, z_projection


# 4.1  difficulty 1 of 5, 5 minutes, 1 points
def metric(patched: float, baseline: float, perturbed: float) -> float:
    """The share of the score's change that a patch brings about.

    Goal: 0 for a patch without effect, 1 for one that brings back the whole change; values outside are real.

        m = (S_patched - S_b) / (S_p - S_b)

    Three scores. Returns one number.
    Worked value: metric(1.0, 0.0, 4.0) = 0.25.
    """
    raise NotImplementedError("Exercise 4.1: write metric")


# 4.2  difficulty 2 of 5, 15 minutes, 2 points
def query_effect(patched: np.ndarray, baseline: np.ndarray, perturbed: np.ndarray) -> float:
    """One effect for a query, from the scores of its documents.

    Goal: know the metric's trap. Where S_p - S_b is near 0, the ratio explodes, so put the documents together first.

        m = sum over documents of (S_patched - S_b)  /  sum over documents of (S_p - S_b)

    Three float arrays [document]. Returns one number.
    Worked value: query_effect of changes [1, 0] out of full changes [3, 1] = 1 / 4 = 0.25.
    """
    raise NotImplementedError("Exercise 4.2: write query_effect")


# 4.3  difficulty 4 of 5, 45 minutes, 5 points
def patch_head(traced, baseline: dict, perturbed: dict, layer: int, head: int, n_heads: int) -> torch.Tensor:
    """Scores on the baseline with one head's z taken from the perturbed run; everything else runs freely.

    Goal: replace one head's output by its value in another run, with nnsight.

    traced: nnsight model. baseline, perturbed: inputs of equal shape. layer, head: counted from 0.
    Returns float [batch].
    Worked value: with perturbed = baseline nothing changes: the result is the model's own score.
    """
    raise NotImplementedError("Exercise 4.3: write patch_head")


# 4.4  difficulty 4 of 5, 45 minutes, 5 points
def path_to_score(traced, baseline: dict, perturbed: dict, layer: int, head: int, n_heads: int) -> torch.Tensor:
    """Scores on the baseline with every head's z frozen there, except the sender's, which is the perturbed one.

    Goal: the direct effect of a head. Later heads must not pass its message on; MLPs and LayerNorms run freely.

    traced: nnsight model. baseline, perturbed: inputs of equal shape. layer, head: the sender.
    Returns float [batch].
    Worked value: for a sender in the last layer the result equals that of exercise 4.3.
    """
    raise NotImplementedError("Exercise 4.4: write path_to_score")


# 4.5  difficulty 4 of 5, 30 minutes, 4 points
def cls_shortcut(
    hf, cls: torch.Tensor, z_baseline: torch.Tensor, z_perturbed: torch.Tensor, layer: int, head: int
) -> torch.Tensor:
    """The score of exercise 4.4 for one pair, from the [CLS] position alone.

    Goal: with all heads frozen no position looks at another one, so the score depends on [CLS] only.

    hf: Hugging Face BERT. cls: what enters layer 0 at [CLS], float [d_model].
    z_baseline, z_perturbed: z at [CLS] in the two runs, float [layer, head * d_head]. layer, head: the sender.
    `after_heads(layers(hf)[l], z, cls)` is the rest of layer l; `score_from_cls(hf, cls)` the score.
    Returns one score, a tensor without axes.
    Worked value: with z_perturbed = z_baseline the result is the model's own score.
    """
    raise NotImplementedError("Exercise 4.5: write cls_shortcut")


# 4.6  difficulty 5 of 5, 60 minutes, 6 points
def path_to_head(
    traced, baseline: dict, perturbed: dict, sender: tuple[int, int], receiver: tuple[int, int], kind: str, n_heads: int
) -> torch.Tensor:
    """Scores on the baseline with one input of the receiver as the sender alone would change it.

    Goal: a path patch. Frozen run: all z at the baseline, the sender's perturbed; note the receiver's projection.
    Clean run: only that projection of the receiver is replaced; nothing is frozen.

    traced: nnsight model. sender, receiver: (layer, head); the receiver's layer is the later one.
    kind: "query", "key" or "value": `self_attention(layers(traced)[l]).query.output`, float [batch, position, head * d_head].
    Returns float [batch].
    Worked value: with perturbed = baseline nothing changes: the result is the model's own score.
    """
    raise NotImplementedError("Exercise 4.6: write path_to_head")


# 4.7  difficulty 3 of 5, 20 minutes, 2 points
def attribution(slopes: np.ndarray, z_baseline: np.ndarray, z_perturbed: np.ndarray, n_heads: int) -> np.ndarray:
    """Attribution patching: a guess of what patching each head of a layer would change, from one gradient.

    Goal: for a small change of z the score changes by slope times change, so one backward pass stands for many patches.

        guess of head h = sum over positions and its columns of  slope (z_perturbed - z_baseline)

    slopes: the score's gradient at z of the baseline. All three are float arrays [position, head * d_head].
    Returns float [head].
    Worked value: slopes [[1, 2]], z_baseline [[0, 0]], z_perturbed [[3, 1]] and two heads give [3, 2].
    """
    raise NotImplementedError("Exercise 4.7: write attribution")
