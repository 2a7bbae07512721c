"""What the book consists of: _quarto.yml, read once, the same list for Quarto and for the preview."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from semanticbm.builder.repository import origin, web_address
from semanticbm.errors import UserError

_FIRST_HEADING = re.compile(r"^# +(.+?)\s*(\{[^}]*\})?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Chapter:
    """One .qmd file of the book. `path` is relative to the project; `number` is "3", "B", or "" for unnumbered ones."""

    root: Path
    path: Path
    number: str
    is_appendix: bool = False

    @cached_property
    def source(self) -> str:
        """The chapter's text."""
        try:
            return (self.root / self.path).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"cannot read the chapter {self.path}: {error.strerror}: write it, or take it out of _quarto.yml."
            ) from None

    @property
    def url(self) -> str:
        """Address of the page inside the built book."""
        return self.path.with_suffix(".html").as_posix()

    def link_to(self, target: str) -> str:
        """The relative link from this page to `target`, an address inside the built book."""
        address, mark, place = target.partition("#")
        return posixpath.relpath(address, posixpath.dirname(self.url) or ".") + mark + place


@dataclass(frozen=True)
class Project:
    """The whole book: its files and settings."""

    root: Path
    title: str
    subtitle: str
    author: str
    chapters: list[Chapter]
    bibliography: Path
    repository: str

    @property
    def output(self) -> Path:
        """The folder of the built book."""
        return self.root / "_book"

    @property
    def cache(self) -> Path:
        """The folder for executed cells and other things that can be made again."""
        return self.root / ".cache" / "book"

    def page_of(self, path: Path) -> Chapter | None:
        """The chapter with this source file, if it is part of the book."""
        return next((chapter for chapter in self.chapters if chapter.path == path), None)


def find_root(start: Path | None = None) -> Path:
    """The nearest folder, upwards from `start`, that has a _quarto.yml; else the one this library stands in."""
    here = (start or Path.cwd()).resolve()
    source_tree = Path(__file__).resolve().parents[2]
    for folder in (here, *here.parents, source_tree):
        if (folder / "_quarto.yml").is_file():
            return folder
    raise UserError("found no _quarto.yml here or in a folder above: run this inside a clone of the project.")


def _is_numbered(root: Path, path: str) -> bool:
    """False if the first heading carries {.unnumbered} or {-}."""
    file = root / path
    heading = _FIRST_HEADING.search(file.read_text(encoding="utf-8")) if file.is_file() else None
    marks = (heading.group(2) or "") if heading else ""
    return ".unnumbered" not in marks and not re.search(r"[{\s]-[}\s]", marks)


def _chapters(root: Path, paths: list[str], numbers: list[str], is_appendix: bool) -> list[Chapter]:
    chapters, used = [], iter(numbers)
    for path in paths:
        chapters.append(Chapter(root, Path(path), next(used) if _is_numbered(root, path) else "", is_appendix))
    return chapters


def read_project(root: Path | None = None) -> Project:
    """Read _quarto.yml of the project at `root`. Raises `UserError` if it is damaged or no book."""
    root = root or find_root()
    try:
        settings = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
        book = settings["book"]
        plain, appendices = book["chapters"], book.get("appendices", [])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{root / '_quarto.yml'} cannot be read as a Quarto book ({reason}).") from None
    chapters = _chapters(root, plain, [str(number) for number in range(1, len(plain) + 1)], False) + _chapters(
        root, appendices, [chr(ord("A") + number) for number in range(26)], True
    )
    return Project(
        root,
        book.get("title", "Book"),
        book.get("subtitle", ""),
        book.get("author", ""),
        chapters,
        root / settings.get("bibliography", "references.bib"),
        web_address(str(settings.get("repository") or "")) or origin(root),
    )
