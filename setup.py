"""What a wheel holds beside the modules: fresh exercises, and the stored results that the chapters read.

Both stand outside the package, where readers look for them. A wheel gets its own copy under `semanticbm/shipped/` when
it is built, so there is one source of each. Solved exercises become stubs again: a wheel never gives an answer away.
An editable installation needs no copy.
"""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithBook(build_py):
    """`build_py`, and the two folders of the book."""

    def run(self):
        """Build the modules from nothing, so that a wheel holds no module of an earlier build; add the folders."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            shipped = Path(self.build_lib) / "semanticbm" / "shipped"
            shutil.copytree(ROOT / "book" / "results", shipped / "results", ignore=shutil.ignore_patterns("figures"))
            self.add_exercises(shipped / "exercises")

    def add_exercises(self, folder: Path) -> None:
        """The files of `exercises/`, every function a stub."""
        sys.path.insert(0, str(ROOT))
        from semanticbm.commands.stubs import fresh

        folder.mkdir(parents=True)
        for path in sorted((ROOT / "exercises").glob("*.py")):
            (folder / path.name).write_text(fresh(path.read_text(encoding="utf-8")), encoding="utf-8")


setup(cmdclass={"build_py": BuildWithBook})
