"""The experiments of the study, one file a chapter of the book; each feeds the claims that name it in `claims.toml`.

An experiment is a function that takes a `Study` and returns plain data: `findings` {key: Finding}, `heads` where it chooses
some, and the numbers behind its figures. The methods live in the library that the book teaches; here they are only called,
always in the same way: heads are chosen on the first half of the queries, and everything that a claim rests on is measured
on the second.

To add one: write the function in the file of its chapter, put it into `EXPERIMENTS` (the order is the order of the run:
an experiment may use the parts of those before it that `NEEDS` names), and add its claims to `claims.toml`. What it cannot
answer on a model or collection it may leave to a `UserError`: the run goes on, and its claims read "not applicable" with that
reason.
"""

from __future__ import annotations

from collections.abc import Callable

from semanticbm.study.experiments.blindness import blindness
from semanticbm.study.experiments.cuts import ablation, blocking
from semanticbm.study.experiments.first_stages import hybrid
from semanticbm.study.experiments.idf import u0, u0_edit
from semanticbm.study.experiments.linear_model import semantic_bm
from semanticbm.study.experiments.matching import curves, effective, matching_heads
from semanticbm.study.experiments.scoring import contextual_heads, direct_effects, scoring_attention
from semanticbm.study.experiments.written import written
from semanticbm.study.study import Study

EXPERIMENTS: dict[str, Callable[[Study], dict]] = {
    "u0": u0,
    "matching_heads": matching_heads,
    "curves": curves,
    "effective_bm25": effective,
    "direct_effects": direct_effects,
    "scoring_attention": scoring_attention,
    "contextual_heads": contextual_heads,
    "u0_edit": u0_edit,
    "semantic_bm": semantic_bm,
    "written": written,
    "blocking": blocking,
    "ablation": ablation,
    "hybrid": hybrid,
    "blindness": blindness,
}

NEEDS: dict[str, tuple[str, ...]] = {  # the experiments whose parts another one reads; it may run beside all others
    "curves": ("matching_heads",),
    "effective_bm25": ("matching_heads",),
    "scoring_attention": ("direct_effects",),
    "contextual_heads": ("matching_heads", "direct_effects"),
    "u0_edit": ("u0",),
    "semantic_bm": ("matching_heads", "direct_effects", "contextual_heads"),
    "written": ("matching_heads", "contextual_heads"),
    "ablation": ("matching_heads", "direct_effects", "contextual_heads"),
}

FOLLOWS = {"written": "semantic_bm"}  # takes features that the other one collected, if the same process ran it before

COST = {  # seconds on two cores with the classroom model; only the order of experiments side by side depends on them
    "u0": 8,
    "matching_heads": 38,
    "curves": 34,
    "effective_bm25": 33,
    "direct_effects": 25,
    "scoring_attention": 19,
    "contextual_heads": 91,
    "u0_edit": 135,
    "semantic_bm": 82,
    "written": 141,
    "blocking": 43,
    "ablation": 224,
    "hybrid": 70,
    "blindness": 35,
}
