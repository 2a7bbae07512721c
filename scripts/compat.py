"""Try the oldest and the newest packages that pyproject.toml allows: `make compat`.

Two environments in .cache/compat/: in `lowest` every package that pyproject.toml names has the lowest version that its range
and the other packages allow, in `newest` the newest; uv works out which these are, pip installs them. In each the tests of
the library run, without the longer proofs. The outcome goes to book/results/compat.json, which the appendix on set-ups shows.

    --only lowest|newest    one of the two
    --torch VERSION         this torch in both, when the others cannot be had (torch is large)
    --tests PATH            other tests than those of the library

When it misleads: packages that only other packages need are the newest in both. And an interpreter is tested only where
this runs with it; the table says which one it was.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).resolve().parent))
from setup_environment import pip_environment, torch_options

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "compat"
RESULT = ROOT / "book" / "results" / "compat.json"
EXTRAS = ("book", "offline", "dev")
SUMMARY = re.compile(r"(\d+) (passed|failed|error|errors|skipped)")


def requirements(extras: tuple[str, ...] = EXTRAS) -> list[Requirement]:
    """What pyproject.toml asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + [line for name in extras for line in project["optional-dependencies"][name]]
    return [Requirement(line) for line in lines]


def resolve(kind: str, torch: str) -> Path:
    """A file of constraints with the versions for an environment; `torch`: this version, and what it asks for."""
    file, bound = FOLDER / f"{kind}.txt", FOLDER / "torch.txt"
    FOLDER.mkdir(parents=True, exist_ok=True)
    bound.write_text(f"torch=={torch}\n" if torch else "", encoding="utf-8")
    resolution = "lowest-direct" if kind == "lowest" else "highest"
    extras = [part for name in EXTRAS for part in ("--extra", name)]
    command = [sys.executable, "-m", "uv", "pip", "compile", str(ROOT / "pyproject.toml"), *extras]
    command += ["--resolution", resolution, "--no-header", "--no-annotate", "--quiet", "--output-file", str(file)]
    command += ["--constraint", str(bound)]
    file.unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"compat: no versions fit together for {kind}: {done.stderr.strip()[-600:]}")
    return file


def make_environment(kind: str, torch: str) -> tuple[Path, str]:
    """A fresh environment: its Python, and "" or the reason why it could not be made."""
    constraints, folder = resolve(kind, torch), FOLDER / kind
    venv.create(folder, with_pip=True, clear=True, symlinks=True)
    python = folder / "bin" / "python"
    names = [one.name for one in requirements()]
    options = ["--quiet", "--constraint", str(constraints), *torch_options()]
    command = [str(python), "-m", "pip", "install", *options, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=pip_environment())
    (FOLDER / f"{kind}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR") and "Ignored the" not in line]
    return python, "" if done.returncode == 0 else " ".join(errors)[:400] or "pip failed"


def versions(python: Path) -> dict[str, str]:
    """The versions of the packages that pyproject.toml names, in an environment."""
    site = next((python.parents[1] / "lib").glob("python*/site-packages"))
    found = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in distributions(path=[str(site)])}
    names = sorted({one.name.lower().replace("_", "-") for one in requirements()})
    return {name: found[name] for name in names if name in found}


def run_tests(python: Path, tests: str) -> dict[str, int]:
    """How many tests passed, failed, were skipped."""
    environment = pip_environment() | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long", *tests.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    (FOLDER / "tests.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    print(done.stdout[-1500:])
    last = done.stdout.strip().splitlines()[-1:] or [""]
    return {name: int(count) for count, name in SUMMARY.findall(last[0])}


def try_environment(kind: str, torch: str, tests: str) -> dict:
    """Install, test, and say what came of it."""
    print(f"compat: {kind}: installing", flush=True)
    python, problem = make_environment(kind, torch)
    row = {"environment": kind, "python": platform.python_version(), "tests": tests, "problem": problem}
    if problem:
        return row
    row["packages"] = versions(python)
    print(f"compat: {kind}: testing with {row['packages']}", flush=True)
    return row | {"outcome": run_tests(python, tests)}


def store(rows: list[dict]) -> None:
    """Put the rows into the result, in place of older ones of the same environment and Python."""
    old = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else []
    keys = {(row["environment"], row["python"]) for row in rows}
    kept = [row for row in old if (row["environment"], row["python"]) not in keys]
    RESULT.write_text(json.dumps([*kept, *rows], indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Try both environments and store what came of it; exit code 1 if one could not be made or a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("lowest", "newest"))
    parser.add_argument("--torch", default="", help="this version of torch in both")
    parser.add_argument("--tests", default="tests/library", help="the tests to run")
    asked = parser.parse_args()
    kinds = [asked.only] if asked.only else ["lowest", "newest"]
    rows = [try_environment(kind, asked.torch, asked.tests) for kind in kinds]
    store(rows)
    bad = [row for row in rows if row["problem"] or set(row["outcome"]) - {"passed", "skipped"} or not row["outcome"]]
    for row in bad:
        print(f"compat: {row['environment']}: {row['problem'] or row['outcome']}", file=sys.stderr)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
