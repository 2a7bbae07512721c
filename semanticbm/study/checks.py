"""Checks before a run: the tools are proved on the model at hand before anything is measured with them.

Each check compares two computations that share as little code as possible, and each can fail:

- *hooked score*: a traced run in which every head is set to its own value, against Hugging Face's score;
- *recorded score*: the scores of the recorded runs from which most effects are computed, against Hugging Face's, for pairs
  of different lengths in padded batches;
- *no patch*: effects of all heads when the perturbed run is a second recording of the same pair; 0 unless a recording
  depends on chance, as with dropout left on;
- *fast effects*: direct effects in one pass, against a traced run for each head (the textbook form);
- *full patch*: everything that enters layer 0 patched, minus 1.
"""

from __future__ import annotations

import numpy as np

from semanticbm.cross_encoder import CrossEncoder
from semanticbm.diagnostics import DiagnosticPair
from semanticbm.errors import UserError
from semanticbm.one_pass import effects_on_score
from semanticbm.patching import activation_patching, record
from semanticbm.path_patching import direct_effects, direct_effects_many, path_to_score
from semanticbm.study.experiments.samples import tfc1_pairs
from semanticbm.study.study import Study

TOLERANCE = 1e-4  # logits, or share of the full change


def check_tools(study: Study) -> dict[str, float]:
    """The largest error of each check, in logits or as a share; `UserError` if one is too large."""
    pairs = tfc1_pairs(study, study.queries[:8], 1).pairs
    if not pairs:
        raise UserError(f"no TFC1 pair could be built on {study.collection.name}: choose another collection.")
    errors = tool_errors(study.model, pairs)
    for name, error in errors.items():
        if not error < TOLERANCE:
            raise UserError(
                f"the check '{name}' fails on {study.model.name} (error {error:.2g}): no number could be trusted."
            )
    return errors


def tool_errors(model: CrossEncoder, pairs: list[DiagnosticPair]) -> dict[str, float]:
    """Errors of the tools on TFC1 pairs; the effects are checked on the pair that changes the score most."""
    baselines, perturbed = [pair.baseline_pair for pair in pairs], [pair.perturbed_pair for pair in pairs]
    before, after = model.score_pairs(baselines), model.score_pairs(perturbed)
    sides = pairs[int(np.argmax(np.abs(after - before)))]
    sides = sides.baseline_pair, sides.perturbed_pair
    alone = model.encode(sides[:1])
    ours, again = record(model, alone), record(model, model.encode(sides[:1]))
    hooked = path_to_score(model, alone, ours.z) - model.logits(alone)
    recorded = direct_effects_many(model, baselines, perturbed)
    fast, textbook = (direct_effects(model, *sides, method=method) for method in ("fast", "textbook"))
    full = activation_patching(model, *sides, "residual")[0]
    return {
        "hooked score": float(hooked.abs().max()),
        "recorded score": float(np.abs([recorded.baseline - before, recorded.perturbed - after]).max()),
        "no patch": float(effects_on_score(model, ours, again).abs().max()),
        "fast effects": float(np.abs(fast - textbook).max()),
        "full patch": float(abs(full - 1)),
    }
