"""Do the methods of this book find a circuit that is known to be there?

`semanticbm.study.planted` plants six heads among sixteen. Here each method that finds heads looks for them, with the same
code and the same thresholds as on a trained model, and is marked:

- *precision*: how many of the heads that it found are planted in that role;
- *recall*: how many of the planted heads it found.

Two kinds of methods are compared. Methods that only *look* at attention (matching heads by their attention to copies,
scoring heads by the [CLS] attention to rare words) cannot tell a true head from an inert one, which attends in the same
way and writes where nobody reads: their precision is below 1, as it must be. Methods that *intervene* (path patching)
can. Looking and intervening together also tell the roles apart: path patching into the scoring heads finds all heads
that feed them, matching heads and relays alike; attention then says which is which.

When it misleads: full marks here are necessary, not sufficient. In a trained model roles overlap and effects are small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.diagnostics import Settings, diagnostic_pairs
from semanticbm.matching import find_matching_heads
from semanticbm.scoring_heads import find_contextual_heads, find_scoring_heads, scoring_attention

MIN_SPEARMAN = 0.9  # least rank correlation of [CLS] attention and IDF, for the method that only looks


def recover(
    model: CrossEncoder,
    planted: Mapping[str, Iterable[str]],
    collection: Collection,
    pairs_per_query: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """Run every head-finding method on a model with a planted circuit: one row a method.

    `planted`: {role: heads}, as `plant_circuit` returns it. Columns: method, kind ("looks", "intervenes" or
    "both"), role, found, precision, recall.
    """
    feeders = [*planted["matching"], *planted["contextual"]]
    targets = {
        "matching": planted["matching"],
        "contextual": planted["contextual"],
        "scoring": planted["scoring"],
        "feeds the scoring heads": feeders,
    }
    rows = []
    for (method, kind, role), found in find_all(model, collection, pairs_per_query, seed).items():
        precision, recall = precision_recall(found, targets[role])
        rows.append(
            {
                "method": method,
                "kind": kind,
                "role": role,
                "found": ", ".join(sorted(found)),
                "precision": precision,
                "recall": recall,
            }
        )
    return pd.DataFrame(rows)


def precision_recall(found: Iterable[str], planted: Iterable[str]) -> tuple[float, float]:
    """Share of the found heads that are planted, and share of the planted heads that are found.

    Precision is NaN if nothing was found, recall is NaN if nothing was planted.
    """
    found, planted = set(found), set(planted)
    right = len(found & planted)
    return right / len(found) if found else float("nan"), right / len(planted) if planted else float("nan")


def find_all(
    model: CrossEncoder, collection: Collection, pairs_per_query: int = 2, seed: int = 0
) -> dict[tuple[str, str, str], list[str]]:
    """What each method finds: {(method, kind, role): heads}. It is not told what is planted."""
    settings = Settings(documents_per_query=pairs_per_query, seed=seed)
    pairs = diagnostic_pairs("TFC1", collection, model.tokenizer, settings)
    copies = find_matching_heads(model, collection, seed=seed)
    scoring = find_scoring_heads(model, pairs, seed=seed)
    feeders = find_contextual_heads(model, pairs, scoring.heads, seed=seed)
    return {
        ("attention to copies", "looks", "matching"): copies.names,
        ("[CLS] attention by IDF", "looks", "scoring"): attend_by_idf(model, collection, seed),
        ("direct effect on the score", "intervenes", "scoring"): scoring.names,
        ("path patching into scoring heads", "intervenes", "feeds the scoring heads"): feeders.names,
        ("both: feeds them, attends to copies", "both", "matching"): [
            head for head in feeders.names if head in copies.names
        ],
        ("both: feeds them, does not", "both", "contextual"): [
            head for head in feeders.names if head not in copies.names
        ],
    }


def attend_by_idf(model: CrossEncoder, collection: Collection, seed: int = 0) -> list[str]:
    """Heads whose [CLS] row attends to query words by IDF, Spearman `MIN_SPEARMAN` or more: found by looking alone."""
    table = scoring_attention(model, collection, seed=seed)
    return table.loc[table["spearman"] >= MIN_SPEARMAN, "head"].tolist()
