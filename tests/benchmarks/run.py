"""Run the benchmarks: `make bench`, or `.venv/bin/python tests/benchmarks/run.py [--quick]`.

The libraries that we compare with do not belong into the project's own environment. So this script makes a second one
in tests/benchmarks/.venv, which sees every package of the first one and adds TransformerLens on top, and runs
`measure.py` in it: one process, one torch, one set of weights for all contestants. Where TransformerLens cannot be
installed, the benchmark still runs, and the result says why it is missing.

The result goes to book/results/benchmark.json, which the appendix reads; --out names another file.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENVIRONMENT = HERE / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make_environment() -> str:
    """Make or complete the benchmark's environment. Returns "" or the reason why TransformerLens is not in it."""
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=False)
    packages = next(ENVIRONMENT.glob("**/site-packages"))
    parent = sysconfig.get_paths()["purelib"]
    (packages / "project.pth").write_text(f"import site; site.addsitedir({parent!r})\n", encoding="utf-8")
    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--constraint",
        str(ROOT / "constraints.txt"),
        "--requirement",
        str(HERE / "requirements.txt"),
    ]
    print("benchmark: preparing TransformerLens in tests/benchmarks/.venv", flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
    return "" if done.returncode == 0 else f"pip could not install it: {lines[-1][:200]}"


def main() -> int:
    """Prepare the environment, then measure in it with the arguments given here."""
    problem = make_environment()
    missing = ["--without-lens", problem] if problem else []
    return subprocess.run([str(PYTHON), str(HERE / "measure.py"), *missing, *sys.argv[1:]], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
