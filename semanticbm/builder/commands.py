"""`semanticbm book`: Quarto where it is, else the preview. One last line says which one ran and where the book is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from semanticbm.builder.project import Project, find_root, read_project

DAY = 24 * 3600.0
INSTALL_SECONDS = 300
QUARTO_PACKAGE = "quarto-cli==1.10.19"


def say(message: str) -> None:
    """One line of progress."""
    print(f"book: {message}", flush=True)


# --------------------------------------------------------------------------------------------------------------------
# Quarto


def find_quarto() -> str | None:
    """The quarto program: on PATH, or beside this Python (where pip puts it)."""
    beside = Path(sys.executable).with_name("quarto")
    return shutil.which("quarto") or (str(beside) if beside.is_file() else None)


def _failed_lately(stamp: Path) -> bool:
    return stamp.is_file() and time.time() - stamp.stat().st_mtime < DAY


def install_quarto(project: Project) -> str | None:
    """Try to install Quarto with pip, in a fixed version; None if that fails, which is then remembered for a day.

    The package quarto-cli on PyPI holds no program: while it is installed it downloads one from GitHub. Where GitHub
    is out of reach it ends with "ValueError: nothing to open", which says nothing about the cause.
    """
    stamp = project.cache / "quarto-failed"
    if _failed_lately(stamp):
        say(
            "Quarto could not be installed when this was tried less than a day ago; not trying again "
            f"(delete {stamp.relative_to(project.root)} to try)."
        )
        return None
    say(
        f"Quarto is not installed; trying pip install {QUARTO_PACKAGE}, which downloads a program from GitHub (this may "
        "fail, the book is built anyway; BOOK_FLAGS=--preview leaves it out)"
    )
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", QUARTO_PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        said = (done.stdout + done.stderr).strip()
        found = find_quarto() if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, OSError) as error:
        said, found = str(error), None
    if not found:
        say(f"Quarto could not be installed: {_why(said)}")
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(said[-2000:], encoding="utf-8")
    return found


def _why(said: str) -> str:
    """The cause of a failed installation in plain words."""
    if "nothing to open" in said:
        return "its program is downloaded from GitHub, and that download is not possible here."
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "pip gave no reason."


def quarto_works(quarto: str) -> bool:
    """True if the program answers; the pip package can be installed without its download."""
    try:
        return subprocess.run([quarto, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def render_with_quarto(project: Project, quarto: str) -> bool:
    """Build with Quarto; show its progress; on failure show its last lines and return False."""
    say(f"building with Quarto ({quarto})")
    environment = dict(os.environ, QUARTO_PYTHON=sys.executable)
    process = subprocess.Popen(
        [quarto, "render", str(project.root), "--to", "html"],
        cwd=project.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        print(f"  {line.rstrip()}", flush=True)
    if process.wait() == 0 and (project.output / "index.html").is_file():
        return True
    say("Quarto failed. Its last lines:")
    for line in lines[-8:]:
        say(f"  {line}")
    return False


# --------------------------------------------------------------------------------------------------------------------
# The command


def check_sources(project: Project) -> int:
    """Print every problem of the sources; 0 if there is none."""
    from semanticbm.builder.check import check_book

    problems = check_book(project, say)
    for problem in problems:
        print(problem, file=sys.stderr)
    say(
        f"{len(problems)} problem{'s' if len(problems) != 1 else ''} found."
        if problems
        else f"checked {len(project.chapters)} chapters: no problem found."
    )
    return 1 if problems else 0


def book_command(preview: bool = False, check: bool = False) -> int:
    """Build the book (`preview`: with the project's own preview, whatever else is installed), or only check its
    sources.

    Returns the exit code: 0 if the book was built or the check found nothing, 1 otherwise. With both flags the check
    comes first, and the preview is built only if it finds nothing.
    """
    project = read_project(find_root())
    if check:
        code = check_sources(project)
        if code or not preview:
            return code
    if not preview:
        quarto = find_quarto() or install_quarto(project)
        if quarto and quarto_works(quarto) and render_with_quarto(project, quarto):
            say(f"built with Quarto: {project.output / 'index.html'}")
            return 0
    return build_with_preview(project)


def build_with_preview(project: Project) -> int:
    """Build with the preview and say where the book is."""
    from semanticbm.builder.build import BuildFailed, build_preview

    begin = time.monotonic()
    say("building with the project's own preview")
    try:
        page = build_preview(project, say)
    except BuildFailed as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    say(f"built with the preview in {time.monotonic() - begin:.0f} s: {page}")
    return 0
