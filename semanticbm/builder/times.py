"""How long each chapter takes: `python -m semanticbm.builder.times` measures and writes book/results/times.json.

Every chapter runs alone, without the cache, one after the other, so the numbers do not depend on each other. The
preface prints them. Measure on a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

from semanticbm.builder.build import build_preview, read_documents
from semanticbm.builder.cells import cells_of
from semanticbm.builder.execute import execute
from semanticbm.builder.project import Project, read_project

FILE = Path("book/results/times.json")


def processor() -> str:
    """The name of the processor, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def installation(project: Project) -> str:
    """What `make setup` noted about its own time, if it made a new environment."""
    stamp = project.root / ".venv" / "setup.stamp"
    return stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else ""


def measure(project: Project) -> dict:
    """Seconds of each chapter run alone, of the whole book built from scratch, and of a second build."""
    chapters, load = {}, round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    for chapter, document in read_documents(project.chapters).items():
        cells = cells_of(document)
        if cells and chapter.path.name != "index.qmd":
            chapters[chapter.path.as_posix()] = execute(project, chapter, cells, threads=os.cpu_count() or 1).seconds
            print(f"{chapter.path}: {chapters[chapter.path.as_posix()]:.1f} s", flush=True)
    totals = {}
    for name, fresh in (("whole book", True), ("second build", False)):
        begin = time.monotonic()
        build_preview(project, print, fresh=fresh)
        totals[name] = round(time.monotonic() - begin, 1)
    return {
        "cores": os.cpu_count(),
        "processor": processor(),
        "python": platform.python_version(),
        "load before": load,
        "installation": installation(project),
        "chapters": chapters,
        **totals,
    }


def main() -> None:
    """Measure and write the file."""
    project = read_project()
    times = measure(project)
    (project.root / FILE).parent.mkdir(parents=True, exist_ok=True)
    (project.root / FILE).write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
