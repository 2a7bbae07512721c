"""`semanticbm reproduce`: every experiment on one model, the claims table, and files that others can check.

The steps of a clean run:

1. *Checks first* (`semanticbm.study.checks`): no number before the tools are proved on this model.
2. *Experiments* (`semanticbm.study.experiments`), each stored as it ends, so that a stopped run goes on where it was. An
   experiment that this model or collection cannot answer is stored with its reason, and the others run.
3. *Verdicts*: the rules of `claims.toml`, written before the run, applied to what was measured.
4. *Files*: report.json (fixed keys), report.md (for reading), figures/, parts/ (all numbers behind the figures), and
   run.json with the seed, versions and hashes that made them.

A folder holds one run, and only one call of `reproduce` writes to it (`RunFolder`); that call may share the experiments among
several processes (`semanticbm.study.processes`).

When it misleads: a table of verdicts looks more certain than it is. Each row has its interval, its number of queries and
its control; what did not replicate stands beside what did.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from semanticbm.heads import head_name
from semanticbm.ladder import load
from semanticbm.loading.files import write_text
from semanticbm.study.checks import check_tools
from semanticbm.study.claims import Finding, judge, rules, rules_version
from semanticbm.study.collections import load_study_collection
from semanticbm.study.experiments import EXPERIMENTS
from semanticbm.study.figures import draw_figures
from semanticbm.study.folder import RunFolder
from semanticbm.study.paper_model import NAME as PAPER_MODEL
from semanticbm.study.paper_model import compare
from semanticbm.study.processes import run_one, run_side_by_side, usual_jobs
from semanticbm.study.provenance import environment, fingerprint
from semanticbm.study.report import claims_table, markdown
from semanticbm.study.study import FOUND_BY, Study

# --------------------------------------------------------------------------------------------------------------------
# Running and resuming


def run_experiments(
    open_study: Callable[[], Study], study: Study, folder: RunFolder, jobs: int, console: Console
) -> None:
    """Run the experiments that are not stored yet: in order, or in `jobs` processes, each with a study of its own."""
    for number, (name, experiment) in enumerate(EXPERIMENTS.items(), start=1):
        path, line = folder.part(name), f"{number:2}/{len(EXPERIMENTS)} {name}"
        if path.is_file():
            console.print(f"[dim]{line}: taken from {path}[/dim]")
            study.parts[name] = folder.read(path)
        elif jobs == 1:
            console.print(f"{line} ...")
            study.parts[name] = run_one(name, experiment, study, folder)
    if jobs > 1 and len(study.parts) < len(EXPERIMENTS):
        run_side_by_side(open_study, study, folder, jobs, console)


def judge_all(parts: dict[str, dict]) -> list[dict]:
    """Apply every claim's rule to what the experiments found: the rows of the report."""
    rows = []
    for rule in rules():
        found = parts.get(rule["experiment"], {}).get("findings", {})
        rows.append(judge(rule, {key: Finding(**values) for key, values in found.items()}))
    return rows


def environments(parts: dict[str, dict]) -> dict:
    """The environment that computed the parts; where parts differ, all of its values, joined by " / "."""
    every = [part["environment"] for part in parts.values()]
    names = dict.fromkeys(name for one in every for name in one)
    return {name: " / ".join(dict.fromkeys(one.get(name, "unknown") for one in every)) for name in names}


def run_time(parts: dict[str, dict]) -> float:
    """Seconds in which an experiment was running; pauses of a stopped run do not count, two side by side count once."""
    if not all("ended" in part for part in parts.values()):
        return sum(part["seconds"] for part in parts.values())  # written before parts knew when they ended
    seconds, latest = 0.0, 0.0
    for part in sorted(parts.values(), key=lambda part: part["ended"] - part["seconds"]):
        began = max(part["ended"] - part["seconds"], latest)
        seconds += max(0.0, part["ended"] - began)
        latest = max(latest, part["ended"])
    return seconds


def build_report(study: Study) -> dict:
    """report.json: model, collection, environment, seed, heads, claims; for the paper's model also what its authors printed."""
    heads = {role: [head_name(*head) for head in study.heads(role)] for role in FOUND_BY}
    claims = judge_all(study.parts)
    return {
        "model": study.model.name,
        "collection": study.collection.name,
        "environment": environments(study.parts),
        "seed": study.seed,
        "quick": study.quick,
        "queries": len(study.queries),
        "heads": heads,
        "seconds": round(run_time(study.parts), 1),
        "rules_version": rules_version(),
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
    jobs: int = 1,
) -> dict:
    """Run, resume or only re-judge a whole reproduction; prints the claims table and returns the report.

    jobs: processes that share the work, each with its own copy of the model; 0: as many as suit the machine.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=150)  # a file or a pipe has no width of its own
    open_study = partial(_open_study, model, collection, Path(out), quick, device, seed)
    study = open_study()
    folder = RunFolder(study.out, fingerprint(study))
    folder.make()
    with folder.lock():
        folder.check()
        return _run(open_study, study, folder, jobs or usual_jobs(study.model.device), console)


def _open_study(model: str, collection: str, out: Path, quick: bool, device: str, seed: int) -> Study:
    return Study(load(model, device), load_study_collection(collection), out, quick, seed)


def _run(open_study: Callable[[], Study], study: Study, folder: RunFolder, jobs: int, console: Console) -> dict:
    checks = check_tools(study)
    run_file = folder.path / "run.json"
    if not run_file.is_file():  # a resumed run keeps the record of its start
        folder.write(run_file, {"environment": environment(study.model.device), "jobs": jobs, "checks": checks})
    console.print(
        f"model {study.model.name}, collection {study.collection.name}, {len(study.queries)} queries, "
        f"seed {study.seed}" + (", quick" if study.quick else "") + (f", {jobs} processes" if jobs > 1 else "")
    )
    run_experiments(open_study, study, folder, jobs, console)
    report = build_report(study)
    folder.write(folder.path / "report.json", report)
    write_text(folder.path / "report.md", markdown(report))
    draw_figures(study)
    console.print(claims_table(report))
    console.print(f"written to {study.out}: report.json, report.md, figures/, parts/")
    return report
