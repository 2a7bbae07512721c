"""The folder of a run: its files, each with the run's fingerprint, and a lock that keeps other runs out.

When it misleads: the lock is one of the machine that holds it. On a network drive two machines may not see each other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from semanticbm.errors import UserError
from semanticbm.study.sealed import read_sealed, write_sealed


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Each of them carries the run's fingerprint, and none of another run is taken for its own."""

    path: Path
    fingerprint: dict

    def make(self) -> None:
        """Make the folders; `UserError` where nothing can be written."""
        try:
            (self.path / "parts").mkdir(parents=True, exist_ok=True)
            (self.path / "figures").mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {self.path} ({error.strerror}): choose another --out.") from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes out of the folder inside a `with`; `UserError` if another one is in it."""
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"another `semanticbm reproduce` is writing to {self.path}: wait for it, or choose another --out."
            ) from None
        except OSError as error:
            raise UserError(f"cannot write to {self.path} ({error.strerror}): choose another --out.") from None
        try:
            yield
        finally:
            lock.release()

    def check(self) -> None:
        """Refuse the folder if any of its files is damaged or belongs to another run."""
        for path in (self.path / "run.json", *sorted((self.path / "parts").glob("*.json"))):
            if path.is_file():
                self.read(path)

    def read(self, path: Path) -> dict:
        """One file of this run; `UserError` if it is damaged or of another run."""
        content = read_sealed(path)
        theirs = content.get("fingerprint", {})
        if theirs != self.fingerprint:
            changed = ", ".join(key for key in self.fingerprint if theirs.get(key) != self.fingerprint[key])
            raise UserError(
                f"{path} belongs to a run with another {changed}: choose another --out, or delete that folder."
            )
        return content

    def part(self, name: str) -> Path:
        """Where the results of one experiment are."""
        return self.path / "parts" / f"{name}.json"

    def write(self, path: Path, content: dict) -> None:
        """Write one file of this run, whole or not at all."""
        write_sealed(path, content | {"fingerprint": self.fingerprint})
