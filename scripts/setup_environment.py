"""Make the project's environment in .venv/: `python scripts/setup_environment.py`, or simply `make setup`.

Three steps: a virtual environment, pip with the versions of constraints.txt, a stamp file for make. It needs nothing
but Python's own library, because it runs before anything is installed.

The one decision is where torch comes from. The build on PyPI for Linux brings several gigabytes of CUDA libraries. They
are useless without an NVIDIA GPU. So where there is none, this script looks for a CPU build: first among the files that
pip knows already, then in PyTorch's own CPU index. If neither is in reach, it takes PyPI's build and says so.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if platform.system() == "Windows" else "bin/python")
CONSTRAINTS = ROOT / "constraints.txt"
STAMP = VENV / "setup.stamp"
EXTRAS = "book,train,offline,dev"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def say(message: str) -> None:
    """Print one line of progress."""
    print(f"setup: {message}", flush=True)


def has_nvidia_gpu() -> bool:
    """True if the NVIDIA driver lists at least one GPU."""
    if not shutil.which("nvidia-smi"):
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return listing.returncode == 0 and "GPU" in listing.stdout


def torch_requirement() -> str:
    """The line of constraints.txt that pins torch."""
    return next(line.strip() for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))


def torch_among_local_files() -> str:
    """The build of torch that pip finds in its own folders of wheels (PIP_FIND_LINKS), such as "2.13.0+cpu", or ""."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            str(PYTHON),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--no-deps",
            "--no-index",
            "--report",
            str(report),
            torch_requirement(),
        ]
        if subprocess.run(command, capture_output=True).returncode or not report.is_file():
            return ""
        return json.loads(report.read_text())["install"][0]["metadata"]["version"]


def index_in_reach(url: str, seconds: float = 6.0) -> bool:
    """True if the index answers quickly."""
    try:
        with urllib.request.urlopen(f"{url}/torch/", timeout=seconds) as answer:
            return answer.status == 200
    except OSError:
        return False


def torch_options() -> list[str]:
    """The pip options that lead to the right build of torch for this machine."""
    if platform.system() != "Linux":
        return []  # PyPI's builds for macOS and Windows carry no CUDA
    if has_nvidia_gpu():
        say("NVIDIA GPU found: torch comes with CUDA, from PyPI.")
        return []
    if torch_among_local_files().endswith("+cpu"):
        say("no NVIDIA GPU: pip already has a CPU build of torch among its files and takes it.")
        return []
    if index_in_reach(CPU_INDEX):
        say(f"no NVIDIA GPU: torch comes as a CPU build from {CPU_INDEX}.")
        return ["--extra-index-url", CPU_INDEX]
    say(
        f"no NVIDIA GPU, but {CPU_INDEX} is out of reach: torch comes from pip's own index. On PyPI that build "
        "brings about 3 GB of CUDA libraries, which stay unused here."
    )
    return []


def make_venv() -> bool:
    """Create .venv/, or make it new if its Python no longer runs (after the folder was moved, for example).

    Returns True if it was created.
    """
    if PYTHON.exists() and subprocess.run([str(PYTHON), "-c", "import pip"], capture_output=True).returncode == 0:
        return False
    say(f"virtual environment in {VENV.name}/ with Python {platform.python_version()}")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if made.returncode:
        sys.exit(
            f"setup: python -m venv failed. On Debian and Ubuntu: apt install python3-venv. It said: "
            f"{(made.stdout + made.stderr).strip()[-300:]}"
        )
    return True


def install() -> None:
    """Install the project in editable mode with all extras, in the pinned versions; pip shows its progress."""
    say("packages, in the versions of constraints.txt (about 1 GB, some minutes the first time)")
    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--constraint",
        str(CONSTRAINTS),
        *torch_options(),
        "--editable",
        f"{ROOT}[{EXTRAS}]",
    ]
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(
            "setup: pip failed; its last lines above say why. Check the network and the free disk space, then "
            "run make setup again: what was installed already is kept."
        )


def main() -> None:
    """Make the environment and leave the stamp that tells make it is done."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this script runs before pip could check)
        sys.exit(f"setup: needs Python 3.11 or newer; this is {platform.python_version()}.")
    begin, is_new = time.monotonic(), make_venv()
    install()
    STAMP.write_text(f"{time.monotonic() - begin:.0f} s" if is_new else "updated", encoding="utf-8")
    say(f"done. Activate it with: source {VENV.name}/bin/activate")


if __name__ == "__main__":
    main()
