"""A command in a Python of its own that reads nothing from the environment and imports nothing from the current folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PARENT = str(Path(__file__).resolve().parents[2])


def isolated(arguments: list[str]) -> list[str]:
    """The command that runs `semanticbm` with these arguments the same in a Python of its own with -I.

    Others' files may lie in the current folder, and one of them may be called like a module that is imported here.
    """
    here = os.path.realpath(os.getcwd())
    places = [place for place in sys.path if place and (os.path.realpath(place) != here or here == PARENT)]
    if PARENT not in map(os.path.realpath, places):
        places.append(PARENT)
    code = f"import sys; sys.path[:] = {places!r}; sys.argv[0] = 'semanticbm'; from semanticbm.__main__ import main; main()"
    return [sys.executable, "-I", "-c", code, *arguments]
