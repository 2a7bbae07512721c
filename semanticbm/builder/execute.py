"""Run the cells of a chapter in a Jupyter kernel, unless the same cells ran before on the same files.

A chapter's result depends on its cells, on the versions of the packages, on the library's modules that it imported,
and on the files that it read. The first two make up the key of a cache entry. The others are only known after a run,
so the entry lists them with their SHA-256, and it counts only while every hash still holds. So a change in
`semanticbm/idf.py` runs again the chapters that import it, and no other; a change in the prose runs nothing.

When it misleads: the list of files holds what Python opened below the project folder. Model weights are opened by other
code, so all files of semanticbm/data are always on the list; and a chapter may ask whether a result is stored without
opening it, so the names of the files in book/results are.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from semanticbm.builder.cells import Cell
from semanticbm.builder.kernel import NAME, BookKernel
from semanticbm.builder.project import Chapter, Project
from semanticbm.loading.files import write_text

CELL_SECONDS = 900
START_SECONDS = 300
PACKAGES = (
    "torch",
    "transformers",
    "nnsight",
    "numpy",
    "pandas",
    "matplotlib",
    "seaborn",
    "scikit-learn",
    "peft",
    "ipykernel",
)
SETUP = Path(__file__).with_name("kernel_setup.py")
RESULTS = Path("book") / "results"


class CellFailed(Exception):
    """A cell raised an error. The message names chapter, cell and error."""


@dataclass(frozen=True)
class Run:
    """What a chapter's cells gave: one list of notebook outputs for each cell, and the seconds it took."""

    outputs: list[list[dict]]
    seconds: float
    cached: bool = False


# --------------------------------------------------------------------------------------------------------------------
# The cache


@cache
def _hash_file(path: str, modified: float) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, or of the names of all files in a folder; "" if it is not there."""
    path = Path(path)
    if path.is_dir():
        names = sorted(found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file())
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return _hash_file(str(path), path.stat().st_mtime) if path.is_file() else ""


def _package_versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return found


def cache_key(cells: list[Cell]) -> str:
    """Hash of all that is known before the run: the code, and the versions of the packages."""
    known = [[cell.code, cell.inline] for cell in cells], _package_versions(), SETUP.read_text(encoding="utf-8")
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _entry_path(project: Project, chapter: Chapter, key: str) -> Path:
    return project.cache / f"{chapter.path.stem}-{key[:16]}.json"


def _relative(project: Project, path: str | Path) -> str:
    return os.path.relpath(path, project.root)


def read_cache(project: Project, chapter: Chapter, cells: list[Cell]) -> Run | None:
    """The stored run of these cells, if everything that it depended on is unchanged."""
    try:
        entry = json.loads(_entry_path(project, chapter, cache_key(cells)).read_text(encoding="utf-8"))
        unchanged = all(file_hash(project.root / path) == digest for path, digest in entry["dependencies"].items())
        return Run(entry["outputs"], entry["seconds"], cached=True) if unchanged else None
    except (OSError, ValueError, KeyError):
        return None


def _write_cache(project: Project, chapter: Chapter, cells: list[Cell], run: Run, files: list[str]) -> None:
    data = [path for path in (project.root / "semanticbm" / "data").rglob("*") if path.is_file()]
    uses_library = any(f"{os.sep}semanticbm{os.sep}" in path for path in files)
    used = [*data, project.root / RESULTS] if uses_library else []
    names = sorted({_relative(project, path) for path in [*files, *used]})
    dependencies = {name: file_hash(project.root / name) for name in names}
    path = _entry_path(project, chapter, cache_key(cells))
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f"{chapter.path.stem}-????????????????.json"):
        old.unlink(missing_ok=True)
    write_text(path, json.dumps({"dependencies": dependencies, "seconds": run.seconds, "outputs": run.outputs}))


# --------------------------------------------------------------------------------------------------------------------
# Running


def _notebook(cells: list[Cell]) -> nbformat.NotebookNode:
    codes = [f"_book_print_value({cell.code})" if cell.inline else cell.code for cell in cells]
    codes = [SETUP.read_text(encoding="utf-8"), *codes, "_book_print_dependencies()"]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes])


def kernel_environment(project: Project, threads: int) -> dict[str, str]:
    """Environment variables of a kernel: the project's `_environment` file, and how many threads it may use."""
    environment = dict(
        os.environ,
        OMP_NUM_THREADS=str(threads),
        SEMANTICBM_BOOK_ROOT=str(project.root),
        JUPYTER_PLATFORM_DIRS="1",
        PYTHONPATH=os.pathsep.join(_import_path(project)),
    )
    file = project.root / "_environment"
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            environment.setdefault(name.strip(), value.strip().strip('"'))
    return environment


def _import_path(project: Project) -> list[str]:
    return [str(project.root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def _failed_cell(chapter: Chapter, cells: list[Cell], notebook: nbformat.NotebookNode, error: Exception) -> CellFailed:
    """Name the cell that failed: the first one with an error output, else the first one that never ran."""
    for cell, node in zip(cells, notebook.cells[1:], strict=False):
        failure = next((output for output in node.outputs if output.output_type == "error"), None)
        if failure is not None:
            return CellFailed(f"{chapter.path}, {cell.place}: {failure.ename}: {failure.evalue}")
        if node.get("execution_count") is None:
            reason = str(error).strip().splitlines()[-1]
            return CellFailed(f"{chapter.path}, {cell.place}: {type(error).__name__}: {reason}")
    return CellFailed(f"{chapter.path}: the kernel did not start: {error}")


def execute(project: Project, chapter: Chapter, cells: list[Cell], threads: int = 1) -> Run:
    """Run the cells of one chapter in a fresh kernel and store the result. Raises `CellFailed`."""
    notebook = _notebook(cells)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        startup_timeout=START_SECONDS,
        kernel_name=NAME,
        kernel_manager_class=BookKernel,
        resources={"metadata": {"path": str(project.root)}},
    )
    begin = time.monotonic()
    try:
        client.execute(env=kernel_environment(project, threads))
    except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as error:
        raise _failed_cell(chapter, cells, notebook, error) from None
    outputs = [[dict(output) for output in node.outputs] for node in notebook.cells]
    run = Run(outputs[1:-1], round(time.monotonic() - begin, 1))
    files = json.loads("".join(output["text"] for output in outputs[-1] if output.get("name") == "stdout"))
    _write_cache(project, chapter, cells, run, files)
    return run


def _run_or_read(project: Project, chapter: Chapter, cells: list[Cell], threads: int, fresh: bool) -> Run:
    if not cells:
        return Run([], 0.0)
    stored = None if fresh else read_cache(project, chapter, cells)
    return stored or execute(project, chapter, cells, threads)


def _describe(run: Run | None) -> str:
    if run is None:
        return "FAILED"
    if not run.outputs:
        return "no code"
    return "unchanged, from the cache" if run.cached else f"ran in {run.seconds:.1f} s"


def run_chapters(
    project: Project,
    cells: dict[Chapter, list[Cell]],
    report: Callable[[str], None],
    fresh: bool = False,
    workers: int | None = None,
) -> tuple[dict[Chapter, Run], list[str]]:
    """Run all chapters, several at a time; return the runs, and one line for each chapter that failed.

    cells: {chapter: its cells}. `fresh`: do not read the cache. `report` gets one line of progress for each chapter.
    """
    cores = os.cpu_count() or 1
    workers = workers or max(1, min(4, cores))
    threads = max(1, cores // workers)
    report(f"running the code of {sum(map(bool, cells.values()))} chapters, {workers} at a time")
    pool = ThreadPoolExecutor(workers)
    jobs = {pool.submit(_run_or_read, project, chapter, cells[chapter], threads, fresh): chapter for chapter in cells}
    runs, failures = {}, {}
    try:
        for done, job in enumerate(as_completed(jobs), start=1):
            chapter = jobs[job]
            try:
                runs[chapter] = job.result()
            except CellFailed as error:
                failures[chapter] = str(error)
            report(f"[{done}/{len(cells)}] {chapter.path}: {_describe(runs.get(chapter))}")
    finally:
        pool.shutdown(cancel_futures=True)
    return runs, [failures[chapter] for chapter in cells if chapter in failures]
