"""`make colab-kit`: one zip with which a course runs on Colab without a public repository.

`dist/colab-kit.zip` holds the wheel, the notebook of every chapter, and a page on how to use them. A student opens a
notebook in Colab and runs the first cell; it finds the wheel beside the notebook, in Drive, or asks for it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from semanticbm.builder.notebooks import FOLDER, notebooks
from semanticbm.builder.project import Project, read_project
from semanticbm.errors import UserError

HOW_TO = Path(__file__).with_name("colab") / "HOWTO.md"
KIT = Path("dist/colab-kit.zip")
SOURCES = ("semanticbm", "exercises", "book/results", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def build_wheel(root: Path, folder: Path) -> Path:
    """The wheel of the project at `root`, in `folder`, built from a copy, so that nothing is left in the clone.

    It needs no network, but setuptools in this environment.
    """
    with tempfile.TemporaryDirectory() as copy:
        for name in SOURCES:
            source, target = root / name, Path(copy) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        command = [sys.executable, "-m", "pip", "wheel", copy, "--no-deps", "--no-build-isolation", "-w", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
    made = sorted(folder.glob("semanticbm-*.whl"))
    if done.returncode or not made:
        reason = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["pip gave no reason"]
        raise UserError(f"the wheel cannot be built ({reason[0].strip()[:200]}): run make setup again.")
    return made[0]


def write_kit(project: Project, target: Path) -> None:
    """Write the zip, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        wheel, draft = build_wheel(project.root, Path(folder)), Path(folder) / target.name
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(HOW_TO, "colab-kit/HOWTO.md")
            archive.write(wheel, f"colab-kit/{wheel.name}")
            for path, text in notebooks(project).items():
                archive.writestr(f"colab-kit/{path.relative_to(FOLDER)}", text)
        draft.replace(target)


def main() -> None:
    """Write the kit of the book in the current folder."""
    project = read_project()
    write_kit(project, project.root / KIT)
    print(f"wrote {KIT}: unpack it into a folder of your Drive; HOWTO.md says how to go on")


if __name__ == "__main__":
    main()
