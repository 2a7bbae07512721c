"""`semanticbm book`: Quarto where it is, else the preview. One last line says which one ran and where the book is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from semanticbm.builder.project import Project, find_root, read_project
from semanticbm.errors import UserError

DAY = 24 * 3600.0
INSTALL_SECONDS = 300
QUARTO_PACKAGE = "quarto-cli==1.10.19"
_COLOUR_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


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


def quarto_environment(project: Project) -> dict[str, str]:
    """Variables for Quarto: this Python for its own work and for the chapters, and no colours."""
    from semanticbm.builder.kernel import write_kernel_spec

    kernels = [str(write_kernel_spec(project.cache / "jupyter")), os.environ.get("JUPYTER_PATH", "")]
    return dict(
        os.environ, QUARTO_PYTHON=sys.executable, JUPYTER_PATH=os.pathsep.join(filter(None, kernels)), NO_COLOR="1"
    )


def render_with_quarto(project: Project, quarto: str) -> bool:
    """Build with Quarto; show its progress; on failure show its last lines and return False."""
    say(f"building with Quarto ({quarto})")
    process = subprocess.Popen(
        [quarto, "render", str(project.root), "--to", "html"],
        cwd=project.root,
        env=quarto_environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(_COLOUR_CODES.sub("", line).rstrip())
        print(f"  {lines[-1]}", flush=True)
    if process.wait() == 0 and (project.output / "index.html").is_file():
        return True
    say("Quarto failed. Its last lines:")
    for line in lines[-8:]:
        say(f"  {line}")
    return False


# --------------------------------------------------------------------------------------------------------------------
# The command


def print_problems(problems: list[str], subject: str) -> int:
    """Print every problem; 0 if there is none, else 1."""
    for problem in problems:
        print(problem, file=sys.stderr)
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''} found."
    say(count if problems else f"checked {subject}: no problem found.")
    return 1 if problems else 0


def check_sources(project: Project) -> int:
    """Print every problem of the sources; 0 if there is none."""
    from semanticbm.builder.check import check_book

    return print_problems(check_book(project, say), f"{len(project.chapters)} chapters")


def check_output(folder: Path) -> int:
    """Print every address outside the book that the pages of a built book load; 0 if there is none."""
    from semanticbm.builder.offline import output_problems

    return print_problems(output_problems(folder), f"the pages in {folder}")


@contextmanager
def one_build_at_a_time(project: Project) -> Iterator[None]:
    """Hold the lock of this book's builds; say so if another one is running, and wait for it."""
    project.cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(project.cache / "build.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another build of this book is running; waiting until it is done")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def book_command(
    preview: bool = False,
    check: bool = False,
    built: Path | None = None,
    formats: Sequence[str] = (),
    serve: bool = False,
) -> int:
    """What `semanticbm book` does; without options it builds the pages.

    preview: with the project's own preview, whatever else is installed. check: only look for problems in the sources,
    or in the pages of the folder `built`; with `preview` the check comes first. formats: "epub", "pdf": make these
    files instead of pages. serve: serve the pages that were built. Returns the exit code: 0, or 1 for problems and
    failed builds.
    """
    if built:
        if not check:
            raise UserError("a folder is only looked at, so it needs --check: semanticbm book --check _book.")
        return check_output(built)
    project = read_project(find_root())
    if check:
        code = check_sources(project)
        if code or not preview:
            return code
    if serve:
        from semanticbm.builder.serve import serve as serve_folder

        serve_folder(project.output)
        return 0
    with one_build_at_a_time(project):
        return make_files(project, formats) if formats else build_pages(project, preview)


def build_pages(project: Project, preview: bool) -> int:
    """Build with Quarto if it is there and works, else, or if asked to, with the preview."""
    from semanticbm.builder.paper import files_made

    files = files_made(project.output)
    if not preview:
        quarto = find_quarto() or install_quarto(project)
        if quarto and quarto_works(quarto) and render_with_quarto(project, quarto):
            finish(project, "built with Quarto", files)
            return 0
    return build_with_preview(project, files)


def finish(project: Project, how: str, files: Mapping[str, bytes]) -> None:
    """Put back the EPUB and PDF of before, name addresses outside the book, say where it is and how to read it."""
    from semanticbm.builder.offline import output_problems
    from semanticbm.builder.paper import put_back

    put_back(project.output, files)
    for name in files:
        say(f"kept {name} as it was: make {Path(name).suffix[1:]} writes it anew")
    for problem in output_problems(project.output):
        print(f"book: warning: {problem}", file=sys.stderr)
    say(f"{how}: {project.output / 'index.html'} (open this file, or run semanticbm book --serve)")


def build_with_preview(project: Project, files: Mapping[str, bytes]) -> int:
    """Build with the preview and say where the book is."""
    from semanticbm.builder.build import BuildFailed, build_preview

    begin = time.monotonic()
    say("building with the project's own preview")
    try:
        build_preview(project, say)
    except BuildFailed as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    finish(project, f"built with the preview in {time.monotonic() - begin:.0f} s", files)
    return 0


def make_files(project: Project, formats: Sequence[str]) -> int:
    """Make the EPUB, the PDF or both, put them beside the pages, and link them on the first page."""
    from semanticbm.builder.build import BuildFailed
    from semanticbm.builder.paper import write_files

    try:
        files = write_files(project, formats, say)
    except BuildFailed as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    for file in files:
        say(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")
    return 0
