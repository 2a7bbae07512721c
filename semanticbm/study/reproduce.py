"""`semanticbm reproduce`: every experiment on one model, the claims table, and files that others can check.

The steps of a clean run:

1. *Checks first*: the hooked score equals Hugging Face's; no patch gives 0; patching everything gives 1.
2. *Experiments* (`semanticbm.study.experiments`), each stored as it ends, so that a stopped run goes on where it was.
3. *Verdicts*: the rules of `claims.toml`, written before the run, applied to what was measured.
4. *Files*: report.json (fixed keys), report.md (for reading), figures/, parts/ (all numbers behind the figures), and
   run.json with the command, seed, versions and hashes that made them.

When it misleads: a table of verdicts looks more certain than it is. Each row has its interval, its number of queries and
its control; what did not replicate stands beside what did.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from semanticbm import __version__
from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.files import write_text
from semanticbm.ladder import load
from semanticbm.study.claims import Finding, judge, rules
from semanticbm.study.collections import load_study_collection

CHECK_TOLERANCE = 1e-4  # logits, or share of the full change
VERSIONS = ("torch", "transformers", "nnsight", "numpy", "scikit-learn", "ir-measures")


@dataclass
class Study:
    """One run: what is studied, how large, and where the results go.

    `quick` uses few queries. `parts` holds the results of finished experiments: {name: JSON-ready dict}.
    """

    model: CrossEncoder
    collection: Collection
    out: Path
    quick: bool = False
    seed: int = 0
    parts: dict[str, dict] = field(default_factory=dict)

    def size(self, full: int, quick: int) -> int:
        """A sample size: the first number in a full run, the second in a quick one."""
        return quick if self.quick else full

    @cached_property
    def queries(self) -> list[str]:
        """Judged queries in a seeded order; a quick run takes the first 24. Without any grade, all queries with candidates."""
        ordered = sorted(self.collection.judged_queries or self.collection.judgements)
        np.random.default_rng(self.seed).shuffle(ordered)
        return ordered[: self.size(len(ordered), 24)]

    @cached_property
    def halves(self) -> tuple[list[str], list[str]]:
        """Two halves of the queries: heads are chosen on the first, measured on the second."""
        middle = len(self.queries) // 2
        return self.queries[:middle], self.queries[middle:]

    def heads(self, kind: str) -> list[tuple[int, int]]:
        """Heads found so far: "matching", "scoring" or "contextual"."""
        part = {"matching": "matching_heads", "scoring": "direct_effects", "contextual": "contextual_heads"}[kind]
        return [tuple(head) for head in self.parts[part]["heads"]]

    def fingerprint(self) -> dict:
        """What makes a run this run; a folder holds only one."""
        texts = json.dumps(
            [self.collection.documents, self.collection.queries, self.collection.judgements], sort_keys=True
        )
        return {
            "model": self.model.name,
            "weights_sha256": self.model.source or hash_of_weights(self.model),
            "collection": self.collection.name,
            "collection_sha256": hashlib.sha256(texts.encode()).hexdigest(),
            "quick": self.quick,
            "seed": self.seed,
        }


def hash_of_weights(model: CrossEncoder) -> str:
    """SHA-256 of the weights of a model that came from no file, such as a compiled one."""
    digest = hashlib.sha256()
    for name, value in sorted(model.hf.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def environment(device: torch.device) -> dict[str, str]:
    """Versions and machine, for the report."""
    return {
        "semanticbm": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": str(device),
        "threads": str(torch.get_num_threads()),
        **{name: version(name) for name in VERSIONS},
    }


def write_json(path: Path, content) -> None:
    """Write plain JSON, whole or not at all."""
    write_text(path, json.dumps(clean(content), indent=1))


def clean(value):
    """Plain JSON values: numpy numbers and arrays, tuples, data classes and NaNs are converted."""
    if isinstance(value, Finding):
        return clean(asdict(value))
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if isinstance(value, np.ndarray):
        return clean(value.tolist())
    if isinstance(value, np.generic):
        return clean(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --------------------------------------------------------------------------------------------------------------------
# Checks first


def check_tools(study: Study) -> dict[str, float]:
    """Prove the tools on this model before anything is measured with them: largest errors, in logits or as share.

    `hooked score`: a traced run in which every head is set to its own value, against Hugging Face's score. `no patch`: the
    effects of all heads when the perturbed run is the baseline itself, computed and not assumed. `full patch`: everything
    that enters layer 0 patched, minus 1. `UserError` if one is too large: then no number of this run would mean anything.
    """
    from semanticbm.one_pass import effects_on_score
    from semanticbm.patching import activation_patching, record
    from semanticbm.path_patching import path_to_score
    from semanticbm.study.experiments import tfc1_pairs

    model = study.model
    pairs = tfc1_pairs(study, study.queries[:8], 1).pairs
    if not pairs:
        raise UserError(f"no TFC1 pair could be built on {study.collection.name}: choose another collection.")
    pair = max(pairs, key=lambda pair: abs(np.diff(model.score_pairs([pair.baseline_pair, pair.perturbed_pair]))[0]))
    encoding = model.encode([pair.baseline_pair])
    kept = record(model, encoding)
    hooked = path_to_score(model, encoding, kept.z) - model.logits(encoding)
    full = activation_patching(model, pair.baseline_pair, pair.perturbed_pair, "residual")[0]
    errors = {
        "hooked score": float(hooked.abs().max()),
        "no patch": float(effects_on_score(model, kept, kept).abs().max()),
        "full patch": float(abs(full - 1)),
    }
    for name, error in errors.items():
        if not error < CHECK_TOLERANCE:
            raise UserError(
                f"the check '{name}' fails on {model.name} (error {error:.2g}): no number could be trusted."
            )
    return errors


# --------------------------------------------------------------------------------------------------------------------
# Running and resuming


def prepare_folder(study: Study) -> None:
    """Make the output folder, or take up the run that is in it; refuse a folder with another run."""
    try:
        (study.out / "parts").mkdir(parents=True, exist_ok=True)
        (study.out / "figures").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {study.out} ({error.strerror}): choose another --out.") from None
    path, fingerprint = study.out / "run.json", study.fingerprint()
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
        if before != fingerprint:
            changed = ", ".join(key for key in fingerprint if before.get(key) != fingerprint[key])
            raise UserError(
                f"{study.out} holds a run with another {changed}: choose another --out, or delete that folder."
            )
    checks = check_tools(study)
    write_json(path, {"fingerprint": fingerprint, "environment": environment(study.model.device), "checks": checks})


def run_experiments(study: Study, console: Console) -> None:
    """Run the experiments that are not stored yet, in order."""
    from semanticbm.study.experiments import EXPERIMENTS

    for number, (name, experiment) in enumerate(EXPERIMENTS.items(), start=1):
        path = study.out / "parts" / f"{name}.json"
        if path.is_file():
            console.print(f"[dim]{number:2}/{len(EXPERIMENTS)} {name}: taken from {path}[/dim]")
        else:
            console.print(f"{number:2}/{len(EXPERIMENTS)} {name} ...")
            started = time.time()
            part = experiment(study)
            write_json(path, part | {"seconds": round(time.time() - started, 1)})
        study.parts[name] = json.loads(path.read_text(encoding="utf-8"))


def judge_all(study: Study) -> list[dict]:
    """Apply every claim's rule to what the experiments found."""
    rows = []
    for rule in rules():
        found = study.parts.get(rule["experiment"], {}).get("findings", {}).get(rule["key"])
        rows.append(judge(rule, Finding(**found) if found else Finding(None, note="this experiment was not run")))
    return rows


def build_report(study: Study) -> dict:
    """report.json: model, collection, environment, seed, heads, claims; for the paper's model also what its authors printed."""
    from semanticbm.study.paper_model import NAME as PAPER_MODEL
    from semanticbm.study.paper_model import compare

    heads = {
        kind: [f"{layer}.{head}" for layer, head in study.heads(kind)] for kind in ("matching", "contextual", "scoring")
    }
    claims = judge_all(study)
    return {
        "model": study.model.name,
        "collection": study.collection.name,
        "environment": environment(study.model.device),
        "seed": study.seed,
        "quick": study.quick,
        "queries": len(study.queries),
        "heads": heads,
        "seconds": round(sum(part["seconds"] for part in study.parts.values()), 1),
        "claims": claims,
        **({"paper_model": compare(study.model, heads, claims)} if study.model.name == PAPER_MODEL else {}),
    }


def reproduce(
    model: str = "classroom",
    collection: str = "classroom",
    out: str | Path = "report",
    quick: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> dict:
    """Run, resume or only re-judge a whole reproduction; prints the claims table and returns the report."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=150)  # a file or a pipe has no width of its own
    study = Study(load(model, device), load_study_collection(collection), Path(out), quick, seed)
    prepare_folder(study)
    console.print(
        f"model {study.model.name}, collection {study.collection.name}, {len(study.queries)} queries, seed {seed}"
        + (", quick" if quick else "")
    )
    run_experiments(study, console)
    report = build_report(study)
    write_json(study.out / "report.json", report)
    write_text(study.out / "report.md", markdown(report))
    from semanticbm.study.experiments import draw_figures

    draw_figures(study)
    console.print(claims_table(report))
    console.print(f"written to {study.out}: report.json, report.md, figures/, parts/")
    return report


# --------------------------------------------------------------------------------------------------------------------
# Reading


def number(value: float | None) -> str:
    """A measured number as text."""
    return "-" if value is None else f"{value:.3f}"


def interval(row: dict) -> str:
    """A 95 % interval as text."""
    return "-" if row["ci95"] is None else f"[{row['ci95'][0]:.3f}, {row['ci95'][1]:.3f}]"


def claims_table(report: dict) -> Table:
    """The claims table for the terminal."""
    table = Table(title=f"{report['model']} on {report['collection']}: what the paper says, what was measured")
    for column in ("claim", "paper", "measured", "95 % interval", "n", "control", "verdict"):
        table.add_column(column, overflow="fold", no_wrap=column in ("claim", "95 % interval", "verdict"))
    colour = {"reproduced": "green", "not reproduced": "red", "not applicable": "yellow"}
    for row in report["claims"]:
        table.add_row(
            row["id"],
            row["paper"],
            number(row["measured"]),
            interval(row),
            str(row["n"]),
            number(row["control"]),
            f"[{colour[row['verdict']]}]{row['verdict']}[/]",
        )
    return table


def markdown(report: dict) -> str:
    """report.md: what did not replicate first, then everything."""
    from semanticbm.study.paper_model import in_words

    lines = [
        f"# {report['model']} on {report['collection']}",
        "",
        f"Seed {report['seed']}, {report['queries']} queries{', quick run' if report['quick'] else ''}, "
        f"{report['seconds']:.0f} s. " + ", ".join(f"{k} {v}" for k, v in report["environment"].items()) + ".",
        "",
        *(f"- {kind} heads: {', '.join(heads) or 'none'}" for kind, heads in report["heads"].items()),
        "",
        *(in_words(report["paper_model"]) if "paper_model" in report else []),
    ]
    for title, wanted in (
        ("Not reproduced", "not reproduced"),
        ("Not applicable", "not applicable"),
        ("Reproduced", "reproduced"),
    ):
        rows = [row for row in report["claims"] if row["verdict"] == wanted]
        lines += [f"## {title} ({len(rows)})", ""]
        for row in rows:
            lines += [
                f"**{row['id']}**: {row['statement']}",
                "",
                f"- measured {number(row['measured'])}, 95 % interval {interval(row)}, n = {row['n']}: {row['statistic']}",
                f"- control {number(row['control'])}: {row['control_statistic']}",
                f"- rule: {row['rule']}",
                f"- paper: {row['paper']} (source: {row['source']})",
                *([f"- note: {row['note']}"] if row["note"] else []),
                "",
            ]
    return "\n".join(lines)
