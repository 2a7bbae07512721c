"""The model card of a trained adapter: what it is, what made it, how good it is, what it is not good for.

Everything in it is read from files that training and examination wrote (`semanticbm.json`, `examination.json`), so that the
card cannot drift away from the model.
"""

from __future__ import annotations

import json
from pathlib import Path

from semanticbm.loading.files import write_text

SOURCES = """| data | what | terms |
|---|---|---|
| TREC Deep Learning 2019/20 judgements on MS MARCO passages | 29 queries for training, 8 for validation, 30 held out | MS MARCO: research, non-commercial |
| MedQuAD | questions and answers on health | CC BY 4.0 |
| TREC-QA | factoid questions and sentences | research |
| XQuAD, English part | questions on Wikipedia paragraphs | CC BY-SA 4.0 |
| SubjQA | questions on reviews | research |
| PubMedQA, labelled part | questions on biomedical abstracts | MIT |"""

LIMITS = """- Search in production. It was trained for minutes on a few ten thousand pairs; public re-rankers trained on millions are better.
- Long texts: cut them into passages of about 60 words and take the best one (see the rows "best window"). Languages other than
  English; exact numbers, dates and negation.
- Commercial use: MS MARCO passages took part in training, and their terms allow research only.
- Claims about "neural re-rankers" in general: it is one small model. The two other training seeds, not shipped, are examined in
  the book (appendices on the model and on the claims). Since the best of three was chosen, its figures lean high."""


def results_table(report: dict) -> str:
    """nDCG@10 of each system on each examination, with intervals, as a markdown table."""
    lines = [
        "| collection | queries | system | nDCG@10 | 95 % interval | cross-encoder minus it |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in report.items():
        for system, row in part["ndcg@10"].items():
            difference = part["cross-encoder minus"].get(system)
            minus = (
                ""
                if difference is None
                else f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
            )
            lines.append(
                f"| {name} | {part['queries']} | {system} | {row['mean']:.3f} | [{row['low']:.3f}, {row['high']:.3f}] | {minus} |"
            )
    return "\n".join(lines)


def card(about: dict, report: dict) -> str:
    """The card as markdown. `about`: semanticbm.json of the adapter. `report`: its examination."""
    recipe = about["recipe"]
    return f"""# The classroom cross-encoder

A cross-encoder for re-ranking English passages: one number for a query and a passage read together. It is the subject of
the book "semanticbm" and a LoRA adapter of {about["parameters"]:,} numbers in float16 for `{about["backbone"]}` at revision
`{about["backbone_revision"]}` (sha256 `{about["backbone_sha256"]}`). Load it with `semanticbm.load("classroom")`; the adapter is
merged into the backbone, and both files are checked by hash.

## Training

- Loss: `{recipe["loss"]}` (formula in `semanticbm.classroom_model.training`), groups of one query with six passages, hard negatives from BM25.
- {recipe["max_steps"]} steps of {recipe["groups_per_step"]} groups; learning rate {recipe["learning_rate"]}, linear decay; LoRA rank {recipe["rank"]}, alpha {recipe["alpha"]};
  seed {recipe["seed"]}, the one of three seeds with the best nDCG@10 on the validation queries, which also choose the step.
- {about["hardware"]}, {about["seconds"] / 60:.0f} minutes of wall time on a machine that did other work at the same time.
- Versions: {", ".join(f"{name} {value}" for name, value in about["versions"].items())}.
- Not trained: the word embeddings (they are the backbone's own).

## Data

{SOURCES}

No text of these sets is in this package; their hashes are in `semanticbm.json`. Passages and queries of the held-out
queries, of the validation queries and of the paper's analysis data were removed from training by text.

## How good it is

Queries that took no part in training or validation. `trec-dl`: re-ranking the judged passages of the 30 held-out queries;
there `bm25` uses Microsoft's MS MARCO IDF table, `cosine` is the backbone's own similarity. Others: re-ranking BM25's best
documents ({", ".join(f"{name}: {part['depth']}" for name, part in report.items() if "depth" in part)}).

{results_table(report)}

## What it is not good for

{LIMITS}
"""


def write_card(folder: Path, report: dict) -> None:
    """Write README.md beside an adapter."""
    about = json.loads((folder / "semanticbm.json").read_text(encoding="utf-8"))
    (folder / "README.md").write_text(card(about, report), encoding="utf-8")


PROBE = {
    "query": "how do dogs bark",
    "documents": [
        "Dogs bark to warn others and to greet their owners.",
        "The bark of a tree protects it from insects.",
        "Interest rates rose again in May.",
    ],
}


def write_probe(folder: Path) -> None:
    """Score three pairs with an adapter on the CPU and note them in its semanticbm.json, for `semanticbm doctor`."""
    from semanticbm.ladder import load

    file = folder / "semanticbm.json"
    scores = load(str(folder), "cpu").score(PROBE["query"], PROBE["documents"])
    about = json.loads(file.read_text(encoding="utf-8")) | {
        "probe": {**PROBE, "scores": [float(one) for one in scores]}
    }
    write_text(file, json.dumps(about, indent=1))
