"""Writing a file whole or not at all.

What is written goes to a temporary name beside the file, which then takes the place of the old one in one step. A full disk or
an interrupt leaves the old file as it was, and no half of a new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` when the block ends, and goes away if it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    with whole_file(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")
