"""`semanticbm reproduce`: every experiment on one model, the claims table, and files that others can check.

The steps of a clean run:

1. *Checks first* (`semanticbm.study.checks`): no number before the tools are proved on this model.
2. *Experiments* (`semanticbm.study.experiments`), each stored as it ends, so that a stopped run goes on where it was. An
   experiment that this model or collection cannot answer is stored with its reason, and the others run.
3. *Verdicts*: the rules of `claims.toml`, written before the run, applied to what was measured.
4. *Files*: report.json (fixed keys), report.md (for reading), figures/, parts/ (all numbers behind the figures), and
   run.json with the seed, versions and hashes that made them.

A folder holds one run, and only one process writes to it (`RunFolder`).

When it misleads: a table of verdicts looks more certain than it is. Each row has its interval, its number of queries and
its control; what did not replicate stands beside what did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from semanticbm.errors import UserError
from semanticbm.heads import head_name
from semanticbm.ladder import load
from semanticbm.loading.files import write_text
from semanticbm.study.checks import check_tools
from semanticbm.study.claims import Finding, claims_of, judge, rules, rules_version
from semanticbm.study.collections import load_study_collection
from semanticbm.study.experiments import EXPERIMENTS
from semanticbm.study.figures import draw_figures
from semanticbm.study.paper_model import NAME as PAPER_MODEL
from semanticbm.study.paper_model import compare
from semanticbm.study.provenance import environment, fingerprint
from semanticbm.study.report import claims_table, markdown
from semanticbm.study.sealed import plain, read_sealed, write_sealed
from semanticbm.study.study import FOUND_BY, Study

# --------------------------------------------------------------------------------------------------------------------
# The folder of a run


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Each of them carries the run's fingerprint, and none of another run is taken for its own."""

    path: Path
    fingerprint: dict

    def make(self) -> None:
        """Make the folders; `UserError` where nothing can be written."""
        try:
            (self.path / "parts").mkdir(parents=True, exist_ok=True)
            (self.path / "figures").mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {self.path} ({error.strerror}): choose another --out.") from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes out of the folder inside a `with`; `UserError` if another one is in it."""
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"another `semanticbm reproduce` is writing to {self.path}: wait for it, or choose another --out."
            ) from None
        except OSError as error:
            raise UserError(f"cannot write to {self.path} ({error.strerror}): choose another --out.") from None
        try:
            yield
        finally:
            lock.release()

    def check(self) -> None:
        """Refuse the folder if any of its files is damaged or belongs to another run."""
        for path in (self.path / "run.json", *sorted((self.path / "parts").glob("*.json"))):
            if path.is_file():
                self.read(path)

    def read(self, path: Path) -> dict:
        """One file of this run; `UserError` if it is damaged or of another run."""
        content = read_sealed(path)
        theirs = content.get("fingerprint", {})
        if theirs != self.fingerprint:
            changed = ", ".join(key for key in self.fingerprint if theirs.get(key) != self.fingerprint[key])
            raise UserError(
                f"{path} belongs to a run with another {changed}: choose another --out, or delete that folder."
            )
        return content

    def part(self, name: str) -> Path:
        """Where the results of one experiment are."""
        return self.path / "parts" / f"{name}.json"

    def write(self, path: Path, content: dict) -> None:
        """Write one file of this run, whole or not at all."""
        write_sealed(path, content | {"fingerprint": self.fingerprint})


# --------------------------------------------------------------------------------------------------------------------
# Running and resuming


def run_experiments(study: Study, folder: RunFolder, console: Console) -> None:
    """Run the experiments that are not stored yet, in order."""
    for number, (name, experiment) in enumerate(EXPERIMENTS.items(), start=1):
        path = folder.part(name)
        if path.is_file():
            console.print(f"[dim]{number:2}/{len(EXPERIMENTS)} {name}: taken from {path}[/dim]")
            study.parts[name] = folder.read(path)
            continue
        console.print(f"{number:2}/{len(EXPERIMENTS)} {name} ...")
        started = time.time()
        part = plain(answer(name, experiment, study)) | {"environment": environment(study.model.device)}
        study.parts[name] = part | {"seconds": round(time.time() - started, 1)}
        folder.write(path, study.parts[name])


def answer(name: str, experiment: Callable[[Study], dict], study: Study) -> dict:
    """What an experiment found; if it cannot be answered here, no findings but the reason."""
    try:
        return experiment(study)
    except UserError as reason:
        heads = {"heads": []} if name in FOUND_BY.values() else {}
        return heads | {"findings": {key: Finding(None, note=str(reason)) for key in claims_of(name)}}


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
        "seconds": round(sum(part["seconds"] for part in study.parts.values()), 1),
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
) -> dict:
    """Run, resume or only re-judge a whole reproduction; prints the claims table and returns the report."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=150)  # a file or a pipe has no width of its own
    study = Study(load(model, device), load_study_collection(collection), Path(out), quick, seed)
    folder = RunFolder(study.out, fingerprint(study))
    folder.make()
    with folder.lock():
        folder.check()
        return _run(study, folder, console)


def _run(study: Study, folder: RunFolder, console: Console) -> dict:
    checks = check_tools(study)
    run_file = folder.path / "run.json"
    if not run_file.is_file():  # a resumed run keeps the record of its start
        folder.write(run_file, {"environment": environment(study.model.device), "checks": checks})
    console.print(
        f"model {study.model.name}, collection {study.collection.name}, {len(study.queries)} queries, "
        f"seed {study.seed}" + (", quick" if study.quick else "")
    )
    run_experiments(study, folder, console)
    report = build_report(study)
    folder.write(folder.path / "report.json", report)
    write_text(folder.path / "report.md", markdown(report))
    draw_figures(study)
    console.print(claims_table(report))
    console.print(f"written to {study.out}: report.json, report.md, figures/, parts/")
    return report
