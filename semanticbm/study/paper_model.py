"""The paper's own model: what its authors printed, and how a run compares with it.

Other models have other heads, so for them only the *kind* of result can be compared. For cross-encoder/ms-marco-MiniLM-L-12-v2
the numbers themselves can: the 13 matching heads, the four scoring heads, the correlations, and a few scores that the
authors' notebooks printed (fixtures).

A fixture is a score that the authors' own run printed for a known text. If ours agrees, both look at the same model.

When it misleads: their notebooks load an edited copy of the embedding matrix from a file, whatever the experiment. The
printed scores may belong to that copy. So a difference does not prove a mistake here, and the comparison is reported, not
enforced. Agreement of two lists of heads must be judged against chance: 13 of 144 heads drawn at random share 1.2 heads
with another 13, on average.

Source of all numbers: the authors' repository (mlu108/CrossEncoderBM25), as code or as notebook output; -0.71, 0.84 and
0.46 are from their write-up of the first version.
"""

from __future__ import annotations

from collections.abc import Iterable

from scipy.stats import hypergeom

from semanticbm.cross_encoder import CrossEncoder
from semanticbm.heads import head_name
from semanticbm.path_patching import direct_effects

NAME = "minilm-l12"
MATCHING = ("7.9", "8.1", "4.9", "2.1", "8.8", "6.5", "1.7", "5.7", "5.9", "3.1", "8.0", "6.3", "0.8")
CONTEXTUAL = ("8.10", "9.11")
SCORING = ("10.1", "10.4", "10.7", "10.10")
HEADS = {"matching": MATCHING, "contextual": CONTEXTUAL, "scoring": SCORING}

DEMO_QUERY = "what is the acceptance rate at wellesley"
DEMO_DOCUMENT = "College acceptance rates in the USA are becoming more competitive."
DEMO_BASELINE = (DEMO_QUERY, f"{DEMO_DOCUMENT} a")
DEMO_PERTURBED = (DEMO_QUERY, f"{DEMO_DOCUMENT} wellesley")
DEMO_SCORES = {"S_b of the demo pair": -5.6513, "S_p of the demo pair": 4.3892}
DEMO_EFFECTS = {"10.10": 0.17, "10.1": 0.16, "10.7": 0.11, "10.4": 0.065}
CLAIMS = {"u0-idf-correlation": 0.71, "semanticbm-pearson": 0.84, "bm25-pearson": 0.46}


def fixtures(model: CrossEncoder) -> list[dict]:
    """What the authors printed for their demo pair beside what this model gives: what, paper, measured (logits, shares)."""
    scores = model.score_pairs([DEMO_BASELINE, DEMO_PERTURBED])
    effects = direct_effects(model, DEMO_BASELINE, DEMO_PERTURBED)
    found = {
        head_name(layer, head): float(effects[layer, head])
        for layer in range(model.n_layers)
        for head in range(model.n_heads)
    }
    rows = [
        {"what": what, "paper": printed, "measured": float(score)}
        for (what, printed), score in zip(DEMO_SCORES.items(), scores, strict=True)
    ]
    return rows + [
        {"what": f"direct effect of {head}", "paper": printed, "measured": found.get(head)}
        for head, printed in DEMO_EFFECTS.items()
    ]


def overlap(found: Iterable[str], printed: Iterable[str], n_heads: int) -> dict:
    """Heads that both lists have, how many chance would give, and how likely it gives at least as many.

    n_heads: number of heads of the model. Chance: as many heads as were found, drawn without replacement.
    """
    found, printed = set(found), set(printed)
    both = sorted(found & printed, key=lambda name: tuple(map(int, name.split("."))))
    chance = hypergeom(n_heads, len(printed), len(found))
    return {
        "paper": len(printed),
        "found": len(found),
        "both": both,
        "expected_by_chance": len(found) * len(printed) / n_heads,
        "p_at_least": float(chance.sf(len(both) - 1)),
    }


def compare(model: CrossEncoder, heads: dict[str, list[str]], claims: list[dict]) -> dict:
    """A run on the paper's model against the paper: fixtures, heads by role, correlations. JSON-ready.

    heads: {"matching" | "contextual" | "scoring": names}; claims: the rows of report.json.
    """
    measured = {row["id"]: row["measured"] for row in claims}
    return {
        "fixtures": fixtures(model),
        "heads": {
            role: overlap(heads[role], printed, model.n_layers * model.n_heads) for role, printed in HEADS.items()
        },
        "correlations": [
            {"what": claim, "paper": printed, "measured": measured[claim]} for claim, printed in CLAIMS.items()
        ],
    }


def in_words(comparison: dict) -> list[str]:
    """The comparison as lines of markdown for report.md."""

    def shown(value):
        return "-" if value is None else f"{value:.3f}"

    lines = [
        "## Against what the authors printed",
        "",
        "Their notebooks load an edited embedding matrix, so the printed scores may not belong to the released model.",
        "",
    ]
    lines += [
        f"- {row['what']}: paper {shown(row['paper'])}, measured {shown(row['measured'])}"
        for row in comparison["fixtures"] + comparison["correlations"]
    ]
    lines += [
        f"- {role} heads: {len(row['both'])} of the paper's {row['paper']} are among the {row['found']} found "
        f"({', '.join(row['both']) or 'none'}); chance gives {row['expected_by_chance']:.1f}, "
        f"at least as many with probability {row['p_at_least']:.2g}"
        for role, row in comparison["heads"].items()
    ]
    return [*lines, ""]
