"""The preview from start to end: read, run, number, render, wrap."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from semanticbm.builder import pandoc
from semanticbm.builder.cells import cells_of
from semanticbm.builder.crossref import Label, is_reference, labels_of
from semanticbm.builder.execute import run_chapters
from semanticbm.builder.project import Chapter, Project
from semanticbm.builder.render import fragments_of, render
from semanticbm.errors import UserError


class BuildFailed(UserError):
    """The book could not be built; the message has one line for each reason."""


def read_documents(chapters: list[Chapter]) -> dict[Chapter, dict]:
    """Pandoc's tree of each chapter."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(chapters, pool.map(read_document, chapters), strict=True))


def read_document(chapter: Chapter) -> dict:
    """Pandoc's tree of one chapter; a title in the front matter becomes a heading like any other."""
    document = pandoc.parse(chapter.source)
    title = document["meta"].get("title")
    if title:
        document["blocks"].insert(0, {"t": "Header", "c": [1, pandoc.attributes(), title["c"]]})
    return document


def all_labels(documents: dict[Chapter, dict]) -> dict[str, Label]:
    """Every label of the book by name."""
    labels = (label for chapter, document in documents.items() for label in labels_of(chapter, document))
    return {label.name: label for label in labels if label.name}


def cited_keys(documents: dict[Chapter, dict]) -> set[str]:
    """The keys of the bibliography that the book cites."""
    return {
        citation["citationId"]
        for document in documents.values()
        for element in pandoc.elements(document["blocks"])
        if element["t"] == "Cite"
        for citation in element["c"][0]
        if not is_reference(citation["citationId"])
    }


def build_preview(project: Project, report: Callable[[str], None], fresh: bool = False) -> Path:
    """Build the whole book; return its first page. Raises `BuildFailed` if a cell fails; then the old book stays."""
    from semanticbm.builder.site import build_site

    documents = read_documents(project.chapters)
    cells = {chapter: cells_of(document) for chapter, document in documents.items()}
    runs, failures = run_chapters(project, cells, report, fresh)
    if failures:
        raise BuildFailed("the book was not built, because code in it failed:\n" + "\n".join(failures))
    labels, keys = all_labels(documents), cited_keys(documents)
    pandoc.parse_many(
        [text for chapter, document in documents.items() for text in fragments_of(document, runs[chapter].outputs)]
    )
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(render, project, chapter, document, runs[chapter].outputs, labels, keys)
            for chapter, document in documents.items()
        ]
        pages = [job.result() for job in jobs]
    return build_site(project, pages)
