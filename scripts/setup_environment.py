"""Make the project's environment in .venv/: `python scripts/setup_environment.py`, or simply `make setup`.

Three steps: a virtual environment, pip with the versions of constraints.txt, a stamp file for make. It needs nothing
but Python's own library, because it runs before anything is installed. What pip says goes to `.venv/setup.log`; the
terminal gets one line that moves, and after a failure the lines that matter.

Settings of pip that send packages elsewhere (PIP_USER, a target folder, a PYTHONPATH with other packages) are switched
off here or refused: each of them leaves a `.venv` without packages. Indexes, proxies and certificates stay as they are.

The other decision is where torch comes from. The build on PyPI for Linux brings several gigabytes of CUDA libraries. They
are useless without an NVIDIA GPU. So where there is none, this script looks for a CPU build: first among the files that
pip knows already, then in PyTorch's own CPU index. If neither is in reach, it takes PyPI's build and says so.
"""

from __future__ import annotations

import json
import os
import platform
import re
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
LOG = VENV / "setup.log"
EXTRAS = "book,train,offline,serve,compare,dev"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIREMENT", "PIP_EDITABLE", "PIP_REPORT")
SWITCHES = ("PIP_USER", "PIP_DRY_RUN", "PIP_NO_DEPS", "PIP_REQUIRE_HASHES", "PIP_IGNORE_INSTALLED", "PIP_QUIET")
PACKAGE_STEP = re.compile(r"^ *(Collecting|Downloading|Using cached|Building|Installing) (\S+)")


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


def pip_environment() -> dict[str, str]:
    """The environment for pip: what would put packages elsewhere is off. A switch of pip's own files is overruled by 0."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return environment | dict.fromkeys(ELSEWHERE, "") | dict.fromkeys(SWITCHES, "0")


def pip(*arguments: str) -> list[str]:
    """The command that runs the environment's own pip."""
    return [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]


def refuse_settings_that_send_packages_elsewhere() -> None:
    """Stop if a file of pip's settings names a target folder: no variable overrules that."""
    listed = subprocess.run(pip("config", "list"), capture_output=True, text=True, env=pip_environment()).stdout
    for line in listed.splitlines():
        name = line.partition("=")[0]
        if not name.startswith(":env:") and name.rpartition(".")[2] in ("target", "prefix", "root"):
            sys.exit(
                f"setup: pip's own settings send packages elsewhere: {line}. Take that out (pip config debug shows the "
                f"file), or run make setup with PIP_CONFIG_FILE={os.devnull}."
            )


def torch_among_local_files() -> str:
    """The build of torch that pip finds in its own folders of wheels (PIP_FIND_LINKS), such as "2.13.0+cpu", or ""."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        looks = ("--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--no-index", "--report", str(report))
        command = pip("install", *looks, torch_requirement())
        done = subprocess.run(command, capture_output=True, env=pip_environment())
        if done.returncode or not report.is_file():
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


def venv_version() -> str:
    """The version of the environment's Python; "" if there is none that runs and has pip."""
    if not PYTHON.exists():
        return ""
    code = "import pip, platform; print(platform.python_version())"
    asked = subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, env=pip_environment())
    return asked.stdout.strip()


def has_wanted_python() -> bool:
    """True if the environment runs, with this Python or with one that nobody asked to replace."""
    version = venv_version()
    return version == platform.python_version() or bool(version and not os.environ.get("ASKED_PYTHON"))


def make_venv() -> bool:
    """Create .venv/; make it new if its Python no longer runs (after the folder was moved, say) or is not the one asked for.

    Returns True if it was created.
    """
    if has_wanted_python():
        return False
    say(f"virtual environment in {VENV.name}/ with Python {platform.python_version()}")
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True, env=pip_environment())
    if made.returncode:
        sys.exit(
            f"setup: python -m venv failed. On Debian and Ubuntu: apt install python3-venv. It said: "
            f"{(made.stdout + made.stderr).strip()[-300:]}"
        )
    return True


# --------------------------------------------------------------------------------------------------------------------
# Installing


def show_progress(done: int, step: str) -> None:
    """One line that moves on a terminal; elsewhere, such as in a CI log, a line for every 25 steps."""
    if sys.stdout.isatty():
        print(f"\r\033[Ksetup: {done} steps, {step[:60]}", end="", flush=True)
    elif done % 25 == 0:
        say(f"{done} steps, {step[:60]}")


def run_with_log(command: list[str]) -> int:
    """Run pip, write all it says to the log, show its steps in one line. Returns its exit code."""
    with LOG.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=pip_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        steps = 0
        for line in process.stdout:
            log.write(line)
            step = PACKAGE_STEP.match(line)
            if step:
                steps += 1
                show_progress(steps, " ".join(step.groups()))
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    return process.wait()


def causes(log: str) -> list[str]:
    """The lines of pip's log that say why it failed: its errors, else its last lines."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("WARNING")]
    return [line for line in lines if "ERROR" in line or "error:" in line.lower()][-5:] or lines[-5:]


def advice(log: str) -> str:
    """What to do about a failure of pip, from what it said."""
    if "No space left" in log:
        return "The disk is full: free about 3 GB."
    if "ResolutionImpossible" in log or "conflicting dependencies" in log:
        return "Versions contradict each other. Is there a constraint in your own pip settings (pip config list)?"
    if "No matching distribution" in log or "Could not find a version" in log:
        return (
            f"pip's index has no such version for Python {platform.python_version()}, or is out of reach. Is the network "
            "there? Python 3.11 to 3.13 have all packages: make setup PYTHON=/path/to/python3.12"
        )
    return "Look at the network and the free disk space (about 3 GB)."


def install() -> None:
    """Install the project in editable mode with all extras, in the pinned versions."""
    say("packages, in the versions of constraints.txt (about 1 GB, some minutes the first time)")
    options = ["--constraint", str(CONSTRAINTS), *torch_options()]
    if run_with_log(pip("install", *options, "--editable", f"{ROOT}[{EXTRAS}]")):
        log = LOG.read_text(encoding="utf-8")
        said = "".join(f"\nsetup:   {line[:300]}" for line in causes(log))
        sys.exit(
            f"setup: pip failed:{said}\nsetup: {advice(log)}\nsetup: all that pip said is in {LOG}. Then run make setup "
            "again: what was installed already is kept."
        )
    check_installed()


def check_installed() -> None:
    """Stop if the package did not arrive in the environment, although pip ended well."""
    code = "import semanticbm; print(semanticbm.__file__)"
    tried = subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, cwd=VENV, env=pip_environment())
    if tried.returncode:
        sys.exit(
            f"setup: pip ended well, but {VENV.name}/ has no semanticbm. Does a setting of pip send packages elsewhere? "
            f"See pip config list, and {LOG}."
        )


def is_current() -> bool:
    """True if the environment has the wanted Python and is newer than what it was made from."""
    sources = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))
    return (
        STAMP.is_file()
        and has_wanted_python()
        and all(STAMP.stat().st_mtime >= source.stat().st_mtime for source in sources)
    )


def main() -> None:
    """Make the environment and leave the stamp that tells make it is done."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this script runs before pip could check)
        sys.exit(f"setup: needs Python 3.11 or newer; this is {platform.python_version()}.")
    if is_current():
        return
    begin, is_new = time.monotonic(), make_venv()
    refuse_settings_that_send_packages_elsewhere()
    install()
    STAMP.write_text(f"{time.monotonic() - begin:.0f} s" if is_new else "updated", encoding="utf-8")
    say(f"done. Activate it with: source {VENV.name}/bin/activate")


if __name__ == "__main__":
    main()
